package realtime

import (
	"errors"
	"testing"
)

// An event that is given up once more, after its group's progress was lost, is one letter:
// who retries it must not find it handled and still listed.
func TestDeadLetterGivenUpTwice(t *testing.T) {
	letter := func(cursor Cursor, handler, attempt int) DeadLetter {
		return DeadLetter{Delivery: Delivery{Group: "work", Cursor: cursor, Attempt: attempt}, Handler: handler, Err: errors.New("fault")}
	}
	var d deadLetters
	for _, l := range []DeadLetter{letter("1.1", 0, 5), letter("1.1", 1, 5), letter("1.2", 0, 5), letter("1.1", 0, 7)} {
		d.add(l)
	}
	if n := len(d.all); n != 3 || d.all[2].Delivery.Attempt != 7 {
		t.Errorf("%d letters are listed: %+v", n, d.all)
	}
	d.retried(retryAnswer{retryAsk: retryAsk{Group: "work", Cursor: "1.1", Attempt: 8}, Outcome: retryHandled})
	if i := d.find("work", "1.1", 0); i >= 0 || len(d.all) != 2 {
		t.Errorf("a letter that was handled is listed: %+v", d.all)
	}
}
