package realtime_test

import (
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
)

// A client that does not answer a ping is dropped when the answer is due, also
// where something is being written to it that it does not take, and however long it
// may take for that.
func TestDroppedWhereAPingIsNotAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, open(), &realtime.Options{WriteTimeout: time.Hour})
		s := h.dialStalled(get("/realtime"))
		s.send(`{"op":"hello","cid":"` + tab1 + `"}`)
		s.send(`{` + subscribe("room") + `}`)
		began := time.Now()
		// It reads for a second after it was pinged, and does not answer.
		if err := s.net.SetReadDeadline(began.Add(26 * time.Second)); err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, s.net)
		h.publish("room", strings.Repeat("x", 900<<10))
		time.Sleep(10 * time.Second)
		if err := s.net.SetReadDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, s.net)
		if took := time.Since(began); took > 37*time.Second || n > 100<<10 {
			t.Errorf("the connection ended after %v and %d bytes more, %v", took, n, err)
		}
	})
}
