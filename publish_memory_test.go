package realtime_test

import (
	"encoding/json"
	"testing"
	"testing/synctest"

	"github.com/maravilla-realtime/realtime"
)

// What is published takes memory that is used again, and no message changes another.
func TestPublishMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := start(t, realtime.Policy{}, nil)
		defer rt.Close(t.Context())
		var want []string
		for i := range 40 {
			texts := [...]string{`"` + string(rune('a'+i%26)) + `"`, `{"n":[1,2]}`, `"longer than the others"`}
			text := texts[i%len(texts)]
			var data any = json.RawMessage(" " + text + "\n")
			if i%2 > 0 {
				_ = json.Unmarshal([]byte(text), &data)
			}
			if err := rt.Publish(t.Context(), "room", data); err != nil {
				t.Fatal(err)
			}
			want = append(want, text)
			if err := rt.Publish(t.Context(), "room", make(chan int)); err == nil {
				t.Fatal("a channel was published")
			}
			if err := rt.Publish(t.Context(), "room", json.RawMessage(`{`)); err == nil {
				t.Fatal("what is no JSON was published")
			}
		}
		synctest.Wait()
		page, err := rt.History(t.Context(), "room", "", 100)
		if err != nil {
			t.Fatal(err)
		}
		for i, ev := range page.Events {
			if got := string(ev.Data); got != want[i] {
				t.Errorf("message %d is %s, want %s", i, got, want[i])
			}
		}
		if len(page.Events) != len(want) {
			t.Errorf("%d messages, want %d", len(page.Events), len(want))
		}
	})
}
