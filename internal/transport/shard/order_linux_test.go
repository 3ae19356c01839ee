package shard

import (
	"testing"
)

// What comes before a write comes before what follows its reading, on both sides, as with
// each connection of package net. The race detector knows: a host that tests with it, and
// looks in its test at what a function of it has noted before the answer, has no race.
func TestOrder(t *testing.T) {
	conn, client := tcp(t)
	p := pool(t, 1)
	link, r, _ := p.Duplex(conn, nobody{})
	defer link.Close()
	var asked, answered int
	go func() {
		var got [1]byte
		for n := 0; n == 0; {
			var err error
			if n, err = r.TryRead(got[:]); err != nil {
				t.Error(err)
				break
			}
		}
		answered = asked + 1
		if _, err := link.Write(got[:]); err != nil {
			t.Error(err)
		}
	}()
	asked = 1
	if _, err := client.Write([]byte("?")); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if answered != 2 {
		t.Errorf("answered %d", answered)
	}
}
