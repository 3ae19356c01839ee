package storage_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maravilla-realtime/realtime/internal/test/oddwriter"
	"github.com/maravilla-realtime/realtime/storage"
)

const (
	posting = "POST /api/storage/upload?path=a HTTP/1.1\r\nHost: host.test\r\n"
	sized   = posting + "Content-Length: 100000\r\n\r\n"
	chunked = posting + "Transfer-Encoding: chunked\r\n\r\n"
)

// answered reads the answer to a request.
func answered(t *testing.T, r io.Reader) reply {
	t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(r), nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{resp, string(b)}
}

func TestStalledUpload(t *testing.T) {
	for name, begin := range map[string]string{
		"at the start":   sized,
		"in the middle":  sized + strings.Repeat("x", 50_000),
		"before the end": sized + strings.Repeat("x", 99_999),
		"chunked":        chunked + "5\r\nhello\r\n",
		"in a chunk":     chunked + "5\r\nhe",
	} {
		bubble(t, name, func(t *testing.T) {
			s := serve(t, open(), nil)
			conn := s.dial(begin)
			took := elapsed()
			s.refused(name, answered(t, conn), 408, "timeout")
			if took() != 10*time.Second {
				t.Errorf("given up after %v", took())
			}
			s.nothing(name)
		})
	}
}

// A sender who trickles is as good as stalled, and one who is merely slow is not.
func TestSlowUpload(t *testing.T) {
	for _, c := range []struct {
		name   string
		bytes  int // every 9 s
		status int
	}{{"trickle", 1, 408}, {"slow", 16 << 10, 201}} {
		bubble(t, c.name, func(t *testing.T) {
			s := serve(t, open(), nil)
			conn := s.dial(sized)
			var sending sync.WaitGroup
			defer sending.Wait()
			defer conn.Close()
			sending.Go(func() {
				for sent := 0; sent < 100_000; {
					n := min(c.bytes, 100_000-sent)
					if _, err := io.WriteString(conn, strings.Repeat("x", n)); err != nil {
						return // refused
					}
					sent += n
					time.Sleep(9 * time.Second)
				}
			})
			if r := answered(t, conn); r.StatusCode != c.status {
				t.Errorf("%s: %s", r.Status, r.body)
			}
		})
	}
}

// A refusal does not wait for a body that does not come.
func TestStalledUploadIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := open()
		p.Allow = nil
		s := serve(t, p, nil)
		took := elapsed()
		s.refused("stalled", answered(t, s.dial(sized)), 403, "forbidden")
		if took() > 10*time.Second {
			t.Errorf("answered after %v", took())
		}
		s.nothing("refused")
	})
}

func TestClientGone(t *testing.T) {
	for name, begin := range map[string]string{
		"in the middle": sized + strings.Repeat("x", 99_999),
		"chunked":       chunked + "5\r\nhello\r\n",
	} {
		bubble(t, name, func(t *testing.T) {
			s := serve(t, open(), nil)
			conn := s.dial(begin)
			synctest.Wait()
			if len(s.served) != 0 {
				t.Fatal("not waiting for the body")
			}
			conn.Close()
			<-s.served
			s.nothing(name)
		})
	}
}

// What the deadlines of one request are does not concern the next one on its
// connection.
func TestConnectionIsKept(t *testing.T) {
	for _, version := range []string{"HTTP/1.1", "HTTP/2.0"} {
		bubble(t, version, func(t *testing.T) {
			var conns int
			s := serve(t, open(), nil)
			s.overHTTP(version)
			transport := s.client.Transport.(*http.Transport)
			dial := transport.DialContext
			transport.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
				conns++
				return dial(ctx, network, addr)
			}
			for i := range 3 {
				s.upload("a.txt", strings.Repeat("x", 100_000*i))
				time.Sleep(time.Minute)
				if r := s.do("GET", "download?path=a.txt", nil); len(r.body) != 100_000*i || r.Proto != version {
					t.Errorf("%s: downloaded %d bytes", r.Proto, len(r.body))
				}
				time.Sleep(time.Minute)
			}
			if conns != 1 {
				t.Errorf("%d connections", conns)
			}
		})
	}
}

// A client that takes nothing is given up, and one that is slow is not.
func TestStalledDownload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, open(), nil)
		s.upload("a.txt", strings.Repeat("x", 1_000_000))
		<-s.served
		const ask = "GET /api/storage/download?path=a.txt HTTP/1.1\r\nHost: host.test\r\n\r\n"
		took := elapsed()
		stalled := s.dial(ask)
		<-s.served
		if took() > 10*time.Second {
			t.Errorf("given up after %v", took())
		}
		stalled.Close()

		slow := s.dial(ask)
		var n int
		for buf := make([]byte, 16<<10); n < 1_000_000; time.Sleep(9 * time.Second) {
			m, err := io.ReadFull(slow, buf[:min(len(buf), 1_000_000-n)])
			if n += m; err != nil {
				t.Fatalf("after %d bytes: %v", n, err)
			}
		}
	})
}

