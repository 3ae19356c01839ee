package realtime

import (
	"github.com/maravilla-realtime/realtime/internal/wire"
)

func badChannel(name string) bool { return !wire.ValidChannel(name) }

func badName(name string) bool { return !wire.ValidName(name) }

func clip(s string) string { return wire.Clip(s) }
