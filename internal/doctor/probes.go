package doctor

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net/http"
	"sync"
	"time"

	"github.com/maravilla-realtime/realtime/internal/log/bounded"
)

// Announce is the type of the control record that announces a probe by the name of its
// secret. A node that does not know the secret refuses the probe like any other client.
const Announce = "$probe"

// probeTime is how long a node recognises a probe of another one.
const probeTime = 5 * time.Minute

// maxProbes bounds the probes that a node recognises at a time.
const maxProbes = 16

// Probes are the examinations whose requests a node recognises. The zero Probes are ready
// for use. Its methods may be called concurrently.
type Probes struct {
	mu    sync.Mutex
	until map[string]time.Time // by the name of the secret
}

// Name returns what may be told of a secret.
func Name(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// ErrMany: too many examinations are under way.
var ErrMany = fmt.Errorf("%w: more than %d examinations at once", bounded.ErrTemporary, maxProbes)

// Expect has the node recognise a probe, by the name of its secret.
func (p *Probes) Expect(_ context.Context, name string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	maps.DeleteFunc(p.until, func(_ string, until time.Time) bool { return until.Before(now) })
	if len(p.until) >= maxProbes {
		return ErrMany
	}
	if p.until == nil {
		p.until = make(map[string]time.Time)
	}
	p.until[name] = now.Add(probeTime)
	return nil
}

// Forget ends what Expect began.
func (p *Probes) Forget(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.until, name)
}

// Recognises reports whether a request is that of a probe.
func (p *Probes) Recognises(r *http.Request) bool {
	secret := r.Header.Get(Header)
	if secret == "" {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.until[Name(secret)].After(time.Now())
}
