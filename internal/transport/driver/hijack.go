package driver

import (
	"net/http"
	"runtime"
)

// Hijack says which connections leave net/http: see realtime.Hijack.
type Hijack int

// The ways.
const (
	HijackDefault Hijack = iota
	HijackNever
	HijackPlain
	HijackAlways
)

// IsPlain reports whether a shard can drive the connection of a request without holding up
// others: on Linux, without TLS, and where nothing is decided for each event.
func (n *Node) IsPlain(r *http.Request) bool {
	return runtime.GOOS == "linux" && r.TLS == nil && n.Policy.See == nil
}
