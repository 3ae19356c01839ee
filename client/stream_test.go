package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/client"
)

// growth is what a loop has of a growing message.
type growth struct {
	text, state, code string
	items             []json.RawMessage
	parts             int
	partial           bool
}

func (g *growth) add(p client.StreamPart) {
	if p.Whole {
		g.text, g.items = "", nil
	}
	g.parts++
	g.text, g.items, g.state, g.partial = g.text+p.Text, append(g.items, p.Items...), string(p.State), p.Partial
	if p.Err != nil {
		g.code = p.Err.Code
	}
}

func (g *growth) String() string {
	return strings.TrimSpace(fmt.Sprintf("%s%s %s %s", g.text, g.items, g.state, g.code))
}

// grows runs a loop over the message a1 of the channel.
func grows(t testing.TB, rt *client.Realtime, channel string) (*tape, *growth) {
	g := &growth{}
	return record(t, func(ctx context.Context) iter.Seq2[client.StreamPart, error] {
		return rt.Stream(ctx, channel, "a1")
	}, func(p client.StreamPart) string {
		g.add(p)
		return string(p.State)
	}), g
}

func (g *growth) want(t testing.TB, tp *tape, text, state string) {
	t.Helper()
	time.Sleep(100 * time.Millisecond)
	if tp.take(); g.text != text || g.state != state {
		t.Errorf("the loop has %q, %s; want %q, %s", g.text, g.state, text, state)
	}
}

// A loop has all of a message, across connections, and ends with it.
func TestStream(t *testing.T) {
	bubble(t, "across connections", streamAcrossConnections)
	bubble(t, "stopped", streamStopped)
	bubble(t, "rights, and the end of the client", streamWithoutRights)
}

func streamAcrossConnections(t *testing.T) {
	h := start(t, realtime.AllowAll(), nil)
	s, err := h.Stream(t.Context(), "room", "a1", realtime.AsUser("ada"), realtime.WithMetadata("m"))
	must(t, err)
	rt := h.realtime(nil)
	tp, g := grows(t, rt, "room")
	other, g2 := grows(t, rt, "room") // which shares the connection
	write := func(text string) {
		t.Helper()
		_, err := s.WriteString(text)
		must(t, err)
	}
	write("wörld ")
	g.want(t, tp, "wörld ", "streaming")
	h.listen.Cut()
	write("again ")
	time.Sleep(30 * time.Second)
	write("and ")
	g.want(t, tp, "wörld again and ", "streaming")
	g2.want(t, other, "wörld again and ", "streaming")
	late, g3 := grows(t, rt, "room")
	g3.want(t, late, "wörld again and ", "streaming")
	other.stop()
	write("again")
	must(t, s.Close())
	g.want(t, tp, "wörld again and again", "complete")
	g3.want(t, late, "wörld again and again", "complete")
	if !tp.ended() || !late.ended() {
		t.Error("a loop goes on after the end")
	}
	past, g4 := grows(t, rt, "room")
	g4.want(t, past, "wörld again and again", "complete")
	if !past.ended() || g4.parts != 1 {
		t.Errorf("%d parts", g4.parts)
	}
	if st := h.Stats().Streams; st.Followers != 0 {
		t.Errorf("%d clients follow", st.Followers)
	}
}

func streamStopped(t *testing.T) {
	h := start(t, realtime.AllowAll(), nil)
	s, err := h.Stream(t.Context(), "room", "a1")
	must(t, err)
	rt := h.realtime(nil)
	tp, g := grows(t, rt, "room")
	synctest.Wait()
	must(t, rt.StopStream(t.Context(), "room", "a1"))
	g.want(t, tp, "", "cancelled")
	if err := s.Close(); !errors.Is(err, realtime.ErrStopped) {
		t.Errorf("%v", err)
	}
	if err := rt.StopStream(t.Context(), "room", "a2"); code(err) != "not_found" {
		t.Errorf("%v", err)
	}
	none := record(t, func(ctx context.Context) iter.Seq2[client.StreamPart, error] {
		return rt.Stream(ctx, "room", "a2")
	}, func(client.StreamPart) string { return "part" })
	if got := none.take(); !strings.Contains(got, "not_found") || !none.ended() {
		t.Errorf("%s", got)
	}
}

