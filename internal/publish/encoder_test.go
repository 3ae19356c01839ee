package publish

import (
	"bytes"
	"testing"
)

// An encoder that is released holds no data of the host's, and is not kept if it is large.
func TestRelease(t *testing.T) {
	for size, kept := range map[int]bool{1: true, mostKept: true, mostKept + 1: false} {
		e := encoders.New().(*Encoder)
		e.out = *bytes.NewBuffer(make([]byte, size))
		if e.Release(); (e.out.Len() == 0) != kept {
			t.Errorf("of %d bytes, %d are left", size, e.out.Len())
		}
	}
}
