package malformed

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/maravilla-realtime/realtime/backend"
	"github.com/maravilla-realtime/realtime/internal/said"
)

// However often records are met that cannot be read, each is reported once, and not more
// of them than there is room for.
func TestReportedOnce(t *testing.T) {
	var lines bytes.Buffer
	log := slog.New(slog.NewTextHandler(&lines, nil))
	var r Records
	for range 3 {
		for i := range 2 * said.Most {
			r.Report(log, backend.Key{Kind: "member", Group: "room", Name: fmt.Sprint("user", i)}, errors.New("why"))
		}
	}
	if n := strings.Count(lines.String(), "\n"); n != said.Most {
		t.Errorf("%d lines are logged, want %d", n, said.Most)
	}
	if line, _, _ := strings.Cut(lines.String(), "\n"); !strings.Contains(line, `record="member \"room\" \"user0\"" error=why`) {
		t.Errorf("the log says %s", line)
	}
}
