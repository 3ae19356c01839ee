package storage

import (
	"errors"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/internal/web/httpwriter"
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
	deadline *httpwriter.Deadline
	patience time.Duration
	n        int64         // bytes of the current pace that have come
	left     time.Duration // the time for the rest of it
	ended    bool          // no more bytes will come
	err      error
}

// newUpload fails if a ResponseWriter hides deadlines.
func newUpload(w http.ResponseWriter, r *http.Request, opts HandlerOptions) (*upload, *httpwriter.Unsupported) {
	deadline, missing := httpwriter.ReadDeadline(w, time.Time{})
	if missing != nil {
		return nil, missing
	}
	return &upload{
		from: http.MaxBytesReader(w, r.Body, opts.MaxSize), max: opts.MaxSize,
		deadline: deadline, patience: opts.Patience, left: opts.Patience,
		ended: r.ContentLength == 0,
	}, nil
}

// idle removes the deadline.
func (u *upload) idle() error { return u.deadline.Set(time.Time{}) }

func (u *upload) Read(p []byte) (int, error) {
	began := time.Now()
	if !u.ended && u.err == nil {
		u.err = u.deadline.Set(began.Add(u.left))
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
		_ = u.deadline.Set(time.Now().Add(u.patience)) // it has worked before
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
	deadline *httpwriter.Deadline // nil: it cannot be set
	patience time.Duration
}

func newPaced(w http.ResponseWriter, patience time.Duration) *paced {
	deadline, _ := httpwriter.WriteDeadline(w, time.Time{})
	return &paced{w, deadline, patience}
}

// limit sets the deadline of the writes that follow; zero means none.
func (p *paced) limit(at time.Time) {
	if p.deadline != nil {
		_ = p.deadline.Set(at) // it has worked before
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
