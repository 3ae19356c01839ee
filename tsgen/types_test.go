package tsgen_test

import (
	"encoding"
	"encoding/json"
	"fmt"
	"net/netip"
	"time"

	"github.com/maravilla-realtime/realtime/tsgen"
)

// These types have between them what encoding/json treats specially.

type Basics struct {
	Bool    bool
	Int     int
	I64     int64   `json:"i64,string"`
	U8      uint8   `json:"u8"`
	Float   float32 `json:"float"`
	Text    string
	Quoted  string      `json:"quoted,string"`
	QuotedP *bool       `json:"quotedP,string"`
	Number  json.Number `json:"number"`
	NumberQ json.Number `json:"numberQ,string"`
	NumberP *json.Number
	Wait    time.Duration `json:"wait"`
	UserID  UserID
	_       int
	Ignored chan int `json:"-"`
	Odd     string   `json:"odd name-ä$"`
	Escaped string   `json:"a<b>&c"`
}

type UserID string

type Optionals struct {
	Text    string     `json:"text,omitempty"`
	Slice   []int      `json:"slice,omitempty"`
	Array   [2]int     `json:"array,omitempty"` // never left out
	Nothing [0]int     `json:"nothing,omitempty"`
	Struct  Point      `json:"struct,omitempty"` // never left out
	Zero    Point      `json:"zero,omitzero"`
	When    time.Time  `json:"when,omitzero"`
	Pointer *Point     `json:"pointer,omitempty"`
	Deep    **Point    `json:"deep,omitempty"`
	Map     Tags       `json:"map,omitzero"`
	Odd     OddZero    `json:"odd,omitzero"`
	OddP    *OddZero   `json:"oddP,omitzero"`
	Any     any        `json:"any,omitempty"`
	Whens   *time.Time `json:"whens"`
}

// OddZero is nil when it is not zero.
type OddZero []int

func (z OddZero) IsZero() bool { return len(z) == 1 }

type Point struct{ X, Y float64 }

type Tags map[string][]string

type Lists struct {
	Null     []string
	Pointers []*Point
	Bytes    []byte
	Blob     Blob
	Digest   [3]byte
	Long     [9]*int
	Pair     [2][]string
	Small    []Small
	Tree     Tree
	Anything any
	Raw      json.RawMessage
	Inline   struct {
		A int               `json:"a"`
		B *struct{ C bool } `json:"b,omitempty"`
	}
	Empty Empty
}

type (
	Blob  []byte
	Small uint8
	Tree  []Tree
	Empty struct{}
)

type Maps struct {
	Ints   map[int64]bool
	Users  map[UserID]Point
	Addrs  map[netip.Addr]string
	Status map[Status]*int
	Levels map[Level]int
	Nested map[string]map[string]any
	Node   *Node
}

type Node struct {
	Value    int             `json:"value"`
	Children []*Node         `json:"children"`
	Named    map[string]Node `json:"named,omitempty"`
}

type Status string

const (
	Open   Status = "open"
	Closed Status = "closed <&>"
)

type Level int

func (l Level) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "level %d", int(l)), nil }

type Enums struct {
	Status  Status
	Statusp *Status
	List    []Status
	Level   Level
	Color   Color
	Quoted  Color  `json:"quoted,string"`
	LevelQ  Level  `json:"levelQ,string"` // which its method ignores
	LevelP  *Level `json:"levelP,string"`
}

type Color int

const (
	Red Color = iota + 1
	Green
)

type Marshalers struct {
	Addr    netip.Addr
	AddrP   *netip.Addr
	JSON    SelfJSON
	JSONs   []*SelfJSON
	Coord   Coord
	Coords  []Coord
	CoordP  *Coord
	Text    PointerText
	TextP   *PointerText
	Stamped Stamped
	Iface   encoding.TextMarshaler
	Both    interface {
		json.Marshaler
		encoding.TextMarshaler
	}
	Bits   Bits `json:"bits,string"` // which its method ignores
	Picky  PointerJSON
	PickyP *PointerJSON
}

type Bits uint16

func (b Bits) MarshalJSON() ([]byte, error) { return fmt.Appendf(nil, "[%d]", uint16(b)), nil }

