package inspector

import (
	"cmp"
	"math"
	"math/rand/v2"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"testing"

	"github.com/maravilla-realtime/realtime"
)

// A page has the rows that a sort of all of them puts there, and what is equal stays in the
// order in which it came.
func TestSelection(t *testing.T) {
	rt, err := realtime.New(realtime.AllowAll(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer rt.Close(t.Context())
	in := &inspector{rt: rt}
	type row struct{ key, n int }
	byKey := func(a, b *row) int { return cmp.Compare(a.key, b.key) }
	r := rand.New(rand.NewPCG(1, 2))
	for _, count := range []int{0, 1, 49, 50, 51, 100, 101, 199, 200, 201, 1234} {
		for _, keys := range []int{1, 3, 1000} {
			var all []row
			for n := range count {
				all = append(all, row{r.IntN(keys), n})
			}
			for _, desc := range []string{"", "1"} {
				want := slices.Clone(all)
				slices.SortStableFunc(want, func(a, b row) int {
					if desc != "" {
						a, b = b, a
					}
					return byKey(&a, &b)
				})
				for _, page := range []int{-1, 0, 1, 2, 24, 25, math.MaxInt} {
					ask := url.Values{"desc": {desc}, "page": {strconv.Itoa(page)}}
					s := selectPage(httptest.NewRequest("GET", "/?"+ask.Encode(), nil), byKey)
					for _, row := range all {
						s.add(row)
						if len(s.first) > 2*s.most {
							t.Fatalf("%d rows are kept for page %d", len(s.first), page)
						}
					}
					got := listed(in, s, count, func(r *row) row { return *r })
					pages := max((count+49)/50, 1)
					at := min(max(page, 0), pages-1)
					if from, to := min(at*50, count), min(at*50+50, count); !slices.Equal(got.Rows, want[from:to]) ||
						got.Page != at || got.Pages != pages || got.Matched != count || got.Rows == nil {
						t.Fatalf("page %d of %d rows with %d keys, %q: %+v, want %v", page, count, keys, desc, got, want[from:to])
					}
				}
			}
		}
	}
}
