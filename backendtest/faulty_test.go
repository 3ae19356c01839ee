package backendtest

import (
	"context"
	"errors"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
)

// A log that was forced into a new epoch is still a good one.
func TestFaultyIsHonestInLaterEpochs(t *testing.T) {
	for _, rule := range Rules() {
		err := check(t, rule, func() backend.Backend {
			f := NewFaulty(newMemory())
			if _, err := fill(t.Context(), f, 9); err != nil {
				t.Fatal(err)
			}
			f.LoseTail(3)
			f.NewEpoch()
			if _, err := fill(t.Context(), f, 9); err != nil {
				t.Fatal(err)
			}
			f.LoseTail(3)
			return f
		})
		if err != nil {
			t.Error(err)
		}
	}
}

// A reader follows a Faulty and keeps everything as it comes.
type reader struct {
	got []backend.Position
	err error
}

// faulty runs a test of f in virtual time. read starts a reader, whose fields may
// be looked at after synctest.Wait.
func faulty(t *testing.T, run func(ctx context.Context, f *Faulty, read func(after backend.Position) *reader)) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		f := NewFaulty(newMemory())
		run(ctx, f, func(after backend.Position) *reader {
			r := &reader{}
			go func() {
				r.err = f.Follow(ctx, after, func(batch []backend.Record) {
					for _, rec := range batch {
						r.got = append(r.got, rec.Pos)
					}
				})
			}()
			synctest.Wait()
			return r
		})
		if err := f.Close(ctx); err != nil {
			t.Error(err)
		}
		synctest.Wait()
	})
}

// put appends n records and waits until they are delivered, or held.
func put(t *testing.T, f *Faulty, n int) backend.Position {
	t.Helper()
	pos, err := fill(t.Context(), f, n)
	if err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
	return pos
}

func (r *reader) want(t *testing.T, epoch uint64, seqs ...uint64) {
	t.Helper()
	synctest.Wait()
	var want []backend.Position
	for _, seq := range seqs {
		want = append(want, backend.Position{Epoch: epoch, Seq: seq})
	}
	if !reflect.DeepEqual(r.got, want) {
		t.Errorf("got the records %v, want %v", r.got, want)
	}
	r.got = nil
}

func TestFaultyHolds(t *testing.T) {
	faulty(t, func(ctx context.Context, f *Faulty, read func(backend.Position) *reader) {
		r := read(backend.Position{})
		f.Hold()
		f.Hold()
		epoch := put(t, f, 3).Epoch
		r.want(t, epoch)
		f.Release()
		f.Release()
		r.want(t, epoch, 1, 2, 3)
		f.Hold()
		put(t, f, 1)
		if err := f.Close(ctx); err != nil {
			t.Error(err)
		}
		r.want(t, epoch)
		if !errors.Is(r.err, backend.ErrClosed) {
			t.Errorf("held by a closed log, Follow returned %v", r.err)
		}
	})
}

func TestFaultySkipsAndRepeats(t *testing.T) {
	faulty(t, func(_ context.Context, f *Faulty, read func(backend.Position) *reader) {
		r := read(backend.Position{})
		epoch := put(t, f, 3).Epoch
		r.want(t, epoch, 1, 2, 3)
		f.Repeat(2)
		put(t, f, 1)
		r.want(t, epoch, 2, 3, 4)
		f.Skip(2)
		put(t, f, 3)
		r.want(t, epoch, 7)
	})
}

func TestFaultyLosesTail(t *testing.T) {
	faulty(t, func(ctx context.Context, f *Faulty, read func(backend.Position) *reader) {
		r := read(backend.Position{})
		last := put(t, f, 5)
		r.want(t, last.Epoch, 1, 2, 3, 4, 5)
		f.LoseTail(2)
		next := backend.Position{Epoch: last.Epoch + 1, Seq: 3}
		r.want(t, last.Epoch)
		wantLost(t, r.err, next)
		if got, _ := head(ctx, f); got != next {
			t.Errorf("the head is %v, want %v", got, next)
		}
		for _, after := range []backend.Position{{}, {Epoch: last.Epoch, Seq: 2}, last, {Epoch: next.Epoch, Seq: 2}} {
			wantLost(t, read(after).err, next)
		}
		r = read(next)
		put(t, f, 2)
		r.want(t, next.Epoch, 4, 5)
		page, err := f.Read(ctx, backend.Position{}, 10)
		if err != nil || len(page.Records) != 2 || page.Records[0].Pos.Seq != 4 {
			t.Errorf("Read returned %d records and %v, want records 4 and 5", len(page.Records), err)
		}
	})
}

func TestFaultyStartsEpoch(t *testing.T) {
	faulty(t, func(_ context.Context, f *Faulty, read func(backend.Position) *reader) {
		r := read(backend.Position{})
		last := put(t, f, 5)
		r.want(t, last.Epoch, 1, 2, 3, 4, 5)
		f.NewEpoch()
		put(t, f, 2)
		r.want(t, last.Epoch+1, 1, 2)
		wantLost(t, read(last).err, backend.Position{Epoch: last.Epoch + 1, Seq: 2})
	})
}

func wantLost(t *testing.T, err error, next backend.Position) {
	t.Helper()
	var lost *backend.LostError
	if !errors.As(err, &lost) || lost.Next != next {
		t.Errorf("Follow returned %v, want a LostError with Next %v", err, next)
	}
}

func TestFaultyFails(t *testing.T) {
	faulty(t, func(ctx context.Context, f *Faulty, read func(backend.Position) *reader) {
		boom := errors.New("boom")
		r := read(backend.Position{})
		f.FailAppend(1, boom)
		f.FailAfterStore(1)
		e := message("once")
		e.ID = "once"
		for _, want := range []error{boom, backend.ErrMaybeStored, nil} {
			if _, err := f.Append(ctx, e); !errors.Is(err, want) {
				t.Errorf("Append returned %v, want %v", err, want)
			}
		}
		pos, _ := head(ctx, f)
		r.want(t, pos.Epoch, 1)
		f.FailFollow(1, boom)
		synctest.Wait()
		for _, r := range []*reader{r, read(pos)} {
			if r.err != boom {
				t.Errorf("Follow returned %v, want %v", r.err, boom)
			}
		}
		r = read(pos)
		put(t, f, 1)
		r.want(t, pos.Epoch, 2)
	})
}
