// Package faulttest breaks what real networks break, between real clients and
// real servers, and prints the figures of what the library promises: see
// docs/reliability.md. It is a module of its own, so that nobody who uses the
// library downloads what it takes.
//
//	go test                          # the short form, a minute and a half
//	go test -timeout 3h -full        # the full figures
//	go test -run TestResume -full    # those of one promise
//
// What needs root, nginx, haproxy, iproute2 or iptables is skipped where that is
// missing; with CI=true it fails.
package faulttest
