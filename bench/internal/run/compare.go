package run

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
)

// What is compared: short measurements of one build and the other in turn, so that
// whatever else the machine does meets both. The median of the differences between two
// that follow each other counts, and is repeated until it is certain.
const (
	compared  = 1000 // subscribers
	leastPair = 40
	mostPairs = 400
	certain   = 0.5 // per cent: half of the interval in which the median is, 19 times of 20
)

// compare says how much more CPU a delivery takes in this build of the program than in
// another one.
func compare(w io.Writer, targets []Target, other string) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	for _, t := range targets {
		if t.Only != "" || t.Name == t.Ref {
			continue
		}
		for _, burst := range []int{1, 64} {
			if err := compareOne(w, t, burst, program, other); err != nil {
				return fmt.Errorf("%s: %w", t.Name, err)
			}
		}
	}
	return nil
}

func compareOne(w io.Writer, t Target, burst int, programs ...string) error {
	var servers []*server
	for _, program := range programs {
		s, err := startOf(program, t, 0)
		if err != nil {
			return err
		}
		defer s.stop()
		if err := connect(s.client, compared, one, pub(1)); err != nil {
			return err
		}
		servers = append(servers, s)
	}
	var differences, base []float64 // per cent, µs
	for n := 0; n < mostPairs; n++ {
		var took [2]float64
		for i := range took {
			which := (i + n) % 2 // each is first in every other pair
			var err error
			if took[which], err = delivery(servers[which], burst); err != nil {
				return err
			}
		}
		if n == 0 { // fills caches
			continue
		}
		base = append(base, took[1])
		differences = append(differences, 100*(took[0]-took[1])/took[1])
		if low, high := interval(differences); n >= leastPair && high-low < 2*certain {
			break
		}
	}
	low, high := interval(differences)
	_, err := fmt.Fprintf(w, "%-20s bursts of %-2d  %.3f µs  %+.2f %% (%+.2f to %+.2f, of %d pairs)\n",
		t.Name, burst, us(middle(base)), middle(differences), low, high, len(differences))
	return err
}

// delivery returns what CPU the server needs for a delivery, in ns, of some 100 ms.
func delivery(s *server, burst int) (float64, error) {
	bursts := 12
	if burst > 1 {
		bursts = 5
	}
	before := s.cpuTime()
	lost, err := burstsOf(s.client, pub(burst), compared*burst, bursts)
	if err == nil && lost > 0 {
		err = errors.New("messages are lost")
	}
	return (s.cpuTime() - before) / float64(compared*burst*bursts), err
}

// interval returns two of the values between which the median of all that might have
// been measured is, 19 times of 20, whatever their distribution: by their ranks.
func interval(values []float64) (low, high float64) {
	sorted := slices.Sorted(slices.Values(values))
	n := float64(len(sorted))
	half := 0.98 * math.Sqrt(n)
	return sorted[max(int(math.Floor(n/2-half)), 0)], sorted[min(int(math.Ceil(n/2+half)), len(sorted)-1)]
}
