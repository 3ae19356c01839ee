package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/kv"
)

// open starts a dashboard with its samples, which ends with the test.
func open(t *testing.T, opts *kv.Options) *dashboard {
	t.Helper()
	rt, err := realtime.New(realtime.AllowAll(), nil)
	if err != nil {
		t.Fatal(err)
	}
	store := kv.New(rt, opts)
	t.Cleanup(func() {
		if err := rt.Close(t.Context()); err != nil && t.Context().Err() == nil {
			t.Error(err)
		}
		store.Close()
	})
	d := &dashboard{rt: rt, store: store}
	if err := d.register(); err != nil {
		t.Fatal(err)
	}
	if err := d.fill(t.Context()); err != nil {
		t.Fatal(err)
	}
	return d
}

// ask sends a request and expects a status.
func ask(t *testing.T, d *dashboard, method, path, body string, want int) string {
	t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	w := httptest.NewRecorder()
	if d.handler().ServeHTTP(w, r); w.Code != want {
		t.Fatalf("%s %s: %d %s; want %d", method, path, w.Code, w.Body, want)
	}
	return strings.TrimSpace(w.Body.String())
}

// expect waits until all handlers are done, and compares the summary of a list.
func expect(t *testing.T, d *dashboard, list string, want stats) {
	t.Helper()
	synctest.Wait()
	var got stats
	if err := json.Unmarshal([]byte(ask(t, d, "GET", "/api/lists/"+list+"/stats", "", 200)), &got); err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Errorf("%s: %+v, want %+v", list, got, want)
	}
}

func TestRollup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := open(t, nil)
		expect(t, d, "launch", stats{Open: 3, Done: 2})
		expect(t, d, "garden", stats{Open: 2})

		ask(t, d, "POST", "/api/lists/launch/items", `{"text":" Bake a cake "}`, 204)
		expect(t, d, "launch", stats{Open: 4, Done: 2})
		if items := ask(t, d, "GET", "/api/lists/launch/items", "", 200); !strings.Contains(items, `"text":"Bake a cake"`) {
			t.Error(items)
		}
		ask(t, d, "PATCH", "/api/lists/launch/items/000003", `{"done":true}`, 204)
		expect(t, d, "launch", stats{Open: 3, Done: 3})
		ask(t, d, "DELETE", "/api/lists/launch/items/000001", "", 204)
		expect(t, d, "launch", stats{Open: 3, Done: 2})
		expect(t, d, "garden", stats{Open: 2})
	})
}

// The summary stored last is of the last write, however long an earlier one takes.
func TestRollupAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := &lagging{Engine: kv.NewMemory()}
		d := open(t, &kv.Options{Engine: engine})
		expect(t, d, "launch", stats{Open: 3, Done: 2})
		engine.lag.Store(true)
		ask(t, d, "POST", "/api/lists/launch/items", `{"text":"one"}`, 204)
		synctest.Wait() // the handler has read it, and is held up
		ask(t, d, "POST", "/api/lists/launch/items", `{"text":"another"}`, 204)
		time.Sleep(2 * time.Second)
		expect(t, d, "launch", stats{Open: 5, Done: 2})
	})
}

// lagging is an engine that can hold back what a handler reads next of a list.
type lagging struct {
	kv.Engine
	lag atomic.Bool
}

func (l *lagging) List(ctx context.Context, namespace, prefix, after string, limit int) ([]kv.Entry, error) {
	found, err := l.Engine.List(ctx, namespace, prefix, after, limit)
	_, handler := realtime.DeliveryOf(ctx)
	if handler && prefix == itemKey("launch", "") && l.lag.CompareAndSwap(true, false) {
		time.Sleep(time.Second)
	}
	return found, err
}

func TestSnooze(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := open(t, nil)
		ask(t, d, "POST", "/api/lists/launch/items/000005/snooze", "", 204)
		expect(t, d, "launch", stats{Open: 2, Snoozed: 1, Done: 2})
		until := fmt.Sprintf(`"snoozedUntil":%d`, time.Now().Add(nap).UnixMilli())
		if items := ask(t, d, "GET", "/api/lists/launch/items", "", 200); !strings.Contains(items, until) {
			t.Errorf("%s; want %s", items, until)
		}
		time.Sleep(nap - time.Millisecond)
		expect(t, d, "launch", stats{Open: 2, Snoozed: 1, Done: 2})
		time.Sleep(time.Millisecond)
		expect(t, d, "launch", stats{Open: 3, Done: 2})
		ask(t, d, "POST", "/api/lists/launch/items/999999/snooze", "", 404)
	})
}

func TestEscalate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := open(t, nil)
		ask(t, d, "POST", "/api/lists/launch/items/000005/escalate", "", 204)
		expect(t, d, "launch", stats{Open: 3, Done: 2, Urgent: 1})
		ask(t, d, "POST", "/api/lists/launch/items/999999/escalate", "", 204) // of which nothing comes
		expect(t, d, "launch", stats{Open: 3, Done: 2, Urgent: 1})
		ask(t, d, "PATCH", "/api/lists/launch/items/000005", `{"done":true}`, 204)
		expect(t, d, "launch", stats{Open: 2, Done: 3})
	})
}

func TestRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := open(t, nil)
		long := strings.Repeat("ä", 121)
		ask(t, d, "POST", "/api/lists/launch/items", `{"text":" "}`, 400)
		ask(t, d, "POST", "/api/lists/launch/items", `{"text":"`+long+`"}`, 400)
		ask(t, d, "POST", "/api/lists/elsewhere/items", `{"text":"x"}`, 404)
		ask(t, d, "PATCH", "/api/lists/launch/items/999999", `{"done":true}`, 404)
		ask(t, d, "PATCH", "/api/lists/launch/items/%07", `{"done":true}`, 404)
		ask(t, d, "POST", "/api/lists/launch/items/"+strings.Repeat("x", 300)+"/escalate", "", 404)
		for range most - 5 {
			ask(t, d, "POST", "/api/lists/launch/items", `{"text":"x"}`, 204)
		}
		ask(t, d, "POST", "/api/lists/launch/items", `{"text":"x"}`, 409)

		r := httptest.NewRequest("DELETE", "/api/lists/launch/items/000001", nil)
		r.Header.Set("Sec-Fetch-Site", "cross-site")
		w := httptest.NewRecorder()
		if d.handler().ServeHTTP(w, r); w.Code != http.StatusForbidden {
			t.Errorf("from another site: %d, want 403", w.Code)
		}
	})
}
