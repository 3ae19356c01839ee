package tsgen_test

import (
	"encoding/json"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"time"
)

// random fills v, which is zero, with a random value, of which zero values and nil
// are often parts. Values at depth 0 and below are zero, except for what must not be.
func random(r *rand.Rand, v reflect.Value, depth int) {
	composite := v.Kind() == reflect.Struct || v.Kind() == reflect.Array
	if special(r, v) || !composite && (depth <= 0 || r.IntN(4) == 0) {
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(r.IntN(2) == 0)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(int64(r.Uint64()))
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(r.Uint64())
	case reflect.Float32, reflect.Float64:
		v.SetFloat(r.NormFloat64() * 1e9)
	case reflect.String:
		v.SetString(text(r))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		random(r, v.Elem(), depth-1)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), r.IntN(3), 3))
		fallthrough
	case reflect.Array:
		for i := range v.Len() {
			random(r, v.Index(i), depth-1)
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range r.IntN(3) {
			key, elem := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			random(r, key, depth)
			random(r, elem, depth-1)
			v.SetMapIndex(key, elem)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Field(i); f.CanSet() || v.Type().Field(i).Anonymous && f.Kind() == reflect.Struct {
				random(r, f, depth-1)
			}
		}
	}
}

// special sets what must not be just anything, zero or not.
func special(r *rand.Rand, v reflect.Value) bool {
	if !v.CanSet() {
		return false
	}
	switch into := v.Addr().Interface().(type) {
	case *Status:
		*into = []Status{Open, Closed}[r.IntN(2)]
	case *Color:
		*into = []Color{Red, Green}[r.IntN(2)]
	case *json.Number:
		*into = []json.Number{"", "1", "-2.5e9"}[r.IntN(3)]
	case *json.RawMessage:
		*into = []json.RawMessage{nil, []byte(`{"a":[1]}`), []byte(`"b"`)}[r.IntN(3)]
	case *time.Time:
		*into = time.Unix(r.Int64N(1<<33), r.Int64N(1e9))
	case *netip.Addr:
		*into = netip.AddrFrom4([4]byte{byte(r.Uint32()), 1, 2, 3})
	case *any:
		*into = []any{nil, 1.5, "text", []any{nil}, map[string]any{"a": Point{}}}[r.IntN(5)]
	default:
		return v.Kind() == reflect.Interface // others stay nil
	}
	return true
}

func text(r *rand.Rand) string {
	const letters = "ab\"'`\\${}</script>ä€\u2028\n\x00"
	all := []rune(letters)
	s := make([]rune, r.IntN(6))
	for i := range s {
		s[i] = all[r.IntN(len(all))]
	}
	return string(s)
}
