package session

// walk is the place of a client in a roster. It holds the roster and copies nothing
// of it.
type walk struct {
	*Roster // held, so that the next roster can share parts with it
	view    View
	taken   int // parts

	next  int    // the next part that shows a member; len(parts): none
	shown []bool // which members of it are shown
	count int    // how many of them
}

// nextPart is a part as one client gets it.
type nextPart struct {
	number  int
	members []byte
	shared  []byte // the whole frame, where others get the same
	more    bool   // parts follow
}

func (r *Roster) walk(v View) *walk {
	w := &walk{Roster: r, view: v}
	w.seek(0)
	return w
}

// seek finds the next part that shows a member, from part i on.
func (w *walk) seek(i int) {
	for w.next, w.shown, w.count = i, w.shown[:0], 0; w.next < len(w.parts); w.next++ {
		joins := w.parts[w.next].joins
		if joins == nil {
			return // everybody
		}
		w.shown = w.shown[:0]
		for i := range joins {
			shown := w.view.Channel(&joins[i])
			if w.shown = append(w.shown, shown); shown {
				w.count++
			}
		}
		if w.count > 0 {
			return
		}
	}
}

// take returns the next part. There is a first part even if no member is shown.
func (w *walk) take() nextPart {
	p := nextPart{number: w.taken}
	w.taken++
	if w.next >= len(w.parts) {
		return p
	}
	part, whole := &w.parts[w.next], w.count == len(w.shown)
	if p.members = part.members; !whole {
		p.members = part.only(w.shown)
	}
	same := whole && w.next == p.number
	w.seek(w.next + 1)
	if p.more = w.next < len(w.parts); p.more && same {
		p.shared = part.frame
	}
	return p
}

// only returns the encoded members that are shown.
func (p *rosterPart) only(shown []bool) []byte {
	members := make([]byte, 0, len(p.members))
	begin := 0
	for i, end := range p.ends {
		if shown[i] {
			if len(members) > 0 {
				members = append(members, ',')
			}
			members = append(members, p.members[begin:end]...)
		}
		begin = end + 1 // a comma
	}
	return members
}
