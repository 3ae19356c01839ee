package socket

import (
	"bytes"
	"context"
	"net/http"

	"github.com/maravilla-realtime/realtime/internal/fields"
	"github.com/maravilla-realtime/realtime/internal/httpwriter"
)

// opening is the request that opened a WebSocket, as it was then: the policy sees it again
// with each token that the client sends. Middlewares may change their request when its
// handler has returned, so nothing of it is shared with them. A map of headers would take
// more memory than all else of an idle connection, so they are kept as one text.
type opening struct {
	request *http.Request // without its headers
	headers []byte        // for each value its name and itself
}

// keepRequest returns r to be kept.
func keepRequest(r *http.Request) opening {
	bare := r.WithContext(context.Background())
	bare.Header = nil
	return opening{bare.Clone(context.Background()), packHeaders(r.Header)}
}

// again returns the request with a context, which the caller may change.
func (o *opening) again(ctx context.Context) *http.Request {
	r := o.request.Clone(ctx)
	r.Header = unpackHeaders(o.headers)
	return r
}

func packHeaders(h http.Header) (packed []byte) {
	for name, values := range h {
		for _, v := range values {
			packed = fields.AppendText(fields.AppendText(packed, name), v)
		}
	}
	return bytes.Clone(packed) // which is as long as it must be: it is kept
}

func unpackHeaders(packed []byte) http.Header {
	h := make(http.Header)
	for f := (fields.Reader{Rest: packed}); len(f.Rest) > 0; {
		name := string(f.Text())
		h[name] = append(h[name], string(f.Text()))
	}
	return h
}

// valuesOf returns a context with the values of the request's that does not end. What the
// server has put around it for one request is not kept.
func valuesOf(r *http.Request) context.Context {
	if conn := httpwriter.ConnContext(r.Context()); conn != nil {
		return context.WithoutCancel(conn)
	}
	return context.WithoutCancel(r.Context())
}
