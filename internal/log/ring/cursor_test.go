package ring

import "testing"

// Where a budget stops one subscription early, the cursors of the others stay where
// they are: they do not go back to that place and tell again what they have told.
func TestCursorsNeverGoBack(t *testing.T) {
	r := newRing(roomy)
	for seq := uint64(1); seq <= 10; seq++ {
		r.fill(record(seq, "realtime", []string{"late", "busy"}[seq%2]))
	}
	rd := r.NewReader()
	rd.Subscribe(at(0), Channel("busy"))
	rd.Subscribe(nil, Channel("late")) // after 10
	r.fill(record(11, "realtime", "late"))

	items, pos, more := rd.Next(nil, Budget{2, 1 << 20}) // one of each
	if len(items) != 1 || items[0].Pos.Seq != 1 || pos.Seq >= 10 || !more {
		t.Fatalf("%d items up to %d: the budget does not stop the busy one", len(items), pos.Seq)
	}
	expect(t, "then", drain(rd, 2), []string{"3", "5", "7", "9", "11"})
}
