package own

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"

	"github.com/maravilla-realtime/realtime/bench/internal/run"
)

// TestMain is a target as well: the plan starts the program that it is part of.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "-serve" {
		run.Serve(Targets, os.Args[2])
	}
	os.Exit(m.Run())
}

// A small run of the floor and of this library loses nothing.
func TestSmoke(t *testing.T) {
	plan := run.Plan{Tests: []string{"fan", "many", "conn"}, Rounds: 1, Sizes: []int{20}, Many: 20, Connects: 20, Deliveries: 1000}
	var out bytes.Buffer
	if err := plan.Run(&out, Targets); err != nil {
		t.Fatal(err)
	}
	measured := make(map[string]int)
	for results := json.NewDecoder(&out); results.More(); {
		var r run.Result
		if err := results.Decode(&r); err != nil {
			t.Fatal(err)
		}
		if r.Lost > 0 || r.Disorder > 0 {
			t.Errorf("%+v", r)
		}
		measured[r.Target]++
	}
	for _, target := range Targets {
		want := 4
		switch {
		case target.Only == "fan":
			want = 1
		case target.Only == "beat": // takes too long
			want = 0
		case target.Burst != 0:
			want = 3
		}
		if measured[target.Name] != want {
			t.Errorf("%s has %d results, want %d", target.Name, measured[target.Name], want)
		}
	}
}
