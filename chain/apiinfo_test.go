package chain

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseAPIInfo(t *testing.T) {
	for _, c := range []struct {
		name, info, url, token string
	}{
		{"as lotus prints it", "eyJ.abc-_x:/ip4/127.0.0.1/tcp/1234/http", "http://127.0.0.1:1234/rpc/v1", "eyJ.abc-_x"},
		{"without a token", "/ip4/10.0.0.1/tcp/3453/http", "http://10.0.0.1:3453/rpc/v1", ""},
		{"no protocol at the end", "t:/ip4/127.0.0.1/tcp/1234", "http://127.0.0.1:1234/rpc/v1", "t"},
		{"tls", "t:/dns4/node.example/tcp/443/https", "https://node.example:443/rpc/v1", "t"},
		{"websocket", "t:/dns/node.example/tcp/443/wss", "https://node.example:443/rpc/v1", "t"},
		{"ip6", "t:/ip6/::1/tcp/1234/http", "http://[::1]:1234/rpc/v1", "t"},
		{"url with a token", "t:http://node:1234", "http://node:1234/rpc/v1", "t"},
		{"url without a token", "https://node.example", "https://node.example/rpc/v1", ""},
		{"url with the old version's path", "t:ws://node:1234/rpc/v0", "http://node:1234/rpc/v1", "t"},
		{"behind a proxy's prefix", "t:https://host/filecoin/rpc/v1", "https://host/filecoin/rpc/v1", "t"},
		{"spaces around", "  t:http://node:1234\n", "http://node:1234/rpc/v1", "t"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := ParseAPIInfo(c.info)
			require.NoError(t, err)
			require.Equal(t, c.url, got.URL)
			require.Equal(t, c.token, got.token)
			for _, text := range []string{fmt.Sprint(got), fmt.Sprintf("%+v %#v", got, got)} {
				if len(c.token) > 1 {
					require.NotContains(t, text, c.token)
				}
			}
		})
	}
}

func TestParseAPIInfoRefuses(t *testing.T) {
	const token = "eyJhbGciOiJIUzI1NiJ9.secret"
	for _, c := range []struct{ name, info, says string }{
		{"empty", "", "it is empty"},
		{"token alone", token, "no address behind the token"},
		{"token and colon", token + ":", "no address behind the token"},
		{"host without a scheme", token + ":node:1234", "no address behind the token"},
		{"unknown transport", token + ":/unix/tmp/x/tcp/1", "something other than ip4"},
		{"bad ip", token + ":/ip4/300.1.1.1/tcp/1234/http", "not such an address"},
		{"ip6 address as ip4", token + ":/ip4/::1/tcp/1234/http", "not such an address"},
		{"bad port", token + ":/ip4/127.0.0.1/tcp/70000/http", "1 to 65535"},
		{"udp", token + ":/ip4/127.0.0.1/udp/1234/http", "1 to 65535"},
		{"cut short", token + ":/ip4/127.0.0.1", "not the form"},
		{"unknown protocol", token + ":/ip4/127.0.0.1/tcp/1234/quic", "neither http"},
		{"user in the URL", "http://me:" + token + "@host:1234", "plain URL"},
		{"token in the query", "http://host:1234/?token=" + token, "plain URL"},
		{"space in the token", "my " + token + ":http://host:1", "character"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ParseAPIInfo(c.info)
			require.ErrorContains(t, err, c.says)
			require.ErrorContains(t, err, "FULLNODE_API_INFO")
			require.NotContains(t, err.Error(), "secret")
			require.NotContains(t, err.Error(), "\n")
		})
	}
}
