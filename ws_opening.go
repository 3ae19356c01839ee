package realtime

import (
	"context"
	"encoding/binary"
	"net/http"

	"github.com/maravilla-realtime/realtime/internal/httpwriter"
)

// opening is the request that opened a WebSocket, as it was then: the policy sees it again
// with each token that the client sends. Middlewares may change their request when its
// handler has returned, so nothing of it is shared with them. A map of headers would take
// more memory than all else of an idle connection, so they are kept as one text.
type opening struct {
	request *http.Request // without its headers
	headers string        // for each value its name and itself, with their lengths before them
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

func packHeaders(h http.Header) string {
	size := 0
	for name, values := range h {
		for _, v := range values {
			size += 2*binary.MaxVarintLen16 + len(name) + len(v)
		}
	}
	packed := make([]byte, 0, size)
	put := func(text string) { packed = append(binary.AppendUvarint(packed, uint64(len(text))), text...) }
	for name, values := range h {
		for _, v := range values {
			put(name)
			put(v)
		}
	}
	return string(packed)
}

func unpackHeaders(packed string) http.Header {
	h := make(http.Header)
	take := func() string {
		n, size := binary.Uvarint([]byte(packed[:min(len(packed), binary.MaxVarintLen64)]))
		text := packed[size : size+int(n)]
		packed = packed[size+int(n):]
		return text
	}
	for len(packed) > 0 {
		name := take()
		h[name] = append(h[name], take())
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
