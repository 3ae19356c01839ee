package session

import (
	"unsafe"

	"github.com/maravilla-realtime/realtime/internal/ring"
)

// Size returns how many bytes a buffer holds.
func (b *Buffer) Size() int { return cap(b.Bytes) + cap(b.items)*int(unsafe.Sizeof(ring.Item{})) }
