package enginetest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Redis is a make of Redis that is installed, by the paths of its programs.
type Redis struct{ Name, Server, Sentinel string }

// ShortTilt is the command by which a sentinel does nothing for a second, and not for 30 s,
// where it is starved and takes its clock for one that jumps. If the master died in the 30 s,
// its replica would have been without it for longer than a sentinel accepts, and would never
// be promoted.
var ShortTilt = []string{"SENTINEL", "DEBUG", "tilt-period", "1000"}

// ErrNoRedis: neither Redis nor Valkey is installed.
var ErrNoRedis = errors.New("neither Redis nor Valkey is installed, with its sentinel " +
	"(apt-get install redis-server redis-sentinel); or name the directory of their programs in REALTIME_REDIS")

// FindRedis returns Redis and Valkey, those of them that are installed with a sentinel: in
// the directory that REALTIME_REDIS names, or in the PATH. One has to be in that directory.
func FindRedis() (found []Redis, err error) {
	dir := os.Getenv("REALTIME_REDIS")
	for _, r := range []Redis{{"Redis", "redis-server", "redis-sentinel"}, {"Valkey", "valkey-server", "valkey-sentinel"}} {
		server, err := exec.LookPath(filepath.Join(dir, r.Server))
		sentinel, sentinelErr := exec.LookPath(filepath.Join(dir, r.Sentinel))
		if err == nil && sentinelErr == nil {
			found = append(found, Redis{r.Name, server, sentinel})
		}
	}
	switch {
	case len(found) > 0:
		return found, nil
	case dir != "":
		return nil, fmt.Errorf("REALTIME_REDIS: %s has neither redis-server and redis-sentinel nor valkey-server and valkey-sentinel", dir)
	}
	return nil, ErrNoRedis
}
