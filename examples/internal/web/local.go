package web

import (
	"net/http"

	"github.com/maravilla-realtime/realtime/internal/web/site"
)

// Local refuses requests that reach this machine over a loopback address for a host of
// another name: those of a page whose own name was made to resolve to this machine (DNS
// rebinding). The library does the same on its routes and within Attribute; this is for
// servers without it, and for policies that let strangers in.
func Local(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if site.OverLoopback(r) && !site.IsLoopback(r.Host) {
			http.Error(w, "this host is not served here", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}
