package storage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// HandlerOptions are all optional: the zero value of each field means its default,
// and a nil *HandlerOptions means all defaults.
type HandlerOptions struct {
	// MaxSize is the most bytes of an upload. Default 32 MiB.
	MaxSize int64

	// Patience is the time in which a client must send or receive the next 16 KiB.
	// Only time spent waiting for the client counts, not that of the policy or the
	// store. Default 10 s.
	Patience time.Duration

	// Logger gets the errors that clients see only as "internal". Default:
	// [slog.Default].
	Logger *slog.Logger
}

// Handler serves browsers. It decides by the last element of the URL's path, so it
// works below any prefix; the SDK expects it at /api/storage/. The query names the
// object, as in ?path=photos/1.png (see [ValidPath]).
//
//	POST   …/upload    stores the body: 201, or 200 if it replaced an object, with its Info as JSON
//	DELETE …/delete    204
//	GET    …/download  the object; ranges and If-None-Match work as usual
//
// For each request the handler asks the policy of rt about [realtime.VerbUpload],
// [realtime.VerbDelete] or [realtime.VerbDownload] of the path. Inside
// [realtime.Realtime.Attribute], events carry the client that caused them. Pages of
// [realtime.Policy.Origins] get the headers of CORS ([realtime.Realtime.CORS]).
//
// An upload cannot run with the rights of the site. Browsers may show images (PNG,
// JPEG, GIF, WebP, AVIF), audio, video (MP4, WebM) and plain text. They save
// everything else, HTML and SVG included, as an opaque file.
//
// Errors are answered as {"code","message","retry"}: 400 "bad_name" and
// "bad_request", 401 and 403 as by [realtime.Realtime.Authorize], 404
// "not_found", 405 "method", 408 "timeout", 413 "too_large", 415
// "unsupported_type", 500 "internal", 503 "unavailable".
func Handler(rt *realtime.Realtime, store *Store, opts *HandlerOptions) http.Handler {
	h := &handler{rt: rt, store: store}
	if opts != nil {
		h.opts = *opts
	}
	if h.opts.MaxSize <= 0 {
		h.opts.MaxSize = 32 << 20
	}
	if h.opts.Patience <= 0 {
		h.opts.Patience = 10 * time.Second
	}
	if h.opts.Logger == nil {
		h.opts.Logger = slog.Default()
	}
	return rt.CORS(h)
}

type handler struct {
	rt    *realtime.Realtime
	store *Store
	opts  HandlerOptions
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	out := newPaced(w, h.opts.Patience)
	defer out.leave()
	var err error
	switch path.Base(r.URL.Path) {
	case "upload":
		err = h.upload(out, r)
	case "delete":
		err = h.delete(out, r)
	case "download":
		err = h.download(out, r)
	default:
		err = refuse(http.StatusNotFound, "not_found", "there are only upload, delete and download here")
	}
	if err != nil {
		realtime.WriteError(out, h.explain(r.Context(), err))
	}
}

// explain translates errors of the store into refusals for a client.
func (h *handler) explain(ctx context.Context, err error) error {
	var refused *realtime.RefusedError
	switch {
	case errors.As(err, &refused):
		return refused
	case errors.Is(err, ErrBadPath), errors.Is(err, ErrNotFound):
		return err // the answer is in it
	case errors.Is(err, ErrNoAnswer):
		h.opts.Logger.ErrorContext(ctx, "storage: the store does not answer in time", "error", err)
		return later("try again later")
	case errors.Is(err, ErrUnannounced):
		h.opts.Logger.ErrorContext(ctx, "storage: a change is stored, but not announced; the client is told to repeat it", "error", err)
		return later("done, but not announced: send it again")
	case ctx.Err() != nil:
		return later("try again later") // the client is gone, unless a middleware ended ctx
	}
	h.opts.Logger.ErrorContext(ctx, "storage: a request failed", "error", err)
	return err
}

func refuse(status int, code, format string, args ...any) error {
	return &realtime.RefusedError{Status: status, Code: code, Message: fmt.Sprintf(format, args...)}
}

