//go:build tools

// Package echo keeps Istio's echo client and server, which the Gateway API's conformance suite runs in pods, in go.mod.
package echo

import (
	_ "istio.io/istio/pkg/test/echo/cmd/client"
	_ "istio.io/istio/pkg/test/echo/cmd/server"
)
