package tcp

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestBacklog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b Backlog
		want := func(wait, extra time.Duration) {
			t.Helper()
			if w, e := b.Wait(time.Now()), b.Allow(nil, 0, time.Now()); w != wait || e != extra {
				t.Errorf("%v and %v, want %v and %v", w, e, wait, extra)
			}
		}
		want(0, 0)
		b.Add(Rate-1, time.Now())
		want(0, 0)
		b.Add(40*Rate, time.Now())
		want(40*time.Second, 16*time.Second)
		time.Sleep(30 * time.Second)
		want(10*time.Second, 10*time.Second)
		before := b.Written()
		b.Add(3*Rate, time.Now())
		want(13*time.Second, 13*time.Second)
		b.Confirm(before)
		want(3*time.Second, 3*time.Second)
		time.Sleep(time.Hour)
		want(0, 0)
		b.Add(1<<30, time.Now())
		want(128*time.Second, 16*time.Second)
	})
}
