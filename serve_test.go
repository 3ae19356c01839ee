package realtime_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/internal/test/memnet"
)

// serving is a server that Serve runs on a network in memory.
type serving struct {
	t    *testing.T
	rt   *realtime.Realtime
	ln   *memnet.Listener
	http *http.Client
	stop context.CancelFunc
	done chan error
}

func serveUntil(t *testing.T, srv *http.Server) *serving {
	t.Helper()
	rt, err := realtime.New(open(), nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	s := &serving{t: t, rt: rt, ln: memnet.Listen(), stop: stop, done: make(chan error, 1)}
	s.http = &http.Client{Transport: &http.Transport{DialContext: s.ln.Dial}}
	if srv.Handler == nil {
		srv.Handler = rt.Handler()
	}
	go func() { s.done <- realtime.ServeListener(ctx, srv, rt, s.ln) }()
	return s
}

// ends stops the server and returns how it ended, and after how long.
func (s *serving) ends() (time.Duration, error) {
	began := time.Now()
	s.stop()
	err := <-s.done
	return time.Since(began), err
}

// stream opens a REN stream; the channel gets all of it when it has ended.
func (s *serving) stream() <-chan string {
	s.t.Helper()
	resp, err := s.http.Get("http://serve.test/ren")
	if err != nil || resp.StatusCode != http.StatusOK {
		s.t.Fatal(resp, err)
	}
	all := make(chan string, 1)
	go func() {
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		all <- fmt.Sprint(string(body), err)
	}()
	return all
}

// socket opens a WebSocket; the channel gets the code that it is closed with.
func (s *serving) socket() <-chan websocket.StatusCode {
	s.t.Helper()
	ctx := context.Background()
	ws, _, err := websocket.Dial(ctx, "ws://serve.test/realtime", &websocket.DialOptions{
		HTTPClient: s.http, Subprotocols: []string{"maravilla.realtime.v1"},
	})
	if err == nil {
		err = ws.Write(ctx, websocket.MessageText, []byte(`{"op":"hello","cid":"`+tab1+`"}`))
	}
	if err != nil {
		s.t.Fatal(err)
	}
	code := make(chan websocket.StatusCode, 1)
	go func() {
		for {
			if _, _, err := ws.Read(ctx); err != nil {
				code <- websocket.CloseStatus(err)
				return
			}
		}
	}()
	return code
}

// Ctrl-C with twenty tabs open, and connections that browsers keep ready, ends the
// process within half a second, and no request is cut.
func TestServe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var states atomic.Int32
		srv := &http.Server{ConnState: func(net.Conn, http.ConnState) { states.Add(1) }}
		s := serveUntil(t, srv)
		var streams []<-chan string
		var sockets []<-chan websocket.StatusCode
		for range 20 {
			streams, sockets = append(streams, s.stream()), append(sockets, s.socket())
		}
		for range 3 {
			c, err := s.ln.Dial(t.Context(), "", "")
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
		}
		synctest.Wait()
		if took, err := s.ends(); err != nil || took > 500*time.Millisecond {
			t.Errorf("Serve returned %v after %v", err, took)
		}
		for i := range streams {
			if got := <-streams[i]; !strings.Contains(got, "event: ren.bye") || !strings.HasSuffix(got, "<nil>") {
				t.Errorf("a stream ended with %q", got)
			}
			if code := <-sockets[i]; code != websocket.StatusServiceRestart {
				t.Errorf("a WebSocket was closed with %d", code)
			}
		}
		if states.Load() == 0 {
			t.Error("the host's ConnState was not called")
		}
		if err := s.rt.Publish(t.Context(), "room", 1); !errors.Is(err, realtime.ErrClosed) {
			t.Errorf("Publish after Serve: %v", err)
		}
	})
}

// Requests that are being answered may finish; one that does not is dropped.
func TestServeFinishesRequests(t *testing.T) {
	for _, takes := range []time.Duration{3 * time.Second, time.Hour} {
		bubble(t, takes.String(), func(t *testing.T) {
			s := serveUntil(t, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				select {
				case <-time.After(takes):
					_, _ = io.WriteString(w, "done")
				case <-r.Context().Done():
				}
			})})
			answer := make(chan string, 1)
			go func() {
				resp, err := s.http.Get("http://serve.test/")
				if err != nil {
					answer <- "cut"
					return
				}
				defer resp.Body.Close()
				body, _ := io.ReadAll(resp.Body)
				answer <- string(body)
			}()
			synctest.Wait()
			took, err := s.ends()
			switch got := <-answer; {
			case takes == time.Hour && (got != "cut" || !errors.Is(err, context.DeadlineExceeded) || took > 11*time.Second),
				takes != time.Hour && (got != "done" || err != nil || took > 4*time.Second):
				t.Errorf("%q, Serve returned %v after %v", got, err, took)
			}
		})
	}
}

func TestServeWithoutAddress(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	rt, err := realtime.New(realtime.Policy{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var listening *net.OpError
	if err := realtime.Serve(t.Context(), &http.Server{Addr: ln.Addr().String()}, rt); !errors.As(err, &listening) {
		t.Errorf("Serve on an address that is taken: %v", err)
	}
	if err := rt.Publish(t.Context(), "room", 1); !errors.Is(err, realtime.ErrClosed) {
		t.Errorf("Publish after Serve: %v", err)
	}
}

// A server that somebody else shuts down takes the Realtime with it.
func TestServeOfAServerThatIsShutDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &http.Server{}
		s := serveUntil(t, srv)
		ended := s.socket()
		synctest.Wait()
		if err := srv.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := <-s.done; err != nil {
			t.Errorf("Serve returned %v", err)
		}
		if code := <-ended; code != websocket.StatusServiceRestart {
			t.Errorf("the WebSocket was closed with %d", code)
		}
	})
}
