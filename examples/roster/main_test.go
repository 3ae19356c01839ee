package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/kv"
)

// open starts a roster, which ends with the test.
func open(t *testing.T) *roster {
	t.Helper()
	rt, err := realtime.New(realtime.AllowAll(), nil)
	if err != nil {
		t.Fatal(err)
	}
	store := kv.New(rt, nil)
	t.Cleanup(func() {
		if err := rt.Close(t.Context()); err != nil && t.Context().Err() == nil {
			t.Error(err)
		}
		store.Close()
	})
	ro := &roster{rt: rt, store: store}
	if err := ro.register(); err != nil {
		t.Fatal(err)
	}
	return ro
}

// ask sends a request and expects a status.
func ask(t *testing.T, ro *roster, method, path, body string, want int) string {
	t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	w := httptest.NewRecorder()
	if ro.handler().ServeHTTP(w, r); w.Code != want {
		t.Fatalf("%s %s %s: %d %s; want %d", method, path, body, w.Code, w.Body, want)
	}
	return strings.TrimSpace(w.Body.String())
}

// present compares the names of those who are in the family's room.
func present(t *testing.T, ro *roster, want string) {
	t.Helper()
	synctest.Wait()
	members, err := ro.rt.Presence().Members(t.Context(), "room:family")
	if err != nil {
		t.Fatal(err)
	}
	var users []string
	for _, m := range members {
		users = append(users, m.UserID)
	}
	if got := strings.Join(users, ","); got != want {
		t.Errorf("present: %s, want %s", got, want)
	}
}

const (
	adaPhone  = `{"user":"ada","visit":"visit-of-the-phone","name":"Ada","status":"available"}`
	adaLaptop = `{"user":"ada","visit":"visit-of-the-laptop","name":"Ada","status":"available"}`
	grace     = `{"user":"grace","visit":"visit-of-grace-01","name":"Grace","status":"available"}`
)

func TestRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ro := open(t)
		ask(t, ro, "POST", "/api/groups/family/here", adaPhone, 204)
		ask(t, ro, "POST", "/api/groups/family/here", adaLaptop, 204)
		ask(t, ro, "POST", "/api/groups/family/here", grace, 204)
		present(t, ro, "ada,grace")
		if got := ask(t, ro, "GET", "/api/groups/family/members", "", 200); !strings.Contains(got, `"metadata":{"name":"Grace","status":"available"}`) {
			t.Error(got)
		}
		ask(t, ro, "POST", "/api/groups/family/away", adaPhone, 204)
		present(t, ro, "ada,grace") // the laptop is still there
		ask(t, ro, "POST", "/api/groups/family/away", adaLaptop, 204)
		present(t, ro, "grace")
	})
}

// Who asks again every minute stays; who vanished without a word does not.
func TestLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ro := open(t)
		ask(t, ro, "POST", "/api/groups/family/here", adaPhone, 204)
		ask(t, ro, "POST", "/api/groups/family/here", grace, 204)
		for range 3 {
			time.Sleep(time.Minute)
			ask(t, ro, "POST", "/api/groups/family/here", grace, 204)
		}
		present(t, ro, "grace")
		time.Sleep(90 * time.Second)
		present(t, ro, "")
	})
}

// Word of a visit that is over can come after that of the next one.
func TestLateLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ro := open(t)
		ask(t, ro, "POST", "/api/groups/family/here", adaPhone, 204)
		reloaded := strings.Replace(adaPhone, "phone", "phone-2", 1)
		ask(t, ro, "POST", "/api/groups/family/here", reloaded, 204)
		ask(t, ro, "POST", "/api/groups/family/away", adaPhone, 204)
		present(t, ro, "ada")
	})
}

// active compares the flag of a group.
func active(t *testing.T, ro *roster, group string, want bool) {
	t.Helper()
	synctest.Wait()
	got := ask(t, ro, "GET", "/api/groups/"+group+"/huddle", "", 200)
	if got == `{"active":true}` != want {
		t.Errorf("%s: %s, want %v", group, got, want)
	}
}

func TestReflectHuddleCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ro := open(t)
		calls := ro.rt.Presence()
		must := func(err error) {
			if t.Helper(); err != nil {
				t.Fatal(err)
			}
		}
		active(t, ro, "family", false)
		must(calls.Join(t.Context(), "huddle:family", "ada", nil))
		active(t, ro, "family", true)
		active(t, ro, "work", false)
		must(calls.Join(t.Context(), "huddle:family", "grace", nil))
		must(calls.Leave(t.Context(), "huddle:family", "ada"))
		active(t, ro, "family", true)
		must(calls.Leave(t.Context(), "huddle:family", "grace"))
		active(t, ro, "family", false)

		// Messages are nothing to it.
		must(ro.rt.Publish(t.Context(), "huddle:family", map[string]string{"type": "wave"}))
		active(t, ro, "family", false)
	})
}

// The flag of a call that lasts is renewed when it ends, and one whose reason is
// gone ends.
func TestFlagTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ro := open(t)
		for range 12 {
			if err := ro.rt.Presence().Join(t.Context(), "huddle:family", "ada", nil); err != nil {
				t.Fatal(err)
			}
			active(t, ro, "family", true)
			time.Sleep(time.Minute)
		}
		if _, err := ro.store.Put(t.Context(), namespace, activeKey("work"), []byte("1"), kv.TTL(flagTime)); err != nil {
			t.Fatal(err)
		}
		active(t, ro, "work", true)
		time.Sleep(flagTime)
		active(t, ro, "work", false)
		active(t, ro, "family", false) // her lease has ended
	})
}

func TestRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ro := open(t)
		for _, body := range []string{
			`{"user":"ada","name":"Ada"}`,
			`{"user":"ada","visit":"short","name":"Ada"}`,
			`{"user":"","visit":"visit-of-the-phone","name":"Ada"}`,
			`{"user":"ada","visit":"visit-of-the-phone","name":""}`,
			`{"user":"ada","visit":"visit-of-the-phone","name":"` + strings.Repeat("ä", 65) + `"}`,
		} {
			ask(t, ro, "POST", "/api/groups/family/here", body, 400)
		}
		ask(t, ro, "POST", "/api/groups/family/away", `{"user":"ada"}`, 400)
		ask(t, ro, "POST", "/api/groups/%07/here", adaPhone, 400)
		ask(t, ro, "GET", "/api/groups/%07/members", "", 400)
		ask(t, ro, "GET", "/api/groups/%07/huddle", "", 400)
		present(t, ro, "")

		r := httptest.NewRequest("POST", "/api/groups/family/here", strings.NewReader(adaPhone))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Sec-Fetch-Site", "cross-site")
		w := httptest.NewRecorder()
		if ro.handler().ServeHTTP(w, r); w.Code != http.StatusForbidden {
			t.Errorf("from another site: %d, want 403", w.Code)
		}
	})
}
