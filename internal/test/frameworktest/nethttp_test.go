package frameworktest

import (
	"compress/gzip"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	ginzip "github.com/gin-contrib/gzip"
	"github.com/gin-gonic/gin"
	"github.com/go-chi/chi/v5"
	chimw "github.com/go-chi/chi/v5/middleware"
	"github.com/gorilla/handlers"
	"github.com/gorilla/mux"
	echo4 "github.com/labstack/echo/v4"
	echo4mw "github.com/labstack/echo/v4/middleware"
	"github.com/labstack/echo/v5"
	echomw "github.com/labstack/echo/v5/middleware"
	"github.com/maravilla-realtime/realtime/internal/test/pace"
)

// soon is how long the contexts of requests live where a middleware limits them.
var soon = pace.Slow(200 * time.Millisecond)

func withGin(use ...gin.HandlerFunc) func(http.Handler) http.Handler {
	return func(h http.Handler) http.Handler {
		gin.SetMode(gin.ReleaseMode)
		e := gin.New()
		e.Use(gin.LoggerWithWriter(io.Discard), gin.RecoveryWithWriter(io.Discard))
		e.Use(use...)
		e.GET("/api/*path", gin.WrapH(h))
		return e
	}
}

func withEcho4(use ...echo4.MiddlewareFunc) func(http.Handler) http.Handler {
	return func(h http.Handler) http.Handler {
		e := echo4.New()
		e.Use(echo4mw.RequestLoggerWithConfig(echo4mw.RequestLoggerConfig{LogValuesFunc: func(echo4.Context, echo4mw.RequestLoggerValues) error { return nil }}))
		e.Use(echo4mw.Recover())
		e.Use(use...)
		e.GET("/api/*", echo4.WrapHandler(h))
		return e
	}
}

func withEcho(use ...echo.MiddlewareFunc) func(http.Handler) http.Handler {
	return func(h http.Handler) http.Handler {
		e := echo.New()
		e.Use(echomw.RequestLoggerWithConfig(echomw.RequestLoggerConfig{LogValuesFunc: func(*echo.Context, echomw.RequestLoggerValues) error { return nil }}))
		e.Use(echomw.Recover())
		e.Use(use...)
		e.GET("/api/*", echo.WrapHandler(h))
		return e
	}
}

func withChi(use ...func(http.Handler) http.Handler) func(http.Handler) http.Handler {
	return func(h http.Handler) http.Handler {
		r := chi.NewRouter()
		r.Use(chimw.RequestID, chimw.RequestLogger(&chimw.DefaultLogFormatter{Logger: discard{}, NoColor: true}), chimw.Recoverer)
		r.Use(use...)
		r.Handle("/api/*", h)
		return r
	}
}

type discard struct{}

func (discard) Print(...any) {}

func withGorilla(use ...mux.MiddlewareFunc) func(http.Handler) http.Handler {
	return func(h http.Handler) http.Handler {
		r := mux.NewRouter()
		r.Use(func(next http.Handler) http.Handler { return handlers.CombinedLoggingHandler(io.Discard, next) }, handlers.RecoveryHandler())
		r.Use(use...)
		r.PathPrefix("/api/").Handler(h)
		return r
	}
}

// within is a middleware that lets the context of a request end.
func within(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), soon)
		defer cancel()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// unwrapper wraps as a middleware that is around a whole framework, and knows of
// http.ResponseController only.
type unwrapper struct{ http.ResponseWriter }

func (u unwrapper) Unwrap() http.ResponseWriter { return u.ResponseWriter }

func wrapped(f func(http.Handler) http.Handler) func(http.Handler) http.Handler {
	return func(h http.Handler) http.Handler {
		inner := f(h)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { inner.ServeHTTP(unwrapper{w}, r) })
	}
}

// late is around a whole framework.
func late(f func(http.Handler) http.Handler) func(http.Handler) http.Handler {
	return func(h http.Handler) http.Handler { return http.TimeoutHandler(f(h), time.Minute, "late") }
}

const timeoutWriter = "*http.timeoutWriter"

