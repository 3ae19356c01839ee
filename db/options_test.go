package db_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/db"
)

// TestOptions: each limit is the host's to set, and to lift.
func TestOptions(t *testing.T) {
	t.Run("MaxEvents", maxEvents)
	for timeout, want := range map[time.Duration]error{time.Minute: db.ErrBusy, -1: nil} {
		t.Run("BusyTimeout "+timeout.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, diary := openWith(t, &db.Options{BusyTimeout: timeout, AnswerTimeout: -1})
				diary.commits = make(chan struct{})
				var all sync.WaitGroup
				all.Go(func() { _ = d.InTx(t.Context(), nil, emit("a")) })
				synctest.Wait()
				began := time.Now()
				all.Go(func() {
					if err := d.InTx(t.Context(), nil, emit("a")); !errors.Is(err, want) {
						t.Errorf("%v", err)
					}
					if took := time.Since(began); want != nil && took != timeout {
						t.Errorf("it took %v", took)
					}
				})
				time.Sleep(time.Hour)
				close(diary.commits)
				all.Wait()
			})
		})
	}
	for timeout, want := range map[time.Duration]error{time.Minute: db.ErrNoAnswer, -1: context.DeadlineExceeded} {
		t.Run("AnswerTimeout "+timeout.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, diary := openWith(t, &db.Options{AnswerTimeout: timeout})
				diary.hang = "begin"
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				began := time.Now()
				if err := d.InTx(ctx, nil, emit("a")); !errors.Is(err, want) {
					t.Errorf("%v", err)
				}
				if took := time.Since(began); want == db.ErrNoAnswer && took != timeout {
					t.Errorf("it took %v", took)
				}
			})
		})
	}
}

func maxEvents(t *testing.T) {
	many := func(n int) func(tx *db.Tx) error {
		return func(tx *db.Tx) error {
			for range n {
				if err := tx.Emit(realtime.DocumentUpdated("todos", "a")); err != nil {
					return err
				}
			}
			return nil
		}
	}
	d, _ := openWith(t, &db.Options{MaxEvents: 2})
	if err := d.InTx(t.Context(), nil, many(2)); err != nil {
		t.Error(err)
	}
	if err := d.InTx(t.Context(), nil, many(3)); !errors.Is(err, db.ErrTooMany) {
		t.Errorf("3 of 2: %v", err)
	}
	d, _ = openWith(t, &db.Options{MaxEvents: -1})
	if err := d.InTx(t.Context(), nil, many(10_001)); err != nil {
		t.Errorf("without a limit: %v", err)
	}
}
