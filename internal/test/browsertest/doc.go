// Package browsertest proves in a real Chromium, with the real binaries of the
// examples and a network that fails, what the browser SDK promises and what the
// examples show. It is a module of its own, so that nobody who uses the library
// downloads a browser driver.
//
//	go test -timeout 40m .            # here; skips where there is no browser
//	go test -timeout 40m . -update    # also renews the pictures in docs
//	ci/browser.sh                     # fails where there is no browser
//
// Its tests are slow rather than red where the machine is slow or busy: every limit
// is one at the machine's pace ([pace]), and so are the graces and timeouts of the
// examples that run here.
package browsertest
