package chain

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// rpcPath is where Lotus and Venus serve the first version of their JSON-RPC.
const rpcPath = "/rpc/v1"

// APIInfo is a node's address and the token that opens it.
type APIInfo struct {
	URL   string // http or https, with the path of the JSON-RPC; never holds the token
	token string // kept out of every log and error; so it has no exported name and String leaves it out
}

// String is the address alone.
func (a APIInfo) String() string { return a.URL }

// GoString keeps the token out of %#v too.
func (a APIInfo) GoString() string { return fmt.Sprintf("chain.APIInfo{URL:%q}", a.URL) }

// websocketURL is the same endpoint for subscriptions.
func (a APIInfo) websocketURL() string { return "ws" + strings.TrimPrefix(a.URL, "http") }

// errAPIInfo is what is said of every malformed value. The value itself is not repeated, because it may hold a token.
func errAPIInfo(what string) error {
	return fmt.Errorf("FULLNODE_API_INFO (or [chain] api_info): %s; write TOKEN:/ip4/127.0.0.1/tcp/1234/http as `lotus auth api-info --perm sign` prints it, or TOKEN:http://host:1234", what)
}

// ParseAPIInfo reads an endpoint as Lotus writes it in FULLNODE_API_INFO: "token:multiaddress" or "token:URL", or either
// without a token. The multiaddress has ip4, ip6, dns, dns4 or dns6, then tcp, then http, https, ws or wss (http if left out).
func ParseAPIInfo(info string) (APIInfo, error) {
	info = strings.TrimSpace(info)
	if info == "" {
		return APIInfo{}, errAPIInfo("it is empty")
	}
	token, addr := splitToken(info)
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return APIInfo{}, errAPIInfo("the token before the first colon has a character that cannot be in one")
	}
	var (
		endpoint string
		err      error
	)
	switch {
	case strings.HasPrefix(addr, "/"):
		endpoint, err = multiaddrURL(addr)
	case strings.Contains(addr, "://"):
		endpoint, err = plainURL(addr)
	default:
		err = errors.New("there is no address behind the token")
	}
	if err != nil {
		return APIInfo{}, errAPIInfo(err.Error())
	}
	return APIInfo{URL: endpoint, token: token}, nil
}

// splitToken cuts "token:address" at the first colon, unless the value begins with the address.
func splitToken(info string) (token, addr string) {
	if strings.HasPrefix(info, "/") {
		return "", info
	}
	before, after, found := strings.Cut(info, ":")
	if !found {
		return info, ""
	}
	if strings.HasPrefix(after, "//") && slices.Contains([]string{"http", "https", "ws", "wss"}, before) {
		return "", info
	}
	return before, after
}

// multiaddrURL turns /ip4/127.0.0.1/tcp/1234/http into a URL.
func multiaddrURL(addr string) (string, error) {
	parts := strings.Split(strings.TrimSuffix(addr[1:], "/"), "/")
	if len(parts) != 4 && len(parts) != 5 {
		return "", errors.New("the multiaddress has not the form /ip4/HOST/tcp/PORT/http")
	}
	host := parts[1]
	switch parts[0] {
	case "ip4", "ip6":
		if ip := net.ParseIP(host); ip == nil || (ip.To4() != nil) != (parts[0] == "ip4") {
			return "", fmt.Errorf("what stands behind /%s/ is not such an address", parts[0])
		}
	case "dns", "dns4", "dns6":
		if host == "" {
			return "", fmt.Errorf("the host name behind /%s/ is empty", parts[0])
		}
	default:
		return "", errors.New("the multiaddress begins with something other than ip4, ip6, dns, dns4 or dns6")
	}
	if port, err := strconv.ParseUint(parts[3], 10, 16); parts[2] != "tcp" || err != nil || port == 0 {
		return "", errors.New("the multiaddress has no /tcp/PORT with a port from 1 to 65535")
	}
	scheme := "http"
	if len(parts) == 5 {
		scheme = parts[4]
	}
	return plainURL(scheme + "://" + net.JoinHostPort(host, parts[3]))
}

// plainURL checks a URL, makes ws http, and puts the path of the RPC behind it where it has none.
func plainURL(addr string) (string, error) {
	u, err := url.Parse(addr)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", errors.New("the address is not a plain URL such as http://host:1234")
	}
	switch u.Scheme {
	case "http", "ws":
		u.Scheme = "http"
	case "https", "wss":
		u.Scheme = "https"
	default:
		return "", errors.New("the address is neither http, https, ws nor wss")
	}
	switch strings.TrimSuffix(u.Path, "/") {
	case "", rpcPath, "/rpc/v0", "/rpc":
		// Lotus's own tools accept a path and use the version they need; v0 lacks calls that we make.
		u.Path = rpcPath
	default:
		if !strings.HasSuffix(u.Path, rpcPath) { // a reverse proxy's prefix
			u.Path = strings.TrimSuffix(u.Path, "/") + rpcPath
		}
	}
	return u.String(), nil
}
