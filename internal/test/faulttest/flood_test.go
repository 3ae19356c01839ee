package faulttest

import (
	"bytes"
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

const handshake = "GET /realtime HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"

// masked is a frame with a short payload, masked with zeros.
func masked(first byte, payload string) []byte {
	return append([]byte{first, 0x80 | byte(len(payload)), 0, 0, 0, 0}, payload...)
}

// floods are frames that hold no operation, or hardly any of one. Each begins with
// something that is sent once.
var floods = map[string]struct{ begin, frame []byte }{
	"pings":           {frame: masked(0x89, "x")},
	"pongs":           {frame: masked(0x8A, "x")},
	"empty messages":  {frame: masked(0x81, "")},
	"empty fragments": {masked(0x01, ""), masked(0x00, "")},
	"small fragments": {masked(0x01, "{"), masked(0x00, " ")},
	"errors":          {frame: masked(0x81, "nonsense")},
}

// flood sends the frames as fast as they are taken, and returns how long that went
// on, and whether the server said 1008 then.
func flood(ctx context.Context, addr string, begin, frame []byte) (took time.Duration, told bool, err error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return 0, false, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if _, err := io.WriteString(conn, handshake+string(masked(0x81, `{"op":"hello","cid":"0123456789abcdef"}`))); err != nil {
		return 0, false, err
	}
	var sending sync.WaitGroup
	defer sending.Wait()
	began := time.Now()
	sending.Go(func() {
		burst := bytes.Repeat(frame, 1000)
		_, err := conn.Write(begin)
		for err == nil {
			_, err = conn.Write(burst)
		}
	})
	var last []byte
	for buf := make([]byte, 4<<10); ; {
		n, err := conn.Read(buf)
		last = append(last[max(0, len(last)-100):], buf[:n]...)
		if told = bytes.Contains(last, []byte("\x03\xf0")); told || err != nil {
			conn.Close()
			return time.Since(began), told, nil
		}
	}
}

// Promise 20: a peer that floods in one way after the other, and comes back after
// every end, is cut with 1008 in time each time, and the others do not notice.
func TestFlood(t *testing.T) {
	srv := serve(t, nil)
	lat := &latencies{}
	healthy := reading(t, "WS", srv, size(50, 500), lat.add)
	speaker := newSpeaker(srv)
	notes := size(60, 1200)
	talk(t, speaker, 10) // warms up
	complete(t, speaker, healthy)
	lat.take()
	talk(t, speaker, notes)
	complete(t, speaker, healthy)
	baseline := lat.take()

	ctx, stop := context.WithCancel(t.Context())
	var flooding sync.WaitGroup
	var mu sync.Mutex
	var worst time.Duration
	cuts := 0
	flooding.Go(func() {
		for ctx.Err() == nil {
			for name, f := range floods {
				took, told, err := flood(ctx, srv.addr, f.begin, f.frame)
				if ctx.Err() != nil {
					return
				}
				if err != nil || !told {
					t.Errorf("%s: ended after %v without 1008: %v", name, took, err)
				}
				mu.Lock()
				worst = max(worst, took)
				cuts++
				mu.Unlock()
				pause(ctx, size(200*time.Millisecond, time.Second))
			}
		}
	})
	talk(t, speaker, notes)
	complete(t, speaker, healthy)
	beside := lat.take()
	stop()
	flooding.Wait()
	ended := reopenings(healthy)
	ratio := float64(p99(beside)) / float64(p99(baseline))
	figure(t, "20 floods", "%d cut with 1008, within %v; p99 of %d others %v, was %v (ratio %.2f); %d others ended",
		cuts, worst.Round(time.Millisecond), len(healthy), p99(beside), p99(baseline), ratio, ended)
	if cuts < len(floods)/2 || worst > 10*time.Second || ended > 0 {
		t.Errorf("%d cut, within %v; %d others ended", cuts, worst, ended)
	}
	if *full && ratio > 1.2 && p99(beside)-p99(baseline) > time.Millisecond {
		t.Errorf("the p99 of the others is %.2f times what it was", ratio)
	}
}
