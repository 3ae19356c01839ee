package inspector

import (
	"net/http"
	"sort"
	"strconv"
)

const pageSize = 50

// listing is a page of a list.
type listing[T any] struct {
	Node    string `json:"node"`
	Total   int    `json:"total"`
	Matched int    `json:"matched"`
	Page    int    `json:"page"`
	Pages   int    `json:"pages"`
	Rows    []T    `json:"rows"`
}

// selection finds the rows of one page among all that are added to it, without keeping, or
// sorting, the others: a node may have a hundred thousand connections.
type selection[T any] struct {
	by      func(a, b *T) int // rows that are equal stay in the order in which they came; nil: so do all
	desc    bool
	page    int // that was asked for
	most    int // rows that can be on it, or before it
	matched int
	next    candidate[T]   // here, as what by gets would be on the heap for each
	first   []candidate[T] // at most twice as many
	full    bool           // the first of them are in order, and none that comes after the last of these can count
}

// candidate is a row that was the n-th to be added.
type candidate[T any] struct {
	row T
	n   int
}

// lastPage keeps the numbers small that are made of what is asked for.
const lastPage = 1 << 20

func selectPage[T any](r *http.Request, by func(a, b *T) int) *selection[T] {
	page, _ := strconv.Atoi(r.FormValue("page")) // 0 where it is no number
	page = min(max(page, 0), lastPage)
	return &selection[T]{by: by, desc: r.FormValue("desc") != "", page: page, most: (page + 1) * pageSize}
}

func (s *selection[T]) add(row T) {
	s.matched++
	s.next = candidate[T]{row, s.matched}
	if s.full && s.order(&s.next.row, &s.first[s.most-1].row) >= 0 { // it came later
		return
	}
	s.first = append(s.first, s.next)
	if len(s.first) == 2*s.most {
		s.cut()
		s.full = true
	}
}

func (s *selection[T]) order(a, b *T) int {
	switch {
	case s.by == nil:
		return 0
	case s.desc:
		return s.by(b, a)
	}
	return s.by(a, b)
}

// Len, Less and Swap are for sort.Sort: slices.SortFunc gives its function copies, which
// would be on the heap.
func (s *selection[T]) Len() int { return len(s.first) }

func (s *selection[T]) Swap(i, j int) { s.first[i], s.first[j] = s.first[j], s.first[i] }

func (s *selection[T]) Less(i, j int) bool {
	a, b := &s.first[i], &s.first[j]
	o := s.order(&a.row, &b.row)
	return o < 0 || o == 0 && a.n < b.n
}

// cut sorts the candidates, and drops those that are on no page up to the one asked for.
func (s *selection[T]) cut() {
	sort.Sort(s)
	s.first = s.first[:min(len(s.first), s.most)]
}

// listed returns the page, or the last one if there are not so many.
func listed[T, R any](in *inspector, s *selection[T], total int, show func(*T) R) listing[R] {
	s.cut()
	l := listing[R]{Node: in.rt.Node(), Total: total, Matched: s.matched, Pages: max((s.matched+pageSize-1)/pageSize, 1), Rows: []R{}}
	l.Page = min(s.page, l.Pages-1)
	for i := range s.first[min(l.Page*pageSize, len(s.first)):] {
		l.Rows = append(l.Rows, show(&s.first[l.Page*pageSize+i].row))
	}
	return l
}
