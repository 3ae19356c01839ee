package fields

import (
	"bytes"
	"testing"
)

func TestReader(t *testing.T) {
	b := AppendText(AppendText([]byte{200, 1}, "ann"), []byte(nil))
	r := Reader{Rest: b}
	if n, text, none := r.Number(), r.Text(), r.Text(); n != 200 || string(text) != "ann" || len(none) != 0 || len(r.Rest) != 0 || r.Bad {
		t.Errorf("%d, %q, %q; %+v is left", n, text, none, r)
	}
	for cut := range b {
		r := Reader{Rest: b[:cut]}
		if r.Number(); cut > 2 && r.Bad {
			t.Errorf("the number is malformed in %d bytes", cut)
		}
		r.Text()
		r.Text()
		if !r.Bad || r.Rest != nil {
			t.Errorf("%d bytes of %d: %+v is left", cut, len(b), r)
		}
	}
}

// A number that is too large for 64 bits is malformed.
func TestLargeNumber(t *testing.T) {
	r := Reader{Rest: bytes.Repeat([]byte{0xff}, 11)}
	if n := r.Number(); n != 0 || !r.Bad || r.Rest != nil {
		t.Errorf("%d; %+v is left", n, r)
	}
}
