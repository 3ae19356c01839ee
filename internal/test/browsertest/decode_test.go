package browsertest

import (
	"encoding/json"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime/internal/wire/sse/ssetest"
)

// The browser's own EventSource makes of random payloads what was put in, as the
// parsers do that internal/test/faulttest compares.
func TestDecoding(t *testing.T) {
	t.Parallel()
	Require(t)
	n := 2000
	if *full {
		n = 100_000
	}
	events, stream := ssetest.Random(rand.New(rand.NewPCG(16, 16)), n)
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "<!doctype html><title>decoding</title>")
	})
	mux.HandleFunc("/want", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(events) // to a browser of the test's
	})
	mux.HandleFunc("/stream", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for rest := stream; len(rest) > 0; {
			piece := min(len(rest), 1+rand.IntN(1<<rand.IntN(17)))
			_, _ = w.Write(rest[:piece])
			_ = http.NewResponseController(w).Flush()
			rest = rest[piece:]
		}
		<-r.Context().Done()
	})
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)

	p := NewUser(t).Open(srv.URL + "/")
	Eval[any](p, `(async () => {
		const want = await (await fetch('/want')).json();
		window.agreed = 0;
		const source = new EventSource('/stream');
		const compare = ({ type, lastEventId, data }) => {
			const w = want[agreed];
			if (w && type === w.Name && lastEventId === w.ID && data === w.Data) return agreed++;
			console.error('event', agreed, JSON.stringify(data).slice(0, 200), 'is not', JSON.stringify(w).slice(0, 200));
			source.close();
		};
		source.addEventListener('message', compare);
		source.addEventListener('ren.ping', compare);
		window.source = source;
	})()`)
	UntilIn(p, patience+time.Duration(n)*5*time.Millisecond, `agreed`, n)
	Eval[any](p, `source.close()`)
	t.Logf("%d random payloads, %d KiB: EventSource agrees with what was sent", n, len(stream)>>10)
}
