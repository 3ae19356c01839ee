package httpwriter

import (
	"context"
	"net/http"
	"reflect"
)

// The types of contexts that net/http's server makes.
var (
	cancelling = func() reflect.Type {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		return reflect.TypeOf(ctx)
	}()
	valued = reflect.TypeOf(context.WithValue(context.Background(), http.LocalAddrContextKey, nil))
)

// ConnContext returns the context that the requests of a connection have in common, if
// ctx is what net/http's server has made of it for a request of HTTP/1, and nothing else.
// Then all values of ctx live as long as the connection, and are in what is returned: they
// are those of the server, and of the host's BaseContext and ConnContext. Otherwise it
// returns nil: a middleware or a router has put something around the context of the
// request, which may be over when its handler returns.
//
// The server puts the address of the connection around the host's context, then a
// WithCancel for the connection, and one for the request. Who has only the request can put
// something around the last of them, and not beneath it.
func ConnContext(ctx context.Context) context.Context {
	conn := beneath(beneath(ctx, cancelling), cancelling)
	host := beneath(conn, valued)
	if host == nil || conn.Value(http.LocalAddrContextKey) == nil || host.Value(http.LocalAddrContextKey) != nil {
		return nil
	}
	return conn
}

// beneath returns what ctx was derived from, if it is of that type, or nil.
func beneath(ctx context.Context, typ reflect.Type) context.Context {
	if ctx == nil || reflect.TypeOf(ctx) != typ || typ.Kind() != reflect.Pointer || typ.Elem().Kind() != reflect.Struct {
		return nil
	}
	f := reflect.ValueOf(ctx).Elem().FieldByName("Context") // is embedded, as long as package context is what it is
	if !f.IsValid() || !f.CanInterface() {
		return nil
	}
	parent, _ := f.Interface().(context.Context)
	return parent
}