func streamWithoutRights(t *testing.T) {
	var mu sync.Mutex
	denied := false
	policy := realtime.AllowAll()
	policy.Allow = func(_ context.Context, _ realtime.Identity, a realtime.Action) error {
		mu.Lock()
		defer mu.Unlock()
		if denied && a.Name == "room" {
			return errors.New("no")
		}
		return nil
	}
	h := start(t, policy, nil)
	for _, channel := range []string{"room", "lobby"} {
		_, err := h.Stream(t.Context(), channel, "a1")
		must(t, err)
	}
	rt := h.realtime(nil)
	room, _ := grows(t, rt, "room")
	lobby, _ := grows(t, rt, "lobby")
	synctest.Wait()
	mu.Lock()
	denied = true
	mu.Unlock()
	must(t, h.Recheck(t.Context(), ""))
	if got := room.take(); !strings.Contains(got, "forbidden") || !room.ended() || lobby.ended() {
		t.Errorf("%s", got)
	}
	must(t, rt.Close())
	if got := lobby.take(); !strings.Contains(got, realtime.ErrClosed.Error()) || !lobby.ended() {
		t.Errorf("%s", got)
	}
}

var goldenStreams = map[string]string{
	"stream empty": "[] streaming",
	"stream,stream.append,stream.end complete":      "Hello, wörld[] complete",
	"stream,stream.end cancelled":                   "Hello[] cancelled",
	"stream,stream.end failed":                      "Hello[] failed internal",
	"stream,unstreamed":                             "Hello[] streaming error forbidden",
	"stream,unstreamed for a while,stream resumed":  "Hello, wörld[] streaming",
	"stream,cut,stream resumed,stream.end complete": "Hello, wörld[] complete",
	"stream,cut,stream failed":                      "Hello[] failed unavailable",
	"stream complete":                               "Hello, wörld[] complete",
	"stream failed":                                 "[] failed unavailable",
	"stream of JSON,stream.append of JSON":          `[{"a":[1,2]} "x" null] streaming`,
	"stream,stream.append,stream.append":            "Hello, wörld[] streaming",
}

// The golden frames of growing messages mean this to a loop.
func TestStreamFrames(t *testing.T) {
	for frames, want := range goldenStreams {
		bubble(t, frames, func(t *testing.T) {
			texts := make(map[string]string)
			for _, g := range readGolden(t).Server {
				texts[g.Name] = g.Frame
			}
			var mu sync.Mutex
			left := strings.Split(frames, ",")
			next := func(ref int64) (say []string) { // an answer, and what follows it at once
				mu.Lock()
				defer mu.Unlock()
				for len(left) > 0 && left[0] != "cut" && (len(say) == 0 || !strings.HasPrefix(left[0], "stream ")) {
					text, ok := texts[left[0]]
					if !ok {
						t.Errorf("there is no frame %q", left[0])
					}
					say, left = append(say, strings.Replace(text, `"ref":7`, fmt.Sprintf(`"ref":%d`, ref), 1)), left[1:]
				}
				return say
			}
			n := newNetwork(t, script(func(_ int, o operation) string {
				if o.Op != "stream" {
					return agree(o)
				}
				return strings.Join(next(o.Ref), "\n")
			}))
			rt := n.realtime(nil)
			tp, g := grows(t, rt, "room:42")
			time.Sleep(5 * time.Second)
			mu.Lock()
			cut := len(left) > 0
			if cut {
				left = left[1:]
			}
			mu.Unlock()
			if cut {
				n.listen.Cut()
				time.Sleep(30 * time.Second)
			}
			words := tp.take()
			got := g.String()
			if _, err, refused := strings.Cut(words, "error:client: "); refused {
				word, _, _ := strings.Cut(err, ":")
				got += " error " + word
			}
			if got != want {
				t.Errorf("%s: %q, want %q", frames, got, want)
			}
		})
	}
}
