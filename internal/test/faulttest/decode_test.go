package faulttest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/evanw/esbuild/pkg/api"
	"github.com/maravilla-realtime/realtime/internal/wire/sse"
	"github.com/maravilla-realtime/realtime/internal/wire/sse/ssetest"
	gosse "github.com/tmaxmax/go-sse"
)

// digest is what parsers are compared by: the bytes, with their lengths.
func digest(e sse.Event) string {
	h := sha256.New()
	for _, s := range []string{e.Name, e.ID, e.Data} {
		fmt.Fprintf(h, "%d:%s", len(s), s)
	}
	return hex.EncodeToString(h.Sum(nil)[:12])
}

// Promise 16: all parsers make the same of random payloads, which is what was
// put in. (Chromium has a test of its own, beside those of the browser SDK.)
func TestDecoding(t *testing.T) {
	side(t)
	node := program(t, "node")
	count, batch := size(2000, 100_000), 2000
	var events, size int
	for seed := range count / batch {
		want, stream := ssetest.Random(rand.New(rand.NewPCG(uint64(seed), 16)), batch)
		for name, parse := range map[string]func(testing.TB, []byte) []string{
			"internal/wire/sse": parseOurs,
			"go-sse":            parseIndependent,
			"TypeScript":        func(t testing.TB, b []byte) []string { return parseTypeScript(t, node, b) },
		} {
			got := parse(t, stream)
			for i := range want {
				if i >= len(got) || got[i] != digest(want[i]) {
					t.Fatalf("%s, seed %d: event %d of %d differs from %.200q", name, seed, i, len(got), want[i].Data)
				}
			}
			if len(got) != len(want) {
				t.Fatalf("%s, seed %d: %d events, want %d", name, seed, len(got), len(want))
			}
		}
		events, size = events+len(want), size+len(stream)
	}
	figure(t, "16 decoding", "%d random payloads, %d MiB: internal/wire/sse, go-sse and the TypeScript parser agree with what was sent", events, size>>20)
}

// chopped reads in pieces of random sizes, as networks deliver.
type chopped struct {
	r   io.Reader
	rng *rand.Rand
}

func (c chopped) Read(p []byte) (int, error) {
	return c.r.Read(p[:min(len(p), 1+c.rng.IntN(1<<c.rng.IntN(16)))])
}

func chop(b []byte) io.Reader {
	return chopped{bytes.NewReader(b), rand.New(rand.NewPCG(uint64(len(b)), 1))}
}

func parseOurs(t testing.TB, stream []byte) (digests []string) {
	r := sse.NewReader(chop(stream), 8<<20)
	for {
		ev, err := r.Next()
		if err == io.EOF {
			return digests
		}
		if err != nil {
			t.Fatal(err)
		}
		digests = append(digests, digest(ev))
	}
}

func parseIndependent(t testing.TB, stream []byte) (digests []string) {
	for ev, err := range gosse.Read(chop(stream), &gosse.ReadConfig{MaxEventSize: 16 << 20}) {
		if err != nil {
			t.Fatal(err)
		}
		name := ev.Type
		if name == "" {
			name = "message"
		}
		digests = append(digests, digest(sse.Event{Name: name, ID: ev.LastEventID, Data: ev.Data}))
	}
	return digests
}

// parserJS reads a stream from stdin in pieces of random sizes, and prints the
// digests of its events.
const parserJS = `
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createParser } from './sse.ts';

const digests = [];
const push = createParser(({ event, id, data }) => {
  const hash = createHash('sha256');
  for (const s of [event, id, data]) {
    const bytes = Buffer.from(s);
    hash.update(bytes.length + ':').update(bytes);
  }
  digests.push(hash.digest('hex').slice(0, 24));
});
const stream = readFileSync(0);
for (let at = 0; at < stream.length;) {
  const n = 1 + Math.floor(Math.random() * 2 ** Math.floor(Math.random() * 17));
  push(stream.subarray(at, at + n));
  at += n;
}
process.stdout.write(digests.join('\n'));
`

func parseTypeScript(t testing.TB, node string, stream []byte) []string {
	t.Helper()
	script := filepath.Join(t.TempDir(), "parse.mjs")
	built := api.Build(api.BuildOptions{
		Stdin:  &api.StdinOptions{Contents: parserJS, ResolveDir: "../../../client/js/src", Loader: api.LoaderJS},
		Bundle: true, Format: api.FormatESModule, Platform: api.PlatformNode, Target: api.ES2022,
	})
	if len(built.Errors) > 0 {
		t.Fatalf("bundle the parser: %+v", built.Errors)
	}
	if err := os.WriteFile(script, built.OutputFiles[0].Contents, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(node, script)
	cmd.Stdin = bytes.NewReader(stream)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("node: %v", err)
	}
	return slices.Collect(strings.SplitSeq(string(out), "\n"))
}
