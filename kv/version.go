package kv

import (
	"strconv"
	"strings"
	"sync"
	"time"
)

// versions assigns versions: the time in microseconds, or one more than the last. So
// they also grow from one process to the next, and for a key that was deleted and
// written again, unless the clock was set back in between.
type versions struct {
	mu   sync.Mutex
	last uint64
}

// versionLen is the length of a version, until the year 6140.
const versionLen = 11

// next returns a version greater than after, which may be empty, and than all
// before.
func (v *versions) next(after string) string {
	seen, _ := strconv.ParseUint(after, 36, 64) // 0 if it is empty, or not of ours
	now := uint64(time.Now().UnixMicro())
	v.mu.Lock()
	v.last = max(v.last+1, seen+1, now)
	text := strconv.FormatUint(v.last, 36)
	v.mu.Unlock()
	return strings.Repeat("0", max(0, versionLen-len(text))) + text
}
