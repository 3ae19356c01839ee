package socket

import (
	"encoding/base64"
	"net/http"
	"slices"
	"strings"

	"github.com/maravilla-realtime/realtime/internal/refused"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// CheckUpgrade checks what a client must send: RFC 6455, section 4.2.1.
func CheckUpgrade(w http.ResponseWriter, r *http.Request) *refused.Refusal {
	h := r.Header
	key, err := base64.StdEncoding.DecodeString(h.Get("Sec-WebSocket-Key"))
	switch {
	case r.Method != http.MethodGet:
		w.Header().Set("Allow", "GET")
		return refused.With(http.StatusMethodNotAllowed, "method", "only GET is served here")
	case !lists(h, "Connection", "upgrade"), !lists(h, "Upgrade", "websocket"):
		return upgradeRequired(w, "this is a WebSocket")
	case !r.ProtoAtLeast(1, 1):
		return upgradeRequired(w, "a WebSocket needs HTTP/1.1")
	case !slices.Equal(h.Values("Sec-WebSocket-Version"), []string{"13"}):
		return upgradeRequired(w, "the WebSocket version is 13")
	case err != nil || len(key) != 16 || len(h.Values("Sec-WebSocket-Key")) != 1:
		return refused.With(http.StatusBadRequest, "bad_request", "bad Sec-WebSocket-Key")
	case h.Get("Sec-WebSocket-Protocol") != "" && !lists(h, "Sec-WebSocket-Protocol", wire.Subprotocol):
		return refused.With(http.StatusBadRequest, "bad_request", "the subprotocol is %s", wire.Subprotocol)
	}
	return nil
}

// upgradeRequired answers with the required protocol and version: RFC 9110,
// section 15.5.22, and RFC 6455, section 4.2.2.
func upgradeRequired(w http.ResponseWriter, message string) *refused.Refusal {
	w.Header().Set("Connection", "Upgrade")
	w.Header().Set("Upgrade", "websocket")
	w.Header().Set("Sec-WebSocket-Version", "13")
	return refused.With(http.StatusUpgradeRequired, "bad_request", "%s", message)
}

// lists reports whether one of the values of a header, separated by commas, is
// the given one.
func lists(h http.Header, name, value string) bool {
	for _, line := range h.Values(name) {
		for v := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(v), value) {
				return true
			}
		}
	}
	return false
}
