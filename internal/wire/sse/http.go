package sse

import "net/http"

// SetHeaders sets the headers of a stream.
func SetHeaders(h http.Header) {
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store, no-transform")
	h.Set("X-Accel-Buffering", "no") // nginx
	h.Set("X-Content-Type-Options", "nosniff")
}

// Unchunk makes net/http end the body of an HTTP/1.1 stream with the connection, and
// send no chunks, of which WHATWG HTML, section 9.2.7, warns: HAProxy holds each back for
// 200 ms.
func Unchunk(h http.Header, r *http.Request) {
	if r.ProtoMajor == 1 {
		h.Set("Transfer-Encoding", "identity")
	}
}
