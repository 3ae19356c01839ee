package run

import (
	"fmt"
	"strconv"
	"time"

	"github.com/maravilla-realtime/realtime/bench/internal/load"
)

// Result is one measurement.
type Result struct {
	Round  int    `json:"round"`
	Target string `json:"target"`
	Ref    string `json:"ref"`
	Test   string `json:"test"`
	Load   string `json:"load"` // of the machine

	N     int `json:"n"` // connections
	Burst int `json:"burst,omitempty"`

	CPU        float64 `json:"cpu_us"`               // of the server, for each delivery or connection
	Nobody     float64 `json:"nobody_us,omitempty"`  // for each message that nobody follows
	Allocs     float64 `json:"allocs,omitempty"`     // for each delivery
	Resident   float64 `json:"rss_kb,omitempty"`     // for each connection
	Kernel     float64 `json:"kernel_kb,omitempty"`  // for each end of a connection
	Beat       float64 `json:"beat_us,omitempty"`    // for each second of a connection that gets heartbeats
	Goroutines float64 `json:"goroutines,omitempty"` // for each connection, or notGo
	Lost       int     `json:"lost,omitempty"`
	Disorder   int     `json:"disorder,omitempty"`
}

const size = 128 // bytes of a message

// Burst is how many messages are published at once where bursts are measured.
const Burst = 64

// notGo stands for the goroutines of a program that has none at all.
const notGo = -1

// silence is how long nothing comes before the rest counts as lost.
const silence = 30 * time.Second

func (p *Plan) measure(t Target, test string, emit func(Result)) error {
	var measure func(*server, func(Result)) error
	channels := 0
	switch test {
	case "fan":
		for _, n := range p.Sizes {
			if err := with(t, 0, func(s *server) error { return p.fan(s, t, n, emit) }); err != nil {
				return err
			}
		}
		return nil
	case memory:
		measure = p.memory
	case "many":
		measure, channels = p.many, p.Many
	case "conn":
		measure = p.connect
	case beat:
		measure = p.beat
	}
	return with(t, channels, func(s *server) error { return measure(s, emit) })
}

func with(t Target, channels int, f func(*server) error) error {
	s, err := start(t, channels)
	if err != nil {
		return err
	}
	defer s.stop()
	return f(s)
}

func one(int) string        { return Channel }
func each(i int) string     { return "c" + strconv.Itoa(i) }
func pub(n int) string      { return fmt.Sprintf("pub %d %d %s", n, size, Channel) }
func inTurn(n int) string   { return fmt.Sprintf("rr %d %d %d", n, size, n) }
func nobody(n int) string   { return fmt.Sprintf("pub %d %d nobody", n, size) }
func us(ns float64) float64 { return ns / 1e3 }

// connect connects n subscribers, and waits until all get messages.
func connect(c *load.Client, n int, channel func(int) string, warm string) error {
	if err := c.Connect(n, 64, channel, 2*patience); err != nil {
		return err
	}
	return c.Warm(warm, patience)
}

// fan measures a channel with n subscribers, one message at a time and in bursts. Each
// burst is awaited, so that nothing is lost for want of buffers.
func (p *Plan) fan(s *server, t Target, n int, emit func(Result)) error {
	if err := connect(s.client, n, one, pub(1)); err != nil {
		return err
	}
	for _, burst := range []int{1, Burst} {
		if t.Burst != 0 && t.Burst != burst {
			continue
		}
		r, err := p.bursts(s, n, burst)
		if err != nil {
			return err
		}
		emit(r)
	}
	return nil
}

// bursts measures bursts of one size: as many as the plan says, or what takes the server
// long enough.
func (p *Plan) bursts(s *server, n, burst int) (r Result, err error) {
	const (
		fewest = 2
		enough = 1e9 // ns of CPU
	)
	deliveries := p.Deliveries
	if burst > 1 {
		deliveries *= 4
	}
	if _, err := burstsOf(s.client, pub(burst), n*burst, 1); err != nil { // fills caches and queues
		return r, err
	}
	before, err := s.stats("stats")
	if err != nil {
		return r, err
	}
	s.client.Reset()
	r = Result{N: n, Burst: burst}
	began, used := s.cpuTime(), 0.0
	for i := 0; i < fewest || i < deliveries/(n*burst) && used < enough; i++ {
		lost, err := burstsOf(s.client, pub(burst), n*burst, 1)
		if err != nil {
			return r, err
		}
		r.Lost += lost
		used = s.cpuTime() - began
	}
	after, err := s.stats("stats")
	if err != nil {
		return r, err
	}
	got := float64(s.client.Count)
	r.CPU, r.Allocs, r.Disorder = us(used)/got, float64(after.Mallocs-before.Mallocs)/got, int(s.client.Disorder)
	return r, nil
}

