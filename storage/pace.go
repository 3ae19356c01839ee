package storage

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/maravilla-realtime/realtime"
)

// pace is the number of bytes that a client must send or take within
// HandlerOptions.Patience.
const pace = 16 << 10

// upload is the body of a request, whose sender must make progress and stay
// within the limit. Its errors are refusals for the sender.
//
// A deadline is set only while a read waits for the sender. At all other times there
// must be none. At the end of the body, net/http begins to read in the background to
// notice that the client has gone, and would mistake a deadline for that. In HTTP/2 a
// deadline that passes ends the body, even if the handler was the slow one.
type upload struct {
	from     io.Reader // a http.MaxBytesReader
	max      int64
	rc       *http.ResponseController
	patience time.Duration
	n        int64         // bytes of the current pace that have come
	left     time.Duration // the time for the rest of it
	ended    bool          // no more bytes will come
	err      error
}

func newUpload(w http.ResponseWriter, r *http.Request, opts HandlerOptions) *upload {
	return &upload{
		from: http.MaxBytesReader(w, r.Body, opts.MaxSize), max: opts.MaxSize,
		rc: http.NewResponseController(w), patience: opts.Patience, left: opts.Patience,
		ended: r.ContentLength == 0,
	}
}

// probe calls what sets a deadline for the first time, and returns the innermost
// writer, which others may hide. A writer that wraps itself would keep
// [http.ResponseController] for ever, and one whose method relies on an ability that
// the writer beneath it lacks panics: both are errors, as if there were no deadlines.
func probe(w http.ResponseWriter, set func() error) (inner http.ResponseWriter, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v", v)
		}
	}()
	inner = w
	for range 100 {
		u, ok := inner.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return inner, set()
		}
		next := u.Unwrap()
		if next == nil {
			return inner, set()
		}
		inner = next
	}
	return inner, errors.New("it wraps itself")
}

// idle removes the deadline. It fails if a ResponseWriter hides deadlines.
func (u *upload) idle() error { return u.rc.SetReadDeadline(time.Time{}) }

func (u *upload) Read(p []byte) (int, error) {
	began := time.Now()
	if !u.ended && u.err == nil {
		u.err = u.rc.SetReadDeadline(began.Add(u.left))
	}
	if u.err != nil {
		return 0, u.err
	}
	n, err := u.from.Read(p)
	u.count(n, time.Since(began))
	var tooLarge *http.MaxBytesError
	switch {
	case err == nil:
		u.err = u.idle()
		return n, u.err
	case err == io.EOF:
		u.ended = true
		_ = u.idle() // it has worked before the read
		return n, io.EOF
	case errors.As(err, &tooLarge):
		u.err = u.tooLarge()
	case errors.Is(err, os.ErrDeadlineExceeded):
		u.err = &realtime.RefusedError{
			Status: http.StatusRequestTimeout, Code: "timeout", Message: "the file came too slowly, or not at all", Retry: true,
		}
	default:
		u.err = refuse(http.StatusBadRequest, "bad_request", "the file did not come to its end")
	}
	return n, u.err // with the deadline as it is: the server reads on before it answers
}

// count counts n bytes that have come, and the time they took.
func (u *upload) count(n int, took time.Duration) {
	u.n += int64(n)
	u.left -= took
	if u.n >= pace {
		u.n, u.left = 0, u.patience
	}
}

// leave must be called before a request is answered. The server first reads the rest
// of a refused body, and leave bounds that time.
func (u *upload) leave() {
	if !u.ended && u.err == nil {
		_ = u.rc.SetReadDeadline(time.Now().Add(u.patience)) // it has worked before
	}
}

func (u *upload) tooLarge() error {
	return refuse(http.StatusRequestEntityTooLarge, "too_large", "larger than %d bytes", u.max)
}

// paced is a ResponseWriter that ends the download of a client that does not read. As
// with uploads, there is a deadline only while a write waits for the client: in HTTP/2
// a deadline that passes ends the stream, even if the store was the slow one; and that
// of http.Server.WriteTimeout would leave an upload without its answer that took longer.
//
// If a deadline cannot be set, only the server's own applies.
type paced struct {
	http.ResponseWriter
	rc       *http.ResponseController
	patience time.Duration
	timed    bool // deadlines can be set
}

func newPaced(w http.ResponseWriter, patience time.Duration) *paced {
	p := &paced{ResponseWriter: w, rc: http.NewResponseController(w), patience: patience}
	_, err := probe(w, func() error { return p.rc.SetWriteDeadline(time.Time{}) })
	p.timed = err == nil
	return p
}

// limit sets the deadline of the writes that follow; zero means none.
func (p *paced) limit(at time.Time) {
	if p.timed {
		_ = p.rc.SetWriteDeadline(at) // it has worked before
	}
}

func (p *paced) Write(b []byte) (n int, err error) {
	for len(b) > 0 && err == nil {
		p.limit(time.Now().Add(p.patience))
		var m int
		m, err = p.ResponseWriter.Write(b[:min(len(b), pace)])
		n, b = n+m, b[m:]
	}
	if err == nil {
		p.limit(time.Time{})
	}
	return n, err
}

// leave gives the client time for the bytes that the server still has to send, after what
// it reads of a refused body: see [upload.leave]. The server removes the deadline after the
// request.
func (p *paced) leave() { p.limit(time.Now().Add(2 * p.patience)) }
