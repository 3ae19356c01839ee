package follow

import (
	"context"
	"log/slog"
	"testing"

	"github.com/maravilla-realtime/realtime/backend"
)

// twoEpochs is a log that lost its tail and goes on after what is left.
type twoEpochs struct{ records []backend.Record }

func (l *twoEpochs) Follow(ctx context.Context, _ backend.Position, _ func([]backend.Record)) error {
	<-ctx.Done()
	return ctx.Err()
}

func (l *twoEpochs) Read(_ context.Context, after backend.Position, limit int) (backend.Page, error) {
	page := backend.Page{First: l.records[0].Pos, Head: l.records[len(l.records)-1].Pos}
	for _, r := range l.records {
		if r.Pos.Compare(after) > 0 && len(page.Records) < limit {
			page.Records = append(page.Records, r)
		}
	}
	return page, nil
}

// A node can start on a log that still has records of an epoch that has ended, and
// has those of the one that goes on.
func TestStartAfterEarlierEpochs(t *testing.T) {
	log := &twoEpochs{}
	for _, pos := range []backend.Position{{Epoch: 1, Seq: 1}, {Epoch: 1, Seq: 2}, {Epoch: 2, Seq: 3}, {Epoch: 2, Seq: 4}} {
		log.records = append(log.records, backend.Record{Entry: event(string(rune('a' + pos.Seq - 1))), Pos: pos})
	}
	start, err := Start(t.Context(), log, 100)
	if err != nil {
		t.Fatal(err)
	}
	h := &history{head: start}
	f := &Follower{Log: log, History: h, Logger: slog.New(slog.DiscardHandler)}
	if err := f.Fill(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := h.said; len(got) != 3 || got[1] != "c" || got[2] != "d" {
		t.Errorf("the history got %q, want c and d", got)
	}
}
