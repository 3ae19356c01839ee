package socket

import (
	"context"
	"net/http"
	"net/url"
	"reflect"
	"slices"

	"github.com/maravilla-realtime/realtime/internal/fields"
	"github.com/maravilla-realtime/realtime/internal/web/httpwriter"
)

// opening is the request that opened a WebSocket, as it was then: the policy sees it again
// with each token that the client sends. Middlewares may change their request when its
// handler has returned, so nothing of it is shared with them.
//
// A request, its URL and a map of headers would take more memory than all else of an idle
// connection. So what the usual request has is kept as one text.
type opening struct {
	packed string        // its parts, each after its length, and the headers
	whole  *http.Request // in place of packed, if it has what that has no place for; without its headers
}

// keepRequest returns r to be kept.
func keepRequest(r *http.Request) opening {
	if !isUsual(r) {
		bare := r.WithContext(context.Background())
		bare.Header = nil
		return opening{packed: string(packHeaders(nil, r.Header)), whole: bare.Clone(context.Background())}
	}
	b := make([]byte, 0, 512) // on the stack, as a rule
	for _, text := range [...]string{r.Host, shortTarget(r), r.Pattern, r.URL.Path, r.URL.RawPath, r.URL.RawQuery} {
		b = fields.AppendText(b, text)
	}
	return opening{packed: string(packHeaders(b, r.Header))}
}

// again returns the request with a context and the address of the client, which the caller
// may change.
func (o *opening) again(ctx context.Context, address string) *http.Request {
	f := fields.Reader{Rest: []byte(o.packed)}
	if o.whole != nil {
		r := o.whole.Clone(ctx)
		r.Header = unpackHeaders(&f)
		return r
	}
	text := func() string { return string(f.Text()) }
	r := http.Request{Method: http.MethodGet, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Body: http.NoBody, RemoteAddr: address}
	r.Host, r.RequestURI, r.Pattern = text(), text(), text()
	r.URL = &url.URL{Path: text(), RawPath: text(), RawQuery: text()}
	if r.RequestURI == "" {
		r.RequestURI = target(r.URL)
	}
	r.Header = unpackHeaders(&f)
	return r.WithContext(ctx)
}

// shortTarget returns what the client has asked for, "" where the URL says that.
func shortTarget(r *http.Request) string {
	if r.RequestURI == target(r.URL) {
		return ""
	}
	return r.RequestURI
}

// target returns what a client asks for as a rule for a URL.
func target(u *url.URL) string {
	path := u.RawPath
	if path == "" {
		path = u.Path
	}
	if u.RawQuery == "" {
		return path
	}
	return path + "?" + u.RawQuery
}

// The fields of requests and URLs that an opening keeps, or knows of a request that isUsual.
// The pattern of [http.ServeMux] has nothing but names for what a URL matches.
var (
	unusualFields = fieldsExcept[http.Request]("Method", "URL", "Proto", "ProtoMajor", "ProtoMinor", "Header", "Body", "Host", "RemoteAddr", "RequestURI", "Pattern", "ctx", "pat")
	unusualURL    = fieldsExcept[url.URL]("Path", "RawPath", "RawQuery")
)

// fieldsExcept returns the places of the other fields of a struct.
func fieldsExcept[T any](names ...string) (places []int) {
	for i, f := range reflect.VisibleFields(reflect.TypeFor[T]()) {
		if !slices.Contains(names, f.Name) {
			places = append(places, i)
		}
	}
	return places
}

// isUsual reports whether a request has nothing that an opening has no place for.
func isUsual(r *http.Request) bool {
	return r.Method == http.MethodGet && r.Proto == "HTTP/1.1" && r.ProtoMajor == 1 && r.ProtoMinor == 1 && r.Body == http.NoBody &&
		r.RequestURI != "" && areZero(r, unusualFields) && areZero(r.URL, unusualURL)
}

func areZero[T any](of *T, places []int) bool {
	v := reflect.ValueOf(of).Elem()
	for _, i := range places {
		if !v.Field(i).IsZero() {
			return false
		}
	}
	return true
}

// knownHeaders are kept by their number, from 1 on. Others have 0 and their name.
var knownHeaders = [...]string{
	"Connection", "Upgrade", "Sec-Websocket-Version", "Sec-Websocket-Key", "Sec-Websocket-Protocol", "Sec-Websocket-Extensions",
	"Origin", "User-Agent", "Cookie", "Authorization", "Accept-Encoding", "Accept-Language", "Cache-Control", "Pragma",
	"X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Real-Ip", "Forwarded", "Via", "Traceparent",
}

// packHeaders appends each value, after its name.
func packHeaders(b []byte, h http.Header) []byte {
	for name, values := range h {
		known := slices.Index(knownHeaders[:], name) + 1
		for _, v := range values {
			b = append(b, byte(known))
			if known == 0 {
				b = fields.AppendText(b, name)
			}
			b = fields.AppendText(b, v)
		}
	}
	return b
}

// unpackHeaders reads the headers, which are the rest of f.
func unpackHeaders(f *fields.Reader) http.Header {
	h := make(http.Header)
	for len(f.Rest) > 0 {
		var name string
		if known := f.Number(); known > 0 {
			name = knownHeaders[known-1]
		} else {
			name = string(f.Text())
		}
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
