package postgres

import (
	"encoding/binary"
	"errors"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// A row that takes long arrives as long as some of it comes; a connection on which nothing
// comes ends.
func TestSlowRowArrives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := net.Pipe()
		defer server.Close()
		l := &link{}
		config, err := pgconn.ParseConfig("")
		if err != nil {
			t.Fatal(err)
		}
		config.BuildFrontend = l.frontend
		conn, err := pgconn.Construct(&pgconn.HijackedConn{Conn: client, Config: config})
		if err != nil {
			t.Fatal(err)
		}
		l.bound(client)
		const size, piece = 8 << 20, 1 << 16
		row := []byte("I\x00\x00\x00\x07N\x00\x01t")
		message := frame(binary.BigEndian.AppendUint32(row, size))
		binary.BigEndian.PutUint32(message[1:], uint32(len(message)-1+size))
		message = append(message, make([]byte, size)...)
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			for rest := message; len(rest) > 0; {
				time.Sleep(silenceMost - time.Second)
				n := min(piece, len(rest))
				if _, err := server.Write(rest[:n]); err != nil {
					t.Error(err)
					return
				}
				rest = rest[n:]
			}
		}()
		r := &replication{conn: conn, link: l}
		if m, err := r.receive(); err != nil || describe(m) != "I 7 old  full false new (x )" {
			t.Errorf("received %s, %v", describe(m), err)
		}
		<-sent
		began := time.Now()
		if _, err := r.receive(); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) != silenceMost {
			t.Errorf("after %v of silence: %v", time.Since(began), err)
		}
		client.Close()
	})
}
