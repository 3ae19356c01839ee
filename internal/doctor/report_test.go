package doctor_test

import (
	"testing"

	"github.com/maravilla-realtime/realtime/internal/doctor"
)

// The remedies for the proxies that were recognised come first.
func TestReport(t *testing.T) {
	if got, want := doctor.Report("https://app.example/", nil, nil), "https://app.example/: all is well\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	got := doctor.Report("https://app.example/", []string{"Traefik"}, []doctor.Finding{
		{Code: "idle", Problem: "It ends.", Fault: true, Remedies: map[string]string{"nginx": "n", "Caddy": "c", "Traefik": "t"}},
		{Code: "http1", Problem: "Six tabs."},
	})
	want := `https://app.example/, through Traefik:

fault idle: It ends.
  Traefik:    t
  Caddy:      c
  nginx:      n

advice http1: Six tabs.
`
	if got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}