// PointerJSON encodes itself only where it can be addressed.
type PointerJSON struct{ A int }

func (*PointerJSON) MarshalJSON() ([]byte, error) { return []byte("true"), nil }

type SelfJSON struct{ A int }

func (SelfJSON) MarshalJSON() ([]byte, error) { return []byte(`[1,"two"]`), nil }

type Coord struct{ lat, lon int }

func (c Coord) MarshalJSON() ([]byte, error) { return json.Marshal([]int{c.lat, c.lon}) }

// PointerText encodes itself only where it can be addressed.
type PointerText struct{ A int }

func (*PointerText) MarshalText() ([]byte, error) { return []byte("text"), nil }

// Stamped is its time, since it has the method of that.
type Stamped struct {
	time.Time
	Note string
}

type Embeds struct {
	Base
	*Extra
	Tagged `json:"tagged"`
	Clash1
	Clash2
	Twice1
	Twice2
	small
	*inner
	Kind
	Shadow int `json:"shadow"`
}

type (
	Base struct {
		ID     string `json:"id"`
		Shadow string `json:"shadow"` // Embeds has one
		Won    int
	}
	Extra struct {
		More  string
		Fewer string `json:"fewer,omitempty"`
	}
	Tagged struct{ In bool }
	Clash1 struct {
		Same int
		Tag  int `json:"tag"` // this one counts
		Only int `json:"only"`
		Won  int
	}
	Clash2 struct {
		Same string
		Tag_ string `json:"Tag"`
		Tag  string
	}
	Twice1 struct{ Common }
	Twice2 struct{ Common }
	Common struct {
		Lost int
		Deeper
	}
	Deeper struct{ Found bool }
	small  struct{ Promoted int }
	inner  struct{ Never string } // unexported, so that nobody can set it
	Kind   string
)

type Recursive struct {
	*Recursive
	Up   int
	Next *Recursive `json:"next"`
}

type Page[T any] struct {
	Items []T `json:"items"`
	Next  *T  `json:"next,omitempty"`
}

type Pair[A, B any] struct {
	A A
	B B
}

type Generics struct {
	Points Page[Point]
	Ints   Page[int]
	Lists  Page[[]int]
	Refs   Page[*Node]
	Maps   Page[map[string]UserID]
	Pairs  Pair[Page[Point], string]
}

type Chat struct {
	Type string `json:"type"`
	Text string `json:"text"`
}

type Typing struct {
	Type  string `json:"type,omitempty"`
	Until int64  `json:"until"`
}

type Profile struct {
	Name string `json:"name"`
}

type JobDone struct {
	Seconds float64 `json:"seconds"`
}

// corpus are the types by the channels whose messages they are.
var corpus = map[string]any{
	"basics": Basics{}, "optionals": Optionals{}, "lists": Lists{}, "maps": Maps{}, "node": &Node{}, "enums": Enums{},
	"marshalers": Marshalers{}, "embeds": Embeds{}, "recursive": Recursive{}, "generics": Generics{},
	"list": []Point(nil), "strings": map[string]string(nil), "text": "", "anything": json.RawMessage(nil), "tree": Tree(nil),
	"status": Open, "when": time.Time{}, "array": [2]Status{},
}

func schema() tsgen.Schema {
	s := tsgen.Schema{
		Channels: map[string]tsgen.Channel{
			"room:{id}":           {Message: tsgen.ByType{"chat": Chat{}, "typing": &Typing{}}, Presence: Profile{}},
			"org:{org}:user:{id}": {Message: Chat{}},
			"lobby":               {Presence: Profile{}},
		},
		Events: []tsgen.Event{
			{Resource: "jobs", Type: "job.done", Data: JobDone{}},
			{Resource: "jobs", Type: "job.cancelled"},
			{Resource: "alarm", Type: "bell", Data: []string(nil)},
		},
		Types: []tsgen.Type{
			tsgen.Name[Color]("Colour"), tsgen.Enum(Open, Closed), tsgen.Enum(Red, Green), tsgen.Name[Status]("State"), tsgen.As[Coord]("[number, number] | []"), tsgen.Name[Tags]("Labels"),
		},
	}
	for name, v := range corpus {
		s.Channels[name] = tsgen.Channel{Message: v}
	}
	return s
}
