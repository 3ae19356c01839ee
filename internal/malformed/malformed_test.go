package malformed

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/maravilla-realtime/realtime/backend"
)

// However often records are met that cannot be read, each is reported once, and not more
// of them than there is room for.
func TestReportedOnce(t *testing.T) {
	var said bytes.Buffer
	log := slog.New(slog.NewTextHandler(&said, nil))
	var r Records
	for range 3 {
		for i := range 2 * maxReported {
			r.Report(log, backend.Key{Kind: "member", Group: "room", Name: fmt.Sprint("user", i)}, errors.New("why"))
		}
	}
	if n := strings.Count(said.String(), "\n"); n != maxReported {
		t.Errorf("%d lines are logged, want %d", n, maxReported)
	}
	if line, _, _ := strings.Cut(said.String(), "\n"); !strings.Contains(line, `record="member \"room\" \"user0\"" error=why`) {
		t.Errorf("the log says %s", line)
	}
}
