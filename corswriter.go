package realtime

import (
	"bufio"
	"io"
	"net"
	"net/http"
)

// corsWriter corrects the headers of CORS when they are sent, after handlers and
// middlewares within have set theirs.
type corsWriter struct {
	http.ResponseWriter
	mend func()
	sent bool
}

func (w *corsWriter) send() {
	if !w.sent {
		w.sent = true
		w.mend()
	}
}

func (w *corsWriter) WriteHeader(status int) {
	if status >= 200 || status == http.StatusSwitchingProtocols { // else there will be another one
		w.send()
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *corsWriter) Write(p []byte) (int, error) {
	w.send()
	return w.ResponseWriter.Write(p)
}

// ReadFrom keeps sendfile for what is served from files.
func (w *corsWriter) ReadFrom(src io.Reader) (int64, error) {
	w.send()
	return io.Copy(w.ResponseWriter, src)
}

// FlushError is for [http.ResponseController], as Unwrap is.
func (w *corsWriter) FlushError() error {
	w.send()
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Flush is for handlers that want an [http.Flusher].
func (w *corsWriter) Flush() { _ = w.FlushError() } // an http.Flusher has no error

// Hijack is for handlers that want an [http.Hijacker].
func (w *corsWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return http.NewResponseController(w.ResponseWriter).Hijack()
}

// Unwrap is for [http.ResponseController].
func (w *corsWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
