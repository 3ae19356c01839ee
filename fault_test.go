package realtime_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/backendtest"
)

// The text of an error names the library once, whatever it wraps.
func TestErrorsNameTheLibraryOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := backendtest.NewFaulty(realtime.NewMemory())
		h := start(t, open(), &realtime.Options{Backend: b, History: realtime.History{
			Older: func(context.Context, realtime.OlderQuery) ([]realtime.HistoryEvent, error) {
				return nil, fmt.Errorf("%w: the database is away", realtime.ErrTemporary)
			},
		}})
		large := strings.Repeat("x", 2<<20)
		down := fmt.Errorf("%w: down", realtime.ErrTemporary)
		_, decode := realtime.Decode[int](realtime.RenEvent{Type: "x", Data: []byte(`"y"`)})
		_, older := h.History(t.Context(), "room", "", 1)
		said := map[string]error{
			"publish":   h.Publish(t.Context(), "room", large),
			"emit":      h.Emit(t.Context(), realtime.RenEvent{Type: "t", Resource: "custom", Data: []byte(`"` + large + `"`)}),
			"ephemeral": h.Publish(t.Context(), "room", strings.Repeat("x", 20<<10), realtime.Ephemeral()),
			"join":      h.Presence().Join(t.Context(), "room", "ada", large),
			"decode":    decode,
			"history":   older,
		}
		b.FailAppend(1, down)
		said["backend"] = h.Publish(t.Context(), "room", 1)
		_, said["start"] = realtime.New(open(), &realtime.Options{Backend: broken{b}})
		_, said["hosts"] = realtime.New(realtime.Policy{Hosts: []string{"/"}}, nil)
		for name, err := range said {
			if err == nil || strings.Count(err.Error(), "realtime: ") != 1 {
				t.Errorf("%s: %v", name, err)
			}
		}
		if !errors.Is(said["publish"], realtime.ErrTooLarge) || !errors.Is(said["history"], realtime.ErrTemporary) {
			t.Errorf("%v, %v", said["publish"], said["history"])
		}
	})
}

// broken is a backend that was closed.
type broken struct{ *backendtest.Faulty }

func (broken) Read(context.Context, backend.Position, int) (backend.Page, error) {
	return backend.Page{}, backend.ErrClosed
}
