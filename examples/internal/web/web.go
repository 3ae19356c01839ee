// Package web is what the examples share beside the library: the look of their
// pages, JSON in and out, and a server that ends in order.
package web

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"mime"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/maravilla-realtime/realtime"
)

//go:embed shared
var shared embed.FS

// Files serves the folder "page" of files, and what all pages share at /shared/.
// Pages can load and run nothing but files of this server.
func Files(files fs.FS) http.Handler {
	own, _ := fs.Sub(files, "page") // fails for bad names only
	mux := http.NewServeMux()
	mux.Handle("/", http.FileServerFS(own))
	mux.Handle("/shared/", http.FileServerFS(shared))
	return Secure(mux)
}

// Secure sets the headers that keep a page to what its server says.
func Secure(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", "default-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		next.ServeHTTP(w, r)
	})
}

// readTime is how long a request may take to come.
const readTime = 10 * time.Second

// ReadJSON decodes a JSON request of at most 16 KiB, or answers what is wrong.
func ReadJSON(w http.ResponseWriter, r *http.Request, into any) bool {
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind != "application/json" {
		http.Error(w, "send application/json", http.StatusUnsupportedMediaType)
		return false
	}
	// A body that never ends would keep the request for ever.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(readTime)) // where it fails there is no connection
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 16<<10)).Decode(into)
	var large *http.MaxBytesError
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		http.Error(w, "the body did not come in time", http.StatusRequestTimeout)
	case errors.As(err, &large):
		http.Error(w, "too large", http.StatusRequestEntityTooLarge)
	case err != nil:
		http.Error(w, "not the JSON expected", http.StatusBadRequest)
	}
	return err == nil
}

// WriteJSON answers with v, which nobody may keep: it is read again when it has
// changed.
func WriteJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(v) // fails only where nobody reads it
}

// Fits reports whether s has between least and most characters.
func Fits(s string, least, most int) bool {
	n := utf8.RuneCountInString(s)
	return least <= n && n <= most
}

// Main is the main function of an example: it has run serve at the address that
// -addr names until the program is interrupted. Other flags are defined before.
func Main(name string, run func(ctx context.Context, addr string) error) {
	addr := flag.String("addr", "localhost:8080", "`address` to listen on; port 0 takes any free one")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, *addr)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
}

// Serve serves handler at addr until ctx ends, and closes rt in any case.
func Serve(ctx context.Context, name, addr string, rt *realtime.Realtime, handler http.Handler) error {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return errors.Join(err, rt.Close(ctx))
	}
	fmt.Printf("%s is ready: %s\n", name, URL(addr, ln.Addr()))
	return realtime.ServeListener(ctx, &http.Server{Handler: handler, ReadHeaderTimeout: Slow(5 * time.Second)}, rt, ln)
}

// URL is where a browser finds a server that was told to listen on addr.
func URL(addr string, listening net.Addr) string {
	host, _, _ := net.SplitHostPort(addr) // net.Listen has read it
	if host == "" {
		host = "localhost"
	}
	port := listening.(*net.TCPAddr).Port
	return "http://" + net.JoinHostPort(host, strconv.Itoa(port)) + "/"
}
