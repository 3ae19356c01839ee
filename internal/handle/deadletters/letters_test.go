package deadletters

import (
	"errors"
	"testing"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/handle"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// An event that is given up once more, after its group's progress was lost, is one letter:
// who retries it must not find it handled and still listed.
func TestLetterGivenUpTwice(t *testing.T) {
	pos := func(n uint64) backend.Position { return backend.Position{Epoch: 1, Seq: n} }
	var ls List
	for _, l := range []struct {
		at               uint64
		handler, attempt int
	}{{1, 0, 5}, {1, 1, 5}, {2, 0, 5}, {1, 0, 7}} {
		ls.Add(handle.Delivery{Event: &backend.Event{}, Group: "work", Pos: pos(l.at), Handler: l.handler, Attempt: l.attempt}, errors.New("fault"))
	}
	if all := ls.All(); len(all) != 3 || all[0].Attempt != 7 {
		t.Errorf("%d letters are listed: %+v", len(all), all)
	}
	first := wire.Cursor(pos(1))
	ls.retried(answer{Request: Request{Group: "work", Cursor: first, Attempt: 8}, Outcome: handled})
	if i := ls.find("work", first, 0); i >= 0 || len(ls.All()) != 2 {
		t.Errorf("a letter that was handled is listed: %+v", ls.All())
	}
}
