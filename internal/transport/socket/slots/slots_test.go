package slots

import (
	"testing"
	"testing/synctest"
)

func given(t Ticket) bool {
	select {
	case <-t:
		return true
	default:
		return false
	}
}

// Slots are given in the order in which they were asked for, and none is lost with those
// who stop to wait.
func TestOrder(t *testing.T) {
	var s Slots
	if s.Take(2) != nil || !s.Try(2) || s.Try(2) {
		t.Fatal("not two are free")
	}
	a, b, c := s.Take(2), s.Take(2), s.Take(2)
	if s.Give(); !given(a) || given(b) || s.Try(2) {
		t.Error("the first who waits has no slot")
	}
	s.Cancel(b) // it waits
	if s.Give(); !given(c) {
		t.Error("the one after who has stopped has no slot")
	}
	d := s.Take(2)
	s.Give()
	s.Cancel(d) // it has one
	if s.Give(); s.taken != 0 || s.waiting != nil {
		t.Errorf("%d are taken, %v wait", s.taken, s.waiting)
	}
}

// Any number of goroutines never have more slots than there are.
func TestMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const most = 3
		var s Slots
		has, done := make(chan struct{}, most), make(chan struct{})
		for range 50 {
			go func() {
				if ticket := s.Take(most); ticket != nil {
					<-ticket
				}
				select {
				case has <- struct{}{}:
				default:
					t.Error("more than there are")
				}
				<-has
				s.Give()
				done <- struct{}{}
			}()
		}
		for range 50 {
			<-done
		}
		if s.taken != 0 {
			t.Errorf("%d are left", s.taken)
		}
	})
}