func later(message string) error {
	return &realtime.RefusedError{Status: http.StatusServiceUnavailable, Code: "unavailable", Message: message, Retry: true}
}

// admit returns the path of the object a request is about, if the policy allows the
// request.
func (h *handler) admit(w http.ResponseWriter, r *http.Request, verb realtime.Verb, methods ...string) (string, error) {
	if !slices.Contains(methods, r.Method) {
		allowed := strings.Join(methods, ", ")
		w.Header().Set("Allow", allowed)
		return "", refuse(http.StatusMethodNotAllowed, "method", "only %s is served here", allowed)
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return "", refuse(http.StatusBadRequest, "bad_request", "malformed query")
	}
	if len(query["path"]) != 1 {
		return "", refuse(http.StatusBadRequest, "bad_request", "the query has to have one path")
	}
	name := query["path"][0]
	if !ValidPath(name) {
		return "", refuse(http.StatusBadRequest, "bad_name", "%s is no path of an object", wire.Quote(name))
	}
	_, err = h.rt.Authorize(r, realtime.Action{Verb: verb, Name: name})
	return name, err
}

const maxType = 127 // bytes of a media type

func (h *handler) upload(w *paced, r *http.Request) error {
	body, missing := newUpload(w.ResponseWriter, r, h.opts)
	if missing != nil {
		h.opts.Logger.ErrorContext(r.Context(), "storage: a ResponseWriter hides SetReadDeadline; the middleware that wraps it "+
			"needs an Unwrap method, or must not wrap this route", "type", fmt.Sprintf("%T", missing.Writer), "error", missing)
		return refuse(http.StatusInternalServerError, "streaming_unsupported", "a middleware of the server does not support streaming")
	}
	defer body.leave()
	name, err := h.admit(w, r, realtime.VerbUpload, http.MethodPost)
	if err != nil {
		return err
	}
	typ, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || len(typ) > maxType {
		typ = "" // Objects must decide
	}
	switch {
	case strings.HasPrefix(typ, "multipart/"):
		return refuse(http.StatusUnsupportedMediaType, "unsupported_type", "send the file itself as the body, not a form")
	case r.Header.Get("Content-Encoding") != "":
		return refuse(http.StatusUnsupportedMediaType, "unsupported_type", "send the file as it is, without Content-Encoding")
	case r.ContentLength > h.opts.MaxSize:
		return body.tooLarge()
	}
	info, created, err := h.store.Put(r.Context(), name, typ, body)
	if body.err != nil {
		return body.err // however the store says it
	}
	if err != nil {
		return err
	}
	status := http.StatusOK
	if created {
		status = http.StatusCreated
	}
	answer(w, status, info)
	return nil
}

func answer(w http.ResponseWriter, status int, info Info) {
	b, _ := json.Marshal(info) // of strings and a number
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n')) // the client is gone, or has it
}

func (h *handler) delete(w http.ResponseWriter, r *http.Request) error {
	name, err := h.admit(w, r, realtime.VerbDelete, http.MethodDelete)
	if err != nil {
		return err
	}
	if err := h.store.Delete(r.Context(), name); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// sandbox is the Content-Security-Policy of downloads: shown by itself, a download has
// no origin and can load only itself.
const sandbox = "sandbox; default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'"

func (h *handler) download(w http.ResponseWriter, r *http.Request) error {
	name, err := h.admit(w, r, realtime.VerbDownload, http.MethodGet, http.MethodHead)
	if err != nil {
		return err
	}
	content, info, err := h.store.Open(r.Context(), name)
	if err != nil {
		return err
	}
	defer content.Close()
	typ, inline := shown(info.Type)
	disposition := "attachment"
	if inline {
		disposition = "inline"
	}
	header := w.Header()
	header.Set("Content-Type", typ)
	header.Set("Content-Disposition", mime.FormatMediaType(disposition, map[string]string{"filename": path.Base(name)}))
	header.Set("Content-Security-Policy", sandbox)
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Cache-Control", "private, no-cache") // kept, and asked for with the ETag: rights may change
	header.Set("ETag", `"`+info.Version+`"`)
	http.ServeContent(w, r, "", time.Time{}, content)
	return nil
}