// burstsOf has the target publish as cmd says, and waits until so many messages are
// there, several times.
func burstsOf(c *load.Client, cmd string, messages, times int) (lost int, err error) {
	for range times {
		want := c.Count + uint64(messages)
		if err := c.Send("%s", cmd); err != nil {
			return lost, err
		}
		all, err := c.Until(want, silence, nap)
		if err != nil {
			return lost, err
		}
		if !all {
			if lost += int(want - c.Count); lost > messages {
				return lost, fmt.Errorf("%d messages are lost", lost)
			}
		}
		if _, err := c.Reply(patience); err != nil {
			return lost, err
		}
	}
	return lost, nil
}

// memory measures what a connection takes that has had a few messages and now waits: the
// difference between few and many of them, so that what is allocated once is not counted.
func (p *Plan) memory(s *server, emit func(Result)) error {
	var resident, kernel, goroutines [2]float64
	open := 0
	for i, n := range p.Slope {
		if err := connect(s.client, n-open, one, pub(3)); err != nil {
			return err
		}
		open = n
		s.client.PingAll()
		if err := s.client.Pump(2 * time.Second); err != nil { // so long may memory of the burst be kept
			return err
		}
		st, err := s.stats("gc")
		if err != nil {
			return err
		}
		resident[i], kernel[i], goroutines[i] = s.resident(), kernelMemory(), float64(st.Goroutines)
	}
	slope := func(at [2]float64) float64 { return (at[1] - at[0]) / float64(p.Slope[1]-p.Slope[0]) }
	r := Result{N: p.Slope[1], Resident: slope(resident), Kernel: slope(kernel) / 2, Goroutines: slope(goroutines)}
	if goroutines[1] == 0 {
		r.Goroutines = notGo
	}
	emit(r)
	return nil
}

// many measures as many channels as connections, which get messages in turn, and then
// messages that nobody follows: so many that collections of garbage have their share.
func (p *Plan) many(s *server, emit func(Result)) error {
	const (
		rounds     = 5
		mostNobody = 30
		enough     = 5e8 // ns of CPU
	)
	unfollowed := p.Deliveries / 10 // at once
	if err := connect(s.client, p.Many, each, inTurn(p.Many)); err != nil {
		return err
	}
	r := Result{N: p.Many}
	began, used := s.cpuTime(), 0.0
	for i := 0; i < rounds && used < enough; i++ {
		lost, err := burstsOf(s.client, inTurn(p.Many), p.Many, 1)
		if err != nil {
			return err
		}
		r.Lost += lost
		used = s.cpuTime() - began
	}
	r.CPU = us(used) / float64(s.client.Count)
	began = s.cpuTime()
	for n := 1; ; n++ {
		if _, err := s.client.Do(2*patience, "%s", nobody(unfollowed)); err != nil {
			return err
		}
		if used := s.cpuTime() - began; used > enough || n == mostNobody {
			r.Nobody = us(used) / float64(n*unfollowed)
			break
		}
	}
	emit(r)
	return nil
}

// beat measures connections that get nothing but one heartbeat each.
func (p *Plan) beat(s *server, emit func(Result)) error {
	const late = 3 * time.Second // that heartbeats may come
	if err := connect(s.client, p.Beating, one, pub(1)); err != nil {
		return err
	}
	s.client.Reads = 0
	began := s.cpuTime()
	if err := s.client.Pump(Beat + late); err != nil {
		return err
	}
	used := s.cpuTime() - began
	if got := s.client.Reads; got < p.Beating {
		return fmt.Errorf("%d connections got %d heartbeats", p.Beating, got)
	}
	emit(Result{N: p.Beating, Beat: us(used) / Beat.Seconds() / float64(p.Beating)})
	return nil
}

// connect measures the coming of connections.
func (p *Plan) connect(s *server, emit func(Result)) error {
	if err := connect(s.client, 200, one, pub(1)); err != nil {
		return err
	}
	began := s.cpuTime()
	if err := s.client.Connect(p.Connects, 64, one, patience); err != nil {
		return err
	}
	if err := s.client.Pump(200 * time.Millisecond); err != nil {
		return err
	}
	emit(Result{N: p.Connects, CPU: us(s.cpuTime()-began) / float64(p.Connects)})
	return nil
}