// The announcement of a write that came to its end is not its sender's to stop.
func TestClientGoneAfterTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, open(), nil)
		ctx, cancel := context.WithCancel(context.Background())
		body := io.MultiReader(strings.NewReader("x"), ending(cancel))
		if _, _, err := s.store.Put(ctx, "a", "", body); !errors.Is(err, context.Canceled) {
			t.Errorf("gone before its turn came: %v", err)
		}
		s.nothing("gone before its turn came")

		ctx, cancel = context.WithCancel(context.Background())
		objects := &hooked{Objects: newDir(t), stored: cancel}
		if _, created, err := storage.New(s.rt, objects, nil).Put(ctx, "a", "", strings.NewReader("x")); err != nil || !created {
			t.Errorf("gone when stored: %v, %v", created, err)
		}
		if said := s.said(); said != "created a" {
			t.Errorf("announced %q", said)
		}
	})
}

// A store may take its time with what has come to its end.
func TestSlowStore(t *testing.T) {
	for _, version := range []string{"HTTP/1.1", "HTTP/2.0"} {
		bubble(t, version, func(t *testing.T) {
			var slow http.Handler
			s := serve(t, open(), nil, func(http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					slow.ServeHTTP(w, r)
					if err := r.Context().Err(); err != nil {
						t.Error(err)
					}
				})
			})
			s.overHTTP(version)
			objects := &hooked{Objects: newDir(t), stored: func() { time.Sleep(time.Minute) }}
			slow = storage.Handler(s.rt, storage.New(s.rt, objects, nil), nil)
			s.upload("a", "x")
		})
	}
}

// A store of one's own gets valid paths only.
func TestOwnStoreGetsValidPaths(t *testing.T) {
	store, ctx := storage.New(nil, nil, nil), context.Background()
	_, _, putErr := store.Put(ctx, "../x", "", strings.NewReader("x"))
	_, _, openErr := store.Open(ctx, "../x")
	for _, err := range []error{putErr, openErr, store.Delete(ctx, "../x")} {
		if !errors.Is(err, storage.ErrBadPath) {
			t.Error(err)
		}
	}
}

// ending is an empty reader that calls a function.
type ending func()

func (f ending) Read([]byte) (int, error) { f(); return 0, io.EOF }

// hooked calls a function between storing and announcing, or says that what it
// has deleted has failed.
type hooked struct {
	storage.Objects
	stored  func()
	deleted error
}

func (h *hooked) Delete(ctx context.Context, path string) error {
	return errors.Join(h.deleted, h.Objects.Delete(ctx, path))
}

func (h *hooked) Put(ctx context.Context, path, typ string, body io.Reader) (storage.Info, bool, error) {
	info, created, err := h.Objects.Put(ctx, path, typ, body)
	h.stored()
	return info, created, err
}

func newDir(t testing.TB) *storage.Dir {
	t.Helper()
	dir, err := storage.OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Close() })
	return dir
}

// broken fails with the body, or by itself, but does not say so well.
type broken struct{ storage.Objects }

func (broken) Put(_ context.Context, _, _ string, body io.Reader) (storage.Info, bool, error) {
	_, err := io.Copy(io.Discard, body)
	return storage.Info{}, false, fmt.Errorf("secret /var/lib: %v", err)
}

func TestInternalErrorsAreLoggedNotShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var failing http.Handler
		s := serve(t, open(), nil, func(http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { failing.ServeHTTP(w, r) })
		})
		log := slog.New(slog.NewTextHandler(&s.logs, nil))
		failing = storage.Handler(s.rt, storage.New(s.rt, broken{newDir(t)}, nil), &storage.HandlerOptions{MaxSize: 10, Logger: log})
		s.refused("too large", s.do("POST", "upload?path=a", reader{strings.NewReader("01234567890")}), 413, "too_large")
		if logged := s.logs.String(); logged != "" {
			t.Errorf("logged %s", logged)
		}
		r := s.do("POST", "upload?path=a", strings.NewReader("x"))
		s.refused("broken", r, 500, "internal")
		if logged := s.logs.String(); strings.Contains(r.body, "secret") || !strings.Contains(logged, "secret") {
			t.Errorf("told %q, logged %q", r.body, logged)
		}
	})
}

