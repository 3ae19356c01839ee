package doctor

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Report says in words what was found at a URL, and by way of which proxies.
func Report(url string, proxies []string, findings []Finding) string {
	var b strings.Builder
	fmt.Fprint(&b, url)
	if len(proxies) > 0 {
		fmt.Fprintf(&b, ", through %s", strings.Join(proxies, ", "))
	}
	if len(findings) == 0 {
		fmt.Fprint(&b, ": all is well\n")
		return b.String()
	}
	fmt.Fprint(&b, ":\n")
	for _, f := range findings {
		kind := "advice"
		if f.Fault {
			kind = "fault"
		}
		fmt.Fprintf(&b, "\n%s %s: %s\n", kind, f.Code, f.Problem)
		for _, name := range f.proxies(proxies) {
			fmt.Fprintf(&b, "  %-11s %s\n", name+":", f.Remedies[name])
		}
	}
	return b.String()
}

// proxies lists the proxies for which there are remedies, the recognised ones first.
func (f *Finding) proxies(recognised []string) []string {
	rank := func(name string) int {
		if slices.Contains(recognised, name) {
			return 0
		}
		return 1
	}
	return slices.SortedFunc(maps.Keys(f.Remedies), func(a, b string) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(strings.ToLower(a), strings.ToLower(b)))
	})
}
