package publish

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"unicode/utf8"

	"github.com/maravilla-realtime/realtime/internal/refused"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// Encode returns data as compact JSON of at most limit bytes, in memory that the caller of
// the host cannot change. Errors: [refused.ErrTooLarge], and those of [json.Marshal].
func Encode(data any, limit int) (json.RawMessage, error) {
	if raw, ok := data.(json.RawMessage); ok {
		if len(raw) > limit {
			return nil, tooLarge(len(raw), limit)
		}
		return wire.Compact(raw)
	}
	raw, err := json.Marshal(data)
	if err != nil {
		return nil, err
	}
	return checked(raw, limit)
}

func tooLarge(size, limit int) error {
	return fmt.Errorf("%w: %d bytes of at most %d", refused.ErrTooLarge, size, limit)
}

// checked returns what [encoding/json] made, if it has at most limit bytes.
func checked(raw []byte, limit int) (json.RawMessage, error) {
	if len(raw) > limit {
		return nil, tooLarge(len(raw), limit)
	}
	if !utf8.Valid(raw) { // from a Marshaler, which is trusted
		return nil, errors.New("invalid UTF-8")
	}
	return raw, nil
}

// Encoder is [Encode] with memory that is used again: see [NewEncoder].
type Encoder struct {
	out  bytes.Buffer
	json *json.Encoder // to out
}

var encoders = sync.Pool{New: func() any {
	e := new(Encoder)
	e.json = json.NewEncoder(&e.out)
	return e
}}

// NewEncoder returns an Encoder, which the caller must Release.
func NewEncoder() *Encoder { return encoders.Get().(*Encoder) }

// mostKept is the size of an encoder that is worth keeping.
const mostKept = 64 << 10

// Release gives the encoder to the next who needs one, with what it has encoded.
func (e *Encoder) Release() {
	if e.out.Cap() <= mostKept {
		e.out.Reset()
		encoders.Put(e)
	}
}

// Encode is [Encode] once, until Release. With a nil Encoder the memory is nobody else's.
func (e *Encoder) Encode(data any, limit int) (json.RawMessage, error) {
	if e == nil {
		return Encode(data, limit)
	}
	if raw, ok := data.(json.RawMessage); ok {
		if len(raw) > limit {
			return nil, tooLarge(len(raw), limit)
		}
		return wire.CompactTo(&e.out, raw)
	}
	if err := e.json.Encode(data); err != nil {
		return nil, err
	}
	return checked(bytes.TrimSuffix(e.out.Bytes(), []byte("\n")), limit)
}
