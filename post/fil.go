package post

import (
	"fmt"
	"math/big"
	"regexp"
	"strings"
)

// units are the names of parts of a FIL, as powers of ten of an attoFIL. Lotus prints the short ones ("5 nFIL"), damocles writes the long.
var units = map[string]int{
	"fil": 18, "millifil": 15, "mfil": 15, "microfil": 12, "μfil": 12, "µfil": 12, "ufil": 12, "nanofil": 9, "nfil": 9,
	"picofil": 6, "pfil": 6, "femtofil": 3, "ffil": 3, "attofil": 0, "afil": 0,
}

var amountForm = regexp.MustCompile(`^([0-9]{1,30}(?:\.[0-9]{1,30})?)\s*(\pL+)$`)

// ParseFIL reads an amount such as "5 FIL", "0.05 FIL" or "5 nanoFIL". The unit must be given: a bare number is FIL to some programs and
// attoFIL to others.
func ParseFIL(text string) (Atto, error) {
	form := amountForm.FindStringSubmatch(strings.TrimSpace(text))
	if form == nil {
		return "", fmt.Errorf("%q is no amount such as \"5 FIL\", \"0.05 FIL\" or \"5 nanoFIL\"", text)
	}
	power, known := units[strings.ToLower(form[2])]
	if !known {
		return "", fmt.Errorf("%q has no unit that is known: there are FIL, milliFIL, microFIL, nanoFIL, picoFIL, femtoFIL and attoFIL", text)
	}
	whole, part, _ := strings.Cut(form[1], ".")
	part = strings.TrimRight(part, "0")
	if len(part) > power {
		return "", fmt.Errorf("%q is not a whole number of attoFIL, of which a FIL has 10^18", text)
	}
	digits := strings.TrimLeft(whole+part+strings.Repeat("0", power-len(part)), "0")
	if digits == "" {
		digits = "0"
	}
	return Atto(digits), nil
}

// AttoOf is a number of attoFIL; nil is none given.
func AttoOf(amount *big.Int) Atto {
	if amount == nil {
		return ""
	}
	return Atto(amount.String())
}

// Int is the amount as a number; nil if none is given, or if it is no number.
func (a Atto) Int() *big.Int {
	amount, ok := new(big.Int).SetString(string(a), 10)
	if !ok {
		return nil
	}
	return amount
}

// Above says whether a is more than b. Both are written without leading zeros, as ParseFIL and AttoOf do; none given is less than any.
func (a Atto) Above(b Atto) bool {
	if len(a) != len(b) {
		return len(a) > len(b)
	}
	return a > b
}

// String is the amount for people, in FIL; "none" if none is given.
func (a Atto) String() string { return a.in(18, "FIL") }

// PerGas is a price of a unit of gas for people, in nanoFIL.
func (a Atto) PerGas() string { return a.in(9, "nanoFIL") }

func (a Atto) in(power int, unit string) string {
	if a == "" {
		return "none"
	}
	digits := string(a)
	if len(digits) <= power {
		digits = strings.Repeat("0", power+1-len(digits)) + digits
	}
	whole, part := digits[:len(digits)-power], strings.TrimRight(digits[len(digits)-power:], "0")
	if part != "" {
		whole += "." + part
	}
	return whole + " " + unit
}
