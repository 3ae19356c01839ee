package postgres

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

const (
	// senderTimeout is how long the server waits for a sign of life before it frees the
	// slot for another node. It asks for one after half of that.
	senderTimeout = 20 * time.Second
	// silenceMost is how long nothing may come of the server, which sends signs of life. A
	// row of any size may take longer, as long as some of it comes.
	silenceMost = 2 * senderTimeout
	// writeTime bounds the writing of a sign of life.
	writeTime = 5 * time.Second
)

// replication is a connection to the server in replication mode. After start, receive
// is for one goroutine and confirm for another one.
type replication struct {
	conn     *pgconn.PgConn
	link     *link
	system   string // the installation of the server
	timeline int
}

// replicate connects in replication mode.
func (s *Source) replicate(ctx context.Context) (*replication, error) {
	ctx, cancel := context.WithTimeout(ctx, watchTime)
	defer cancel()
	of, err := s.connConfig(ctx)
	if err != nil {
		return nil, err
	}
	config := of.Config.Copy()
	for name, value := range map[string]string{
		"replication": "database", "wal_sender_timeout": strconv.FormatInt(senderTimeout.Milliseconds(), 10),
		// How values are written must not depend on anybody's settings.
		"client_encoding": "UTF8", "datestyle": "ISO", "intervalstyle": "iso_8601", "timezone": "UTC", "extra_float_digits": "1", "bytea_output": "hex",
	} {
		config.RuntimeParams[name] = value
	}
	l := &link{}
	config.BuildFrontend = l.frontend
	conn, err := pgconn.ConnectConfig(ctx, config)
	if err != nil {
		return nil, s.needsGrants(fmt.Errorf("postgres: connect for replication: %w", err))
	}
	r := &replication{conn: conn, link: l}
	if err := r.identify(ctx); err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

func (r *replication) identify(ctx context.Context) error {
	results, err := r.conn.Exec(ctx, "IDENTIFY_SYSTEM").ReadAll()
	if err != nil {
		return fmt.Errorf("postgres: identify the server: %w", err)
	}
	if len(results) != 1 || len(results[0].Rows) != 1 || len(results[0].Rows[0]) < 2 {
		return errors.New("postgres: the server does not identify itself")
	}
	row := results[0].Rows[0]
	r.system = string(row[0])
	r.timeline, err = strconv.Atoi(string(row[1]))
	return err
}

// close ends the connection. receive, if it is under way, returns.
func (r *replication) close() {
	_ = r.conn.Conn().Close() // what it has to say does not matter
	ctx, cancel := context.WithTimeout(context.Background(), retryAfter)
	defer cancel()
	_ = r.conn.Close(ctx)
}

// start begins to stream changes from where the slot is.
func (r *replication) start(ctx context.Context, slot, publication string, messages bool) error {
	ctx, cancel := context.WithTimeout(ctx, watchTime)
	defer cancel()
	name, err := r.conn.EscapeString(pgx.Identifier{publication}.Sanitize())
	if err != nil {
		return fmt.Errorf("postgres: the publication %.70q: %w", publication, err)
	}
	sql := fmt.Sprintf(`START_REPLICATION SLOT %s LOGICAL 0/0 (proto_version '1', publication_names '%s'`, slot, name)
	if messages {
		sql += ", messages 'true'"
	}
	r.conn.Frontend().SendQuery(&pgproto3.Query{String: sql + ")"})
	if err := r.conn.Frontend().Flush(); err != nil {
		return fmt.Errorf("postgres: start the replication: %w", err)
	}
	for {
		m, err := r.conn.ReceiveMessage(ctx)
		if err != nil {
			return fmt.Errorf("postgres: start the replication: %w", err)
		}
		switch m := m.(type) {
		case *pgproto3.CopyBothResponse:
			r.link.bound(r.conn.Conn())
			return nil
		case *pgproto3.ErrorResponse:
			if refused := pgconn.ErrorResponseToPgError(m); inUse(refused) {
				return errTaken
			} else {
				return fmt.Errorf("postgres: start the replication: %w", refused)
			}
		}
	}
}

// link reads what the server sends. Once bound, it fails when nothing has come for
// silenceMost.
type link struct {
	from io.Reader
	conn net.Conn // nil: not bound
}

// frontend is a BuildFrontend of pgconn.
func (l *link) frontend(r io.Reader, w io.Writer) *pgproto3.Frontend {
	l.from = r
	return pgproto3.NewFrontend(newThinner(l), w)
}

// bound begins to bound reads. Until then contexts bound them.
func (l *link) bound(conn net.Conn) { l.conn = conn }

func (l *link) Read(p []byte) (int, error) {
	if l.conn != nil {
		if err := l.conn.SetReadDeadline(time.Now().Add(silenceMost)); err != nil {
			return 0, err
		}
	}
	return l.from.Read(p)
}

// keepalive is a sign of life of the server.
type keepalive struct {
	end   uint64 // everything before it has been sent
	reply bool   // it wants to know at once
}

var errEnded = errors.New("postgres: the server has ended the replication")

// receive returns the next message: one that parse returns, or a keepalive.
func (r *replication) receive() (any, error) {
	for {
		m, err := r.conn.Frontend().Receive()
		if err != nil {
			return nil, fmt.Errorf("postgres: replication: %w", err)
		}
		switch m := m.(type) {
		case *pgproto3.CopyData:
			found, err := parseCopy(m.Data)
			if found != nil || err != nil {
				return found, err
			}
		case *pgproto3.ErrorResponse:
			return nil, fmt.Errorf("postgres: replication: %w", pgconn.ErrorResponseToPgError(m))
		case *pgproto3.CopyDone, *pgproto3.CommandComplete:
			return nil, errEnded
		}
	}
}

// parseCopy decodes what the server sends while it replicates.
func parseCopy(data []byte) (any, error) {
	if len(data) == 0 {
		return nil, errPgoutput
	}
	r := reader{rest: data[1:]}
	switch data[0] {
	case 'w':
		r.take(24) // where it stands, and when it was sent
		if r.bad {
			return nil, errPgoutput
		}
		return parse(r.rest)
	case 'k':
		m := keepalive{end: r.uint64()}
		r.uint64() // the time of the server
		m.reply = r.byte() == 1
		if r.bad {
			return nil, errPgoutput
		}
		return m, nil
	}
	return nil, nil
}

// confirm tells the server that everything before end is in the log. If reply, the
// server answers with a sign of life.
func (r *replication) confirm(end uint64, reply bool) error {
	data := make([]byte, 0, 34)
	data = append(data, 'r')
	for range 3 { // written, flushed, applied
		data = binary.BigEndian.AppendUint64(data, end)
	}
	data = binary.BigEndian.AppendUint64(data, uint64(time.Since(postgresEpoch).Microseconds()))
	data = append(data, 0)
	if reply {
		data[len(data)-1] = 1
	}
	message, err := (&pgproto3.CopyData{Data: data}).Encode(nil)
	if err != nil {
		return err
	}
	if err := r.conn.Conn().SetWriteDeadline(time.Now().Add(writeTime)); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	_, err = r.conn.Conn().Write(message)
	return err
}
