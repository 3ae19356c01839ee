package ring

import (
	"fmt"
	"slices"
	"testing"

	"github.com/maravilla-realtime/realtime/backend"
)

// The past of a channel is read page by page: each begins before the oldest message of the
// one before it. A place of another epoch is after all messages, or says nothing of them.
func TestPagesOfThePast(t *testing.T) {
	r := newRing(roomy)
	for seq := range uint64(9) {
		r.fill(message(seq+1, []string{"a", "b"}[seq%2])) // a has the odd ones
	}
	for _, c := range []struct {
		before backend.Position
		n      int
		want   []uint64
		end    End
	}{
		{Newest, 2, []uint64{9, 7}, NoEnd},
		{*at(7), 2, []uint64{5, 3}, NoEnd},
		{*at(8), 2, []uint64{7, 5}, NoEnd},
		{*at(9), 10, []uint64{7, 5, 3, 1}, Beginning},
		{*at(3), 1, []uint64{1}, Beginning},
		{*at(1), 2, nil, Beginning},
		{*at(0), 2, nil, Beginning},
		{*at(100), 1, []uint64{9}, NoEnd},
		{backend.Position{Epoch: epoch + 1, Seq: 2}, 1, []uint64{9}, NoEnd},
		{backend.Position{Epoch: epoch - 1, Seq: 7}, 2, nil, Gone},
	} {
		found, end := r.Before("a", c.before, c.n)
		var got []uint64
		for _, e := range found {
			got = append(got, e.Pos.Seq)
		}
		if !slices.Equal(got, c.want) || end != c.end {
			t.Errorf("%d before %v: %d, %q; want %d, %q", c.n, c.before, got, end, c.want, c.end)
		}
	}
}

// An entry has as many spans as each reader asks for.
func TestSpans(t *testing.T) {
	r := newRing(roomy)
	r.fill(message(1, "a"))
	e, _ := r.At(*at(1))
	taken := 0
	for range 10 {
		if e.TakeSpan(3) {
			taken++
		}
	}
	if taken != 3 || e.TakeSpan(0) {
		t.Errorf("%d spans of at most 3", taken)
	}
	for more := range 3 {
		if e.TakeSpan(5) != (more < 2) {
			t.Errorf("another reader, of at most 5, gets span %d", more)
		}
	}
}

// The live events of clients without a user are those of each client, and of a user those of
// all its clients.
func TestSendersOfLiveEvents(t *testing.T) {
	r := newRing(roomy)
	rd := r.NewReader()
	rd.Subscribe(nil, Channel("a"))
	rec := &backend.Logged{Pos: *at(1)}
	for i, s := range [][2]string{{"", "tab1"}, {"", "tab2"}, {"ada", "tab3"}, {"ada", "tab4"}, {"", "tab1"}} {
		rec.Live = append(rec.Live, &backend.Logged{
			Pos: rec.Pos, Ephemeral: true, Kind: "typing",
			Event: backend.Event{Resource: "realtime", Channel: "a", User: s[0], Source: s[1], Key: fmt.Sprint(i)},
		})
	}
	r.fill(rec)
	items, _, _ := rd.Next(nil, Batch)
	var got []string
	for _, it := range items {
		got = append(got, it.Entry.Event.Key)
	}
	if !slices.Equal(got, []string{"1", "3", "4"}) {
		t.Errorf("the events are %q", got)
	}
}
