package cors

import (
	"bufio"
	"io"
	"net"
	"net/http"
)

// Writer corrects the headers of CORS when they are sent, after handlers and
// middlewares within have set theirs.
type Writer struct {
	http.ResponseWriter
	mend func()
	sent bool
}

// NewWriter returns a Writer that calls mend before it sends the headers.
func NewWriter(w http.ResponseWriter, mend func()) *Writer {
	return &Writer{ResponseWriter: w, mend: mend}
}

// Send calls mend, if that has not been done.
func (w *Writer) Send() {
	if !w.sent {
		w.sent = true
		w.mend()
	}
}

func (w *Writer) WriteHeader(status int) {
	if status >= 200 || status == http.StatusSwitchingProtocols { // else there will be another one
		w.Send()
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *Writer) Write(p []byte) (int, error) {
	w.Send()
	return w.ResponseWriter.Write(p)
}

// ReadFrom keeps sendfile for what is served from files.
func (w *Writer) ReadFrom(src io.Reader) (int64, error) {
	w.Send()
	return io.Copy(w.ResponseWriter, src)
}

// FlushError is for [http.ResponseController], as Unwrap is.
func (w *Writer) FlushError() error {
	w.Send()
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Flush is for handlers that want an [http.Flusher].
func (w *Writer) Flush() { _ = w.FlushError() } // an http.Flusher has no error

// Hijack is for handlers that want an [http.Hijacker]. They may send the headers
// themselves.
func (w *Writer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	w.Send()
	return http.NewResponseController(w.ResponseWriter).Hijack()
}

// Unwrap is for [http.ResponseController].
func (w *Writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }
