// Package browsertest proves in a real Chromium, with the real binaries of the
// examples and a network that fails, what the browser SDK promises and what the
// examples show. It is a module of its own, so that nobody who uses the library
// downloads a browser driver.
//
//	go test ./...            # here; skips where there is no browser
//	go test . -update        # also renews the pictures in docs
//	REALTIME_REQUIRE_BROWSER=1 go test ./...   # fails where there is no browser
package browsertest
