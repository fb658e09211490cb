package main

import (
	"strings"

	uiserver "github.com/temporalio/ui-server/v2/server"
	uiconfig "github.com/temporalio/ui-server/v2/server/config"
	uioptions "github.com/temporalio/ui-server/v2/server/server_options"
)

// newUI is Temporal's own Web UI, serving its assets from the binary and asking nothing of the outside world.
func newUI(o options, p ports) *uiserver.Server {
	host := o.uiIP
	if strings.Contains(host, ":") {
		host = "[" + host + "]" // it joins host and port itself
	}
	return uiserver.NewServer(uioptions.WithConfigProvider(&uiconfig.Config{
		TemporalGRPCAddress: hostPort(dialIP(o.ip), p.frontend),
		Host:                host,
		Port:                p.ui,
		EnableUI:            true,
		DefaultNamespace:    o.namespace,
		DisableNewsFetch:    true,
		HideLogs:            true,
		// It is plain HTTP: a cookie that asks for HTTPS would be dropped, and with it every button.
		CORS: uiconfig.CORS{CookieInsecure: true},
	}))
}

func uiURL(o options, p ports) string {
	return "http://" + hostPort(dialIP(o.uiIP), p.ui)
}
