package ring

import (
	"fmt"
	"testing"
	"time"

	"github.com/maravilla-realtime/realtime/backend"
)

// followers returns a ring that n readers follow, each its topic.
func followers(n int, topic func(i int) Topic) (*Ring, []*Reader) {
	r := New(Limits{Records: 1 << 16, Bytes: 64 << 20, Age: time.Hour}, *at(0))
	readers := make([]*Reader, n)
	for i := range readers {
		readers[i] = r.NewReader()
		readers[i].Subscribe(nil, topic(i))
	}
	return r, readers
}

func under(i int) Topic {
	return Part{Resource: "kv", In: true, Namespace: "todos", Under: true, Prefix: fmt.Sprint("user", i)}.Topic()
}

func put(seq int) *backend.Logged {
	rec := record(uint64(seq), "kv", "")
	rec.Event.Namespace, rec.Event.Key = "todos", fmt.Sprintf("user%d:list:%d", seq%10_000, seq)
	return rec
}

// BenchmarkPut measures for how long one event holds the ring's lock: exclusively, to
// insert it, and shared, in each step of waking those who follow.
func BenchmarkPut(b *testing.B) {
	for _, n := range []int{0, 100, 50_000} {
		b.Run(fmt.Sprintf("subscribers=%d", n), func(b *testing.B) {
			r, readers := followers(n, func(int) Topic { return Channel("room") })
			var inserting, stepping, waking time.Duration
			seq := 0
			for b.Loop() {
				seq++
				recs := []*backend.Logged{record(uint64(seq), "realtime", "room")}
				start := time.Now()
				r.insert(recs, now)
				inserted := time.Now()
				inserting += inserted.Sub(start)
				if n > 0 {
					r.wakeSome(r.topics[Channel("room")], n)
				}
				stepping += time.Since(inserted)
				r.wake()
				waking += time.Since(inserted)
				b.StopTimer()
				for _, rd := range readers {
					rd.Skip()
					select {
					case <-rd.Wake():
					default:
					}
				}
				b.StartTimer()
			}
			b.ReportMetric(float64(inserting)/float64(b.N), "ns-exclusive/op")
			b.ReportMetric(float64(stepping)/float64(b.N), "ns-step/op")
			b.ReportMetric(float64(waking)/float64(b.N), "ns-waking/op")
		})
	}
}

// BenchmarkPutParts measures an event of one of many parts, each of which somebody
// follows, and one of none.
func BenchmarkPutParts(b *testing.B) {
	for _, n := range []int{0, 10_000} {
		r, readers := followers(n, under)
		seq := 0
		b.Run(fmt.Sprintf("parts=%d/of-one", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				seq++
				r.Put([]*backend.Logged{put(seq)})
				if n > 0 {
					readers[seq%n].Skip()
				}
			}
		})
		b.Run(fmt.Sprintf("parts=%d/of-none", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				seq++
				rec := record(uint64(seq), "kv", "")
				rec.Event.Namespace, rec.Event.Key = "todos", "nobody"
				r.Put([]*backend.Logged{rec})
			}
		})
	}
}

// BenchmarkReturn measures the return of one of many clients with its cursor, each with
// a part of its own, while the ring is full.
func BenchmarkReturn(b *testing.B) {
	r, _ := followers(0, nil)
	for seq := range 1 << 16 {
		r.Put([]*backend.Logged{put(seq + 1)})
	}
	rd, i := r.NewReader(), 0
	b.ReportAllocs()
	for b.Loop() {
		i++
		since := r.Head()
		since.Seq -= 1000
		rd.Subscribe(&since, under(i%10_000))
		rd.Close()
	}
}
