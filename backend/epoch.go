package backend

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// EpochKey is the key of the record of the epoch, for backends that use [RaiseEpoch].
var EpochKey = Key{Kind: "epoch", Group: "log", Name: "current"}

// DecodeEpoch decodes the record of the epoch.
func DecodeEpoch(value []byte) (uint64, error) {
	if len(value) != 8 {
		return 0, fmt.Errorf("backend: the record of the epoch has %d bytes, want 8", len(value))
	}
	return binary.BigEndian.Uint64(value), nil
}

// RaiseEpoch agrees with all nodes on an epoch greater than known, and returns it. A
// backend calls it when it finds that the engine lost its tail. A backend whose engine
// fences by itself does not need it.
//
// The record of the epoch may have been put back together with the log, and be older
// than what this node knows. Therefore the new epoch is at least the clock, in
// microseconds since the Unix epoch, and the comparison is with known.
func RaiseEpoch(ctx context.Context, s Store, known uint64) (uint64, error) {
	for {
		it, err := s.Get(ctx, EpochKey)
		if err != nil {
			return 0, err
		}
		if it.Revision != 0 {
			if now, err := DecodeEpoch(it.Value); err != nil || now > known {
				return now, err
			}
		}
		next := max(known+1, uint64(time.Now().UnixMicro()))
		_, err = s.Put(ctx, Write{Key: EpochKey, Value: binary.BigEndian.AppendUint64(nil, next), If: it.Revision})
		switch {
		case err == nil:
			return next, nil
		case ctx.Err() != nil:
			return 0, ctx.Err()
		case !errors.Is(err, ErrConflict) && !errors.Is(err, ErrMaybeStored):
			return 0, err
		}
	}
}
