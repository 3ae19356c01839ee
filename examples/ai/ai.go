package main

import (
	"crypto/rand"
	"embed"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/examples/internal/web"
)

//go:embed page
var page embed.FS

// ai is the app.
type ai struct {
	rt        *realtime.Realtime
	plug      plug
	answering sync.WaitGroup // no more at once than rt opens streams
}

func (a *ai) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/api/maravilla/", a.rt.Handler()) // streams and the browser SDK
	mux.Handle("/api/maravilla/realtime", a.plug.handler(a.rt.Handler()))
	mux.HandleFunc("POST /api/ask", a.ask)
	mux.HandleFunc("POST /api/unplug", a.plug.pull)
	mux.Handle("/", a.plug.name(web.Files(page)))
	// Attribute lets a tab recognise what its own requests caused. The protection
	// keeps the pages of other sites from posting here.
	return http.NewCrossOriginProtection().Handler(a.rt.Attribute(mux))
}

// ask takes a question, and has it answered. The answer does not end with the request.
func (a *ai) ask(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Chat string `json:"chat"`
		Text string `json:"text"`
	}
	if !web.ReadJSON(w, r, &in) {
		return
	}
	if in.Text = strings.TrimSpace(in.Text); !web.Fits(in.Chat, 1, 64) || !web.Fits(in.Text, 1, 500) {
		http.Error(w, "the conversation or the text is missing or too long", http.StatusBadRequest)
		return
	}
	// All who subscribe to the conversation are told that an answer begins, and to what.
	// The request's context names the tab that asked, and so does that message.
	s, err := a.rt.Stream(r.Context(), "chat:"+in.Chat, rand.Text(), realtime.WithMetadata(map[string]string{"question": in.Text}))
	if err != nil {
		refuse(w, err)
		return
	}
	a.answering.Go(func() {
		if err := answer(s, in.Text); err != nil && !errors.Is(err, realtime.ErrStopped) && !errors.Is(err, realtime.ErrClosed) {
			slog.Warn("an answer was not written to its end", "err", err)
		}
	})
	w.WriteHeader(http.StatusNoContent)
}

// answer writes an answer while it is generated. A stop, from any tab, ends the context of
// the stream, and with it the generator.
func answer(s *realtime.Stream, question string) error {
	for token := range generate(s.Context(), question) {
		if _, err := io.WriteString(s, token); err != nil {
			return err
		}
	}
	return s.Close()
}

func refuse(w http.ResponseWriter, err error) {
	if errors.Is(err, realtime.ErrBadChannel) {
		http.Error(w, "no such conversation", http.StatusBadRequest)
		return
	}
	http.Error(w, "try again", http.StatusServiceUnavailable)
}