var frameworks = []struct {
	name    string
	wrap    func(http.Handler) http.Handler
	ends    bool   // the context of the request
	ren, ws string // the type that the log names; "": it works
}{
	{"gin", withGin(), false, "", ""},
	{"gin, wrapped", wrapped(withGin()), false, "", ""},
	{"gin, late", late(withGin()), false, timeoutWriter, timeoutWriter},
	{"gin, gzip", withGin(ginzip.Gzip(ginzip.DefaultCompression)), false, "*gzip.gzipWriter", ""},
	{"gin, gzip, excluded", withGin(ginzip.Gzip(ginzip.DefaultCompression, ginzip.WithExcludedPaths([]string{"/api/"}))), false, "", ""},

	{"echo v4", withEcho4(), false, "", ""},
	{"echo v4, wrapped", wrapped(withEcho4()), false, "", ""},
	{"echo v4, late", late(withEcho4()), false, timeoutWriter, timeoutWriter},
	{"echo v4, gzip", withEcho4(echo4mw.Gzip()), false, "", ""},
	{"echo v4, gzip, wrapped", wrapped(withEcho4(echo4mw.Gzip())), false, "", ""},
	{"echo v4, gzip of long answers", withEcho4(echo4mw.GzipWithConfig(echo4mw.GzipConfig{MinLength: 1 << 20})), false, "", ""},
	{"echo v4, body dump", withEcho4(echo4mw.BodyDump(func(echo4.Context, []byte, []byte) {})), false, "", ""},
	{"echo v4, context timeout", withEcho4(echo4mw.ContextTimeout(soon)), true, "", ""},
	//lint:ignore SA1019 people still have it
	{"echo v4, timeout", withEcho4(echo4mw.TimeoutWithConfig(echo4mw.TimeoutConfig{Timeout: time.Minute})), false, timeoutWriter, timeoutWriter},

	{"echo v5", withEcho(), false, "", ""},
	{"echo v5, wrapped", wrapped(withEcho()), false, "", ""},
	{"echo v5, late", late(withEcho()), false, timeoutWriter, timeoutWriter},
	{"echo v5, gzip", withEcho(echomw.Gzip()), false, "", ""},
	{"echo v5, gzip of long answers", withEcho(echomw.GzipWithConfig(echomw.GzipConfig{MinLength: 1 << 20})), false, "", ""},
	{"echo v5, body dump", withEcho(echomw.BodyDump(func(*echo.Context, []byte, []byte, error) {})), false, "", ""},
	{"echo v5, context timeout", withEcho(echomw.ContextTimeout(soon)), true, "", ""},

	{"chi", withChi(), false, "", ""},
	{"chi, wrapped", wrapped(withChi()), false, "", ""},
	{"chi, late", late(withChi()), false, timeoutWriter, timeoutWriter},
	{"chi, compress", withChi(chimw.Compress(gzip.BestSpeed)), false, "", ""},
	{"chi, compress, wrapped", wrapped(withChi(chimw.Compress(gzip.BestSpeed))), false, "", ""},
	{"chi, compress all", withChi(chimw.Compress(gzip.BestSpeed, "text/event-stream")), false, "", ""},
	{"chi, timeout", withChi(chimw.Timeout(soon)), true, "", ""},
	{"chi, throttle", withChi(chimw.Throttle(10)), false, "", ""},

	{"gorilla", withGorilla(), false, "", ""},
	{"gorilla, wrapped", wrapped(withGorilla()), false, "", ""},
	{"gorilla, late", late(withGorilla()), false, timeoutWriter, timeoutWriter},
	{"gorilla, compress", withGorilla(handlers.CompressHandler), false, "", ""},
	{"gorilla, context timeout", withGorilla(within), true, "", ""},
}

func TestFrameworks(t *testing.T) {
	for _, c := range frameworks {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			a := newApp(t)
			server := httptest.NewServer(c.wrap(a.handler()))
			t.Cleanup(server.Close)
			if c.ws == "" {
				a.upgrades(server.URL)
			} else {
				a.refuses(server.URL, "/api/realtime", c.ws)
			}
			if c.ren == "" {
				a.streams(server.URL, c.ends)
			} else {
				a.refuses(server.URL, "/api/ren", c.ren)
			}
		})
	}
}
