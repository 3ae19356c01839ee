package driver

import (
	"errors"
	"os"

	"github.com/maravilla-realtime/realtime/internal/conns"
	"github.com/maravilla-realtime/realtime/internal/host/guard"
	"github.com/maravilla-realtime/realtime/internal/wire/wsconn"
)

// Errors that end connections, of which the server tells nobody.
var (
	ErrSlow   = errors.New("realtime: the client does not take what is sent")
	ErrNoPong = errors.New("realtime: the client does not answer a ping")
)

// endingOf names why a connection ended.
func endingOf(err error) string {
	var end *conns.Ending
	var told *wsconn.CloseError
	switch {
	case errors.As(err, &end):
		return end.Reason
	case errors.As(err, &told) && told.Peer:
		return "client"
	case errors.As(err, &told) && told.Code == 1011, errors.Is(err, guard.ErrPanic):
		return "internal"
	case errors.As(err, &told):
		return "violation"
	case errors.Is(err, ErrNoPong):
		return "dead"
	case errors.Is(err, ErrSlow), errors.Is(err, os.ErrDeadlineExceeded):
		return "slow"
	}
	return "client"
}
