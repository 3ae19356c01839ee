package metrics_test

import (
	"context"
	"maps"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/maravilla-realtime/realtime"
	"github.com/maravilla-realtime/realtime/metrics"
)

// stats are those of a Realtime with a group.
func stats(t *testing.T) realtime.Stats {
	t.Helper()
	rt, err := realtime.New(realtime.Policy{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = rt.Close(context.Background()) }) // nothing is open
	err = rt.Group("work", nil, func(g *realtime.Group) error {
		return g.OnKVChange(realtime.KVMatch{}, func(context.Context, realtime.RenEvent) error { return nil })
	})
	if err != nil {
		t.Fatal(err)
	}
	return rt.Stats()
}

// change sets one figure of v after the other to another value, calls visit with its
// path, and puts it back.
func change(path string, v reflect.Value, visit func(path string)) {
	keep := reflect.ValueOf(v.Interface())
	defer v.Set(keep)
	switch v.Kind() {
	case reflect.Struct:
		switch x := v.Interface().(type) {
		case time.Time:
			v.Set(reflect.ValueOf(x.Add(time.Hour)))
			visit(path)
			return
		case realtime.Histogram:
			v.Set(reflect.ValueOf(realtime.Histogram{Counts: []uint64{123}, Sum: time.Hour}))
			visit(path)
			return
		}
		for i := range v.NumField() {
			change(path+"."+v.Type().Field(i).Name, v.Field(i), visit)
		}
		return
	case reflect.Map:
		for _, key := range v.MapKeys() {
			elem := reflect.New(v.Type().Elem()).Elem()
			elem.Set(v.MapIndex(key))
			change(path+"."+key.String(), elem, func(path string) {
				old := v.MapIndex(key)
				v.SetMapIndex(key, elem)
				visit(path)
				v.SetMapIndex(key, old)
			})
		}
		return
	case reflect.Bool:
		v.SetBool(!v.Bool())
	case reflect.Int, reflect.Int64:
		v.SetInt(v.Int() + int64(time.Hour))
	case reflect.Uint64:
		v.SetUint(v.Uint() + 123)
	default:
		panic(path + " is a " + v.Kind().String())
	}
	visit(path)
}

// samples returns all samples by their names and labels, with a value that differs where
// one of their numbers does.
func samples(t *testing.T, s *realtime.Stats) map[string]float64 {
	all := make(map[string]float64)
	for _, m := range metrics.List() {
		list := m.Samples(s)
		if len(list) == 0 {
			t.Errorf("%s has no samples", m.Name)
		}
		for _, one := range list {
			name := m.Name + " " + strings.Join(one.Labels, " ")
			if _, twice := all[name]; twice || len(one.Labels) != len(m.Labels) {
				t.Errorf("%s stands twice: %v, or has other labels than %q", name, twice, m.Labels)
			}
			all[name] = one.Value + float64(one.Histogram.Count()) + one.Histogram.Sum.Seconds()
		}
	}
	return all
}

// Each figure of Stats is in one sample of one metric, and nothing else is.
func TestEveryFigureIsExported(t *testing.T) {
	s := stats(t)
	before := samples(t, &s)
	untouched := maps.Clone(before)
	changed := 0
	change("Stats", reflect.ValueOf(&s).Elem(), func(path string) {
		changed++
		var moved []string
		for name, value := range samples(t, &s) {
			if value != before[name] {
				moved = append(moved, name)
				delete(untouched, name)
			}
		}
		if len(moved) != 1 {
			t.Errorf("%s moves the samples %q, want one", path, moved)
		}
	})
	if changed != len(before) || len(untouched) > 0 {
		t.Errorf("%d figures, %d samples, of which no figure moves %v", changed, len(before), untouched)
	}
}

func TestNames(t *testing.T) {
	good := regexp.MustCompile(`^[a-z]+(\.[a-z]+)*$`)
	label := regexp.MustCompile(`^[a-z]+$`)
	unit := regexp.MustCompile(`^(s|By|\{[a-z]+\})$`)
	help := regexp.MustCompile(`^[A-Z1].*[^.]\.$`)
	seen := make(map[string]bool)
	for _, m := range metrics.List() {
		if !good.MatchString(m.Name) || !unit.MatchString(m.Unit) || !help.MatchString(m.Help) || seen[m.Name] {
			t.Errorf("%+v", m)
		}
		for _, name := range m.Labels {
			if !label.MatchString(name) {
				t.Errorf("%s: label %q", m.Name, name)
			}
		}
		if m.Kind == metrics.Histogram && m.Unit != "s" {
			t.Errorf("%s is a histogram in %s", m.Name, m.Unit)
		}
		seen[m.Name] = true
	}
}

// docs/operations.md has a line for each metric, with its kind, unit and labels, and for
// nothing else.
func TestDocumented(t *testing.T) {
	text, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[metrics.Kind]string{metrics.Counter: "counter", metrics.Gauge: "gauge", metrics.Histogram: "histogram"}
	var want []string
	for _, m := range metrics.List() {
		kind := kinds[m.Kind]
		if !strings.HasPrefix(m.Unit, "{") {
			kind += ", " + m.Unit
		}
		want = append(want, strings.Join([]string{"`" + m.Name + "`", kind, strings.Join(m.Labels, ", ")}, " | "))
	}
	var got []string
	for line := range strings.Lines(string(text)) {
		if cells := strings.SplitN(strings.TrimPrefix(line, "| "), "|", 4); strings.HasPrefix(line, "| `") && len(cells) == 4 {
			for i := range cells {
				cells[i] = strings.TrimSpace(cells[i])
			}
			got = append(got, strings.Join(cells[:3], " | "))
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
