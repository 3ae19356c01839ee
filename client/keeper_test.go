package client

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestWaits(t *testing.T) {
	lost := loss{err: errors.New("lost")}
	for i, most := range []time.Duration{1, 2, 4, 8, 15, 15, 15} {
		low, high := time.Hour, time.Duration(0)
		for range 2000 {
			k := keeper{max: 15 * time.Second, chances: 1, tries: i}
			wait, again := k.lost(lost)
			if !again {
				t.Fatal("no further attempt")
			}
			low, high = min(low, wait), max(high, wait)
		}
		most *= time.Second
		room := (most - least) / 20
		if low < least || low > least+room || high > most || high < most-room {
			t.Errorf("attempt %d comes after %v to %v, want %v to %v", i+1, low, high, least, most)
		}
	}

	for name, test := range map[string]struct {
		k         keeper
		l         loss
		low, high time.Duration // of the wait
	}{
		"bye":               {keeper{tries: 9}, loss{wait: 100 * time.Millisecond}, 100 * time.Millisecond, 100 * time.Millisecond},
		"a bye of an hour":  {keeper{}, loss{wait: time.Hour}, longest, longest},
		"retry":             {keeper{retry: 9 * time.Second}, loss{}, least, 9 * time.Second},
		"retry of an hour":  {keeper{retry: time.Hour}, loss{}, least, longest},
		"Retry-After":       {keeper{}, loss{atLeast: time.Minute}, time.Minute + least, time.Minute + time.Second},
		"many attempts":     {keeper{tries: 1 << 40}, loss{}, least, 15 * time.Second},
		"a small bound":     {keeper{max: time.Millisecond}, loss{}, 0, time.Millisecond},
		"Retry-After, ages": {keeper{}, loss{atLeast: 1 << 60}, longest, longest},
	} {
		if test.k.max == 0 {
			test.k.max = 15 * time.Second
		}
		for range 1000 {
			k := test.k
			if wait, again := k.lost(test.l); !again || wait < test.low || wait > test.high {
				t.Fatalf("%s: wait %v, want %v to %v", name, wait, test.low, test.high)
			}
		}
	}
}

func TestHealthyConnectionsForgive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := keeper{max: 15 * time.Second, chances: 1}
		denied := loss{err: errors.New("denied"), denied: true}
		attempt := func(lasts time.Duration) bool {
			k.dialing()
			k.open()
			time.Sleep(lasts)
			_, again := k.lost(denied)
			return again
		}
		for range 5 {
			if !attempt(healthy) {
				t.Error("denied for good after ten healthy seconds")
			}
		}
		if attempt(healthy - 1) {
			t.Error("denied twice in a row is not for good")
		}
		k = keeper{max: 15 * time.Second, tries: 10}
		k.dialing()
		k.open()
		time.Sleep(healthy)
		if k.lost(loss{}); k.tries != 1 {
			t.Errorf("%d attempts are counted", k.tries)
		}
	})
}
