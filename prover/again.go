package prover

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A sector that is left out of a post is declared faulty, and costs money until it is recovered. So what may pass is read again before that.

// passing are the errors of a system call after which the same read may succeed: a network mount whose server restarts or fails over, a disk that
// answered once with an error, a machine that is short of something for a moment.
var passing = []syscall.Errno{
	syscall.EIO, syscall.ESTALE, syscall.EAGAIN, syscall.EINTR, syscall.EBUSY, syscall.ETIMEDOUT, syscall.EREMOTEIO, syscall.EPROTO,
	syscall.ECONNRESET, syscall.ECONNABORTED, syscall.ECONNREFUSED, syscall.ENOTCONN, syscall.ESHUTDOWN, syscall.EPIPE,
	syscall.EHOSTDOWN, syscall.EHOSTUNREACH, syscall.ENETDOWN, syscall.ENETUNREACH, syscall.ENETRESET,
	syscall.ENOMEM, syscall.ENOBUFS, syscall.EMFILE, syscall.ENFILE,
}

// osError is how Rust ends the text of a system call's error.
var osError = regexp.MustCompile(`\(os error (\d+)\)`)

// passingTexts are errors that the library makes without a system call's number: a read that ended before the file does, and Rust's names for kinds of
// errors.
var passingTexts = []string{"failed to fill whole buffer", "unexpected end of file", "operation interrupted", "timed out", "connection reset", "stale network file handle"}

// mayPass says whether reading a sector again may succeed after an error of ours or of the proofs library. What is wrong with the files themselves
// (none there, another size, a bit that has turned) does not pass; nor does what is not known.
func mayPass(err error) bool {
	var number syscall.Errno
	if errors.As(err, &number) {
		return slices.Contains(passing, number)
	}
	// The probe has seen the file's size, so one that ends early was read short.
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return true
	}
	text := err.Error()
	if found := osError.FindStringSubmatch(text); found != nil {
		n, _ := strconv.Atoi(found[1])
		return slices.Contains(passing, syscall.Errno(n))
	}
	text = strings.ToLower(text)
	return slices.ContainsFunc(passingTexts, func(part string) bool { return strings.Contains(text, part) })
}

// readAgainAt are the parts of the patience after which a sector is read again: at once it is mostly the same, and a server that restarts takes a
// while.
var readAgainAt = []float64{1. / 30, 1. / 8, 1. / 3, 1}

// readAgain says whether a sector that was read so many times since so long is read once more, and after which pause.
func readAgain(patience time.Duration, times int, since time.Duration) (pause time.Duration, again bool) {
	if times > len(readAgainAt) || since > patience {
		return 0, false
	}
	at := time.Duration(readAgainAt[times-1] * float64(patience))
	return max(at-since, 0), true
}

// patienceFor is how long what may pass is waited for in a task that has to be done so soon: a small part of the time, since the proof is still to be made.
func patienceFor(left time.Duration) time.Duration {
	const part, most = 10, time.Minute
	return min(max(left/part, time.Millisecond), most)
}

// counted says of an error how often its sector was read, if more than once.
func counted(err error, times int) error {
	if err == nil || times < 2 {
		return err
	}
	return fmt.Errorf("read %d times: %w", times, err)
}
