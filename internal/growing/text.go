package growing

import (
	"encoding/json"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/maravilla-realtime/realtime/internal/wire"
)

// Key names a growing message: it is unique among those that are open.
type Key struct{ Channel, ID string }

// MaxID is the longest id, in bytes.
const MaxID = 64

// ValidID reports whether an id can be that of a growing message.
func ValidID(id string) bool { return wire.ValidName(id) && len(id) <= MaxID }

// Begin is what a growing message begins with, and keeps.
type Begin struct {
	Key
	Run       string // tells it apart from others with the same key, before and after it
	User      string
	Source    string // the tag of the client that caused it
	UnixMilli int64
	Metadata  json.RawMessage // compact, or nil
	Depth     int             // how many handlers in a row led to it
}

// State is what has become of a growing message.
type State string

// The states.
const (
	Streaming State = "streaming"
	Complete  State = "complete"
	Failed    State = "failed"
	Cancelled State = "cancelled" // stopped by a client
)

// States lists the states that are ends.
var States = []string{string(Complete), string(Failed), string(Cancelled)}

// End is how a growing message ended.
type End struct {
	State     State
	UnixMilli int64
	Error     *wire.Error // of one that failed
	Partial   bool        // the content is not, or not all of it, known here
}

// Text is the content of a growing message, as this node has it. Its methods may be
// called concurrently.
type Text struct {
	Begin
	of   *Growing // nil: it has ended, and is of nobody
	own  *Own     // nil: it is written by another node
	copy copying  // where own is nil; guarded by Growing.mu

	mu        sync.Mutex
	kind      wire.Kind
	content   []byte // only grows, until the end
	told      int    // what the followers may read
	whole     int    // of a copy: the place up to which it can be told
	aim       int    // of a copy: the next such place
	toldAt    time.Time
	dirty     bool // there is more than told, and of knows
	end       *End // nil: it grows
	piece     piece
	followers []*Follower
	left      time.Time // when the last follower went
	out       outgoing
}

// piece is the frame that those get who have read as far as the others.
type piece struct {
	from, to int
	frame    []byte
}

// Follower is one who reads a Text as it grows.
type Follower struct {
	text *Text
	wake func()
	at   int // in text.followers
}

// Follow calls wake, which must not block, whenever there is more to Read than before.
func (t *Text) Follow(wake func()) *Follower {
	t.mu.Lock()
	defer t.mu.Unlock()
	f := &Follower{t, wake, len(t.followers)}
	t.followers = append(t.followers, f)
	return f
}

// Close ends following. It must be called once. All followers of a message may do so at
// the same time, when it ends.
func (f *Follower) Close() {
	t := f.text
	t.mu.Lock()
	defer t.mu.Unlock()
	last := len(t.followers) - 1
	t.followers[f.at], t.followers[last].at = t.followers[last], f.at
	t.followers[last] = nil
	if t.followers = t.followers[:last]; last == 0 {
		t.left = time.Now()
	}
}

// View is a part of the content, up to what there is to read.
type View struct {
	Kind    wire.Kind
	From    int
	Content []byte // must not be changed
	Next    int    // the place after it
	End     *End   // nil: it grows
}

// From returns the content from a place on. If that is none of this content, it
// returns all of it.
func (t *Text) From(place int) View {
	t.mu.Lock()
	v := View{t.kind, 0, t.content[:t.told:t.told], t.told, t.end}
	t.mu.Unlock()
	if place > 0 && place <= v.Next && v.Kind.IsPlace(v.Content, place) { // which takes a while
		v.From, v.Content = place, v.Content[place:]
	}
	return v
}

// Frame returns the frame with what follows a place, or nil if there is nothing, and
// the place after it. Those who are at the same place share the frame.
func (t *Text) Frame(place int) (frame []byte, next int, end *End) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case place >= t.told:
		return nil, place, t.end
	case t.piece.from == place && t.piece.to == t.told:
	default:
		a := wire.StreamAppend{Channel: t.Channel, ID: t.ID, Kind: t.kind, Offset: place, Content: t.content[place:t.told], Next: t.told}
		frame := a.Frame()
		if place < t.piece.to && t.piece.to == t.told {
			return frame, t.told, t.end // of one who lags: the others keep theirs
		}
		t.piece = piece{place, t.told, frame}
	}
	return t.piece.frame, t.told, t.end
}

// tell lets the followers read what there is. t.mu must be held.
func (t *Text) tell(now time.Time) {
	t.dirty, t.told, t.toldAt = false, len(t.content), now
	if t.own == nil {
		t.told = t.whole
	}
	for _, f := range t.followers {
		f.wake()
	}
}

// add appends to the content. It returns whether somebody must tell it. t.mu must be
// held.
func (t *Text) add(kind wire.Kind, p []byte) (news bool) {
	t.kind = kind
	t.content = append(t.content, p...)
	news, t.dirty = !t.dirty, true
	return news
}

// reach notes that so much content is whole: pieces end anywhere, also within a character
// or a value, but what a writer has never does. t.mu must be held.
func (t *Text) reach(total int) {
	for range 2 { // the place that was waited for, then this one
		if t.aim <= len(t.content) {
			t.whole, t.aim = max(t.whole, t.aim), total
		}
	}
}

// size returns the bytes of the content, and how many follow it.
func (t *Text) size() (bytes, followers int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.content), len(t.followers)
}

// ended returns how it ended, or nil.
func (t *Text) ended() *End {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.end
}

// runes appends p to dst as UTF-8: bytes that are none become U+FFFD. What may be the
// beginning of a character is left, except at the end of the text.
func runes(dst, p []byte, last bool) (_ []byte, left []byte) {
	for len(p) > 0 {
		if !last && !utf8.FullRune(p) {
			return dst, p
		}
		r, n := utf8.DecodeRune(p)
		dst, p = utf8.AppendRune(dst, r), p[n:]
	}
	return dst, nil
}

// IsPast reports whether the content comes from the log alone.
func (t *Text) IsPast() bool { return t.of == nil }