// Without deadlines bodies would be endless. What is sent has the server's own.
func TestHiddenDeadlines(t *testing.T) {
	for name, wrap := range map[string]func(http.ResponseWriter) http.ResponseWriter{
		"oddwriter.opaque":   oddwriter.Opaque,
		"oddwriter.endless":  oddwriter.Endless,
		"oddwriter.hollow":   oddwriter.Hollow,
		"*oddwriter.wrapper": oddwriter.Gone,
		"oddwriter.faulty": func(w http.ResponseWriter) http.ResponseWriter {
			return oddwriter.Wrapper(oddwriter.Faulty(w, nil))
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := serve(t, open(), nil, oddwriter.Wrap(wrap))
				s.refused("hidden", s.do("POST", "upload?path=a", strings.NewReader("x")), 500, "streaming_unsupported")
				if !strings.Contains(s.logs.String(), "type="+name+" ") {
					t.Errorf("the log does not name the type: %s", s.logs.String())
				}
				s.nothing("hidden")
				if _, _, err := s.store.Put(t.Context(), "b", "", strings.NewReader("there")); err != nil {
					t.Fatal(err)
				}
				if r := s.do("GET", "download?path=b", nil); r.StatusCode != 200 || r.body != "there" {
					t.Errorf("downloaded %d %q", r.StatusCode, r.body)
				}
			})
		})
	}
}

// A writer whose deadlines do nothing, or that wraps itself, changes nothing as long as the
// server's can be reached: who stalls is cut off.
func TestOddDeadlines(t *testing.T) {
	for name, wrap := range map[string]func(http.ResponseWriter) http.ResponseWriter{
		"timeless": func(w http.ResponseWriter) http.ResponseWriter {
			return oddwriter.Timeless(oddwriter.Wrapper(w))
		},
		"endless, and able": oddwriter.EndlessAble,
	} {
		bubble(t, name, func(t *testing.T) {
			s := serve(t, open(), nil, oddwriter.Wrap(wrap))
			s.upload("a", "there")
			if r := s.do("GET", "download?path=a", nil); r.StatusCode != 200 || r.body != "there" {
				t.Errorf("downloaded %d %q", r.StatusCode, r.body)
			}
			conn := s.dial(sized)
			defer time.AfterFunc(time.Minute, func() { conn.Close() }).Stop() // else it would wait for ever
			s.refused(name, answered(t, conn), 408, "timeout")
		})
	}
}

// The order of events is that of the writes.
func TestOrder(t *testing.T) {
	const writers, each = 32, 10
	s := serve(t, open(), nil)
	ctx := context.Background()
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				if w == 0 && i%3 == 2 {
					if err := s.store.Delete(ctx, "dir/a"); err != nil && !errors.Is(err, storage.ErrNotFound) {
						t.Error(err)
					}
					continue
				}
				if _, _, err := s.store.Put(ctx, "dir/a", "", strings.NewReader(strings.Repeat("x", w*each+i))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	exists, last, size := false, int64(0), int64(0)
	events := s.events()
	for _, ev := range events {
		switch {
		case (ev.Type == "storage.object.created") == exists:
			t.Fatalf("%s while it existed: %v", ev.Type, exists)
		case ev.Type == "storage.object.deleted":
			exists = false
			continue
		}
		exists = true
		at, bytes, _ := strings.Cut(ev.Version, ".") // those of Dir grow with time
		n, err := strconv.ParseInt(at, 36, 64)
		if err != nil || n <= last {
			t.Fatalf("version %s after %d: %v", ev.Version, last, err)
		}
		last = n
		size, _ = strconv.ParseInt(bytes, 36, 64)
	}
	if len(events) < writers*each-each {
		t.Errorf("%d events", len(events))
	}
	if !exists {
		s.nothing("deleted last")
	} else if got := read(t, s.store, "dir/a"); int64(len(got)) != size {
		t.Errorf("the last event tells of %d bytes, there are %d", size, len(got))
	} else if left := files(t, filepath.Join(s.dir)); left != "dir dir/a" {
		t.Errorf("left on disk: %s", left)
	}
}

// Who is slow to send holds up nobody else who writes the same object, and what
// they write last wins.
func TestSlowWriterHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, open(), nil)
		body, slow := io.Pipe()
		done := make(chan error)
		go func() {
			_, _, err := s.store.Put(context.Background(), "a", "", body)
			done <- err
		}()
		if _, err := io.WriteString(slow, "slow"); err != nil {
			t.Fatal(err)
		}
		took := elapsed()
		s.upload("a", "quick")
		if took() > time.Second {
			t.Errorf("waited %v", took())
		}
		if got := read(t, s.store, "a"); got != "quick" {
			t.Errorf("stored %q", got)
		}
		slow.Close()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if got := read(t, s.store, "a"); got != "slow" {
			t.Errorf("stored %q", got)
		}
		if said := s.said(); said != "created a, updated a" {
			t.Errorf("announced %s", said)
		}
	})
}
