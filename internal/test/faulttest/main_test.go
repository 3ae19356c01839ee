package faulttest

import (
	"crypto/x509"
	"encoding/pem"
	"flag"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime/internal/test/figures"
	"github.com/maravilla-realtime/realtime/internal/test/pace"
)

// hijack is for running everything over both ways of driving connections.
var hijack = flag.Int("hijack", 0, "realtime.Options.Hijack of the servers")

var full = flag.Bool("full", false, "print the figures of docs/reliability.md instead of a short form; takes more than an hour")

// size returns how large a test is to be.
func size[T any](short, long T) T {
	if *full {
		return long
	}
	return short
}

// side lets a test run beside others in the short form. In the full one it would
// compute at their expense.
func side(t *testing.T) {
	if !*full {
		t.Parallel()
	}
}

// patience is how long tests wait for what has to come, at the machine's pace.
const patience = 30 * time.Second

// slow makes what the short form waits for longer on a machine that is slow or has
// other things to do. The full form measures, on one that has not.
func slow(d time.Duration) time.Duration { return size(pace.Slow(d), d) }

// figure reports what a promise, with its number, was measured at.
func figure(t testing.TB, promise, format string, args ...any) {
	t.Helper()
	figures.Add(t, fmt.Sprintf("%-38s %s", promise, fmt.Sprintf(format, args...)))
}

// need skips a test that lacks something, which in CI it must not.
func need(t testing.TB, what string, there bool) {
	t.Helper()
	switch {
	case there:
	case os.Getenv("CI") == "true":
		t.Fatalf("needs %s", what)
	default:
		figure(t, "SKIPPED", "%s: needs %s", t.Name(), what)
		t.Skipf("needs %s", what)
	}
}

// program returns the path of a program that a test needs.
func program(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	need(t, name, err == nil)
	return path
}

// certificate is the path of a certificate for loopback, with its key, which TLS clients
// of the tests trust.
var certificate string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "faulttest")
	if err != nil {
		panic(err)
	}
	certificate = filepath.Join(dir, "cert.pem")
	if err := os.WriteFile(certificate, loopbackCertificate(), 0o600); err != nil {
		panic(err)
	}
	os.Setenv("SSL_CERT_FILE", certificate) // for the clients, before the first of them looks
	code := figures.Run(m, "What was promised, and measured")
	os.RemoveAll(dir)
	os.Exit(code)
}

// loopbackCertificate is that of httptest, as PEM.
func loopbackCertificate() []byte {
	srv := httptest.NewTLSServer(nil)
	defer srv.Close()
	cert := srv.TLS.Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		panic(err)
	}
	return append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})...)
}

// eventually polls until the answer is yes, or patience has ended.
func eventually(t testing.TB, what string, ask func() bool) {
	t.Helper()
	within(t, patience, what, ask)
}

func within(t testing.TB, limit time.Duration, what string, ask func() bool) {
	t.Helper()
	if !poll(limit, ask) {
		t.Fatalf("not within %v at the machine's pace: %s", limit, what)
	}
}

// poll asks until the answer is yes, or limit has passed at the machine's pace.
func poll(limit time.Duration, ask func() bool) bool {
	return pace.Poll(limit, 10*time.Millisecond, ask)
}
