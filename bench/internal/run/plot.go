package run

import (
	"bytes"
	"fmt"
	"maps"
	"math"
	"slices"
)

// The size of a plot, in pixels, and what is left around it.
const (
	plotWidth, plotHeight = 330, 300
	marginX, marginY      = 60, 50
	legend                = 150
)

var colours = []string{"#0b6e4f", "#2fbf71", "#c1121f", "#e85d75", "#1d4e89", "#7b2cbf", "#f3722c", "#6c757d", "#b8860b", "#00a6a6", "#5c4033", "#9bc53d"}

// plot draws what a delivery costs against the number of subscribers, as ratio to the
// floor, with both axes logarithmic.
func plot(rs results) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">`+"\n",
		2*(plotWidth+marginX)+legend, plotHeight+2*marginY)
	b.WriteString(`<rect width="100%" height="100%" fill="#ffffff"/>` + "\n")
	for i, burst := range []int{1, 64} {
		rs.panel(&b, burst, float64(marginX+i*(plotWidth+marginX)))
	}
	for i, name := range rs.targets() {
		x, y := 2*(plotWidth+marginX)+15, marginY+20*i
		fmt.Fprintf(&b, `<path d="M%d %dh20" stroke="%s" stroke-width="2"/><text x="%d" y="%d">%s</text>`+"\n",
			x, y, colours[i%len(colours)], x+26, y+4, name)
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

// panel draws the plot of one size of bursts.
func (rs results) panel(b *bytes.Buffer, burst int, left float64) {
	title := "One message at a time"
	if burst > 1 {
		title = fmt.Sprintf("Bursts of %d", burst)
	}
	fmt.Fprintf(b, `<text x="%g" y="25" font-weight="bold">%s</text>`+"\n", left, title)
	ns := rs.subscribers(burst)
	if len(ns) < 2 {
		return
	}
	const most = 64 // times the floor
	x := func(n int) float64 {
		return left + plotWidth*math.Log(float64(n)/float64(ns[0]))/math.Log(float64(ns[len(ns)-1])/float64(ns[0]))
	}
	y := func(ratio float64) float64 {
		return marginY + plotHeight*(1-math.Log(max(ratio, .5)/.5)/math.Log(most/.5))
	}
	for ratio := .5; ratio <= most; ratio *= 2 {
		fmt.Fprintf(b, `<path d="M%g %.1fh%d" stroke="#dddddd"/><text x="%g" y="%.1f" text-anchor="end">%g</text>`+"\n",
			left, y(ratio), plotWidth, left-6, y(ratio)+4, ratio)
	}
	for _, n := range ns {
		fmt.Fprintf(b, `<text x="%.1f" y="%d" text-anchor="middle">%d</text>`+"\n", x(n), plotHeight+marginY+18, n)
	}
	fmt.Fprintf(b, `<text x="%g" y="%d" text-anchor="middle">subscribers; CPU of a delivery, times the floor</text>`+"\n",
		left+plotWidth/2, plotHeight+marginY+38)
	for i, name := range rs.targets() {
		line := ""
		for _, n := range ns {
			if ratio := rs.ratio(figure{"fan", n, burst, cpu}, name); ratio > 0 {
				line += fmt.Sprintf(" %.1f,%.1f", x(n), y(min(ratio, most)))
			}
		}
		if line != "" {
			fmt.Fprintf(b, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/>`+"\n", line[1:], colours[i%len(colours)])
		}
	}
}

func (rs results) subscribers(burst int) []int {
	ns := make(map[int]bool)
	for _, r := range rs {
		if r.Test == "fan" && r.Burst == burst {
			ns[r.N] = true
		}
	}
	return slices.Sorted(maps.Keys(ns))
}
