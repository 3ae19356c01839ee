package realtime

import (
	"testing"

	"github.com/maravilla-realtime/realtime/internal/wire"
)

// meaning is what a frame means to a client: scripts in the words that
// testdata/README.md explains. The tests of the Go clients and of the browser SDK
// execute them.
type meaning map[string][]scene

type scene struct {
	Case  string   `json:"case"`
	Lines []string `json:"lines"`
}

// of returns what a frame means. A frame that means nothing to anybody is a fault.
func (m meaning) of(t *testing.T, frame string) []scene {
	t.Helper()
	list := m[frame]
	if len(list) == 0 {
		t.Errorf("%s has no meaning: say in golden_meaning_test.go what clients make of it", frame)
	}
	delete(m, frame)
	return list
}

// done reports meanings of frames that do not exist.
func (m meaning) done(t *testing.T) {
	t.Helper()
	for frame := range m {
		t.Errorf("there is no frame %s, of which golden_meaning_test.go says the meaning", frame)
	}
}

// lines joins the beginning of a script and the rest of it.
func lines(begin []string, rest ...string) []string {
	return append(begin[:len(begin):len(begin)], rest...)
}

var (
	subscribed = []string{"app subscribe", "sent subscribe", "answer subscribe subscribed fresh"}
	watching   = []string{"app watch", "sent subscribe presence", "answer subscribe subscribed fresh"}
	knowing    = lines(watching, "say presence.state", "told join ada", "told join bob", "roster ada bob")
	alone      = lines(watching, "say presence.state empty", "roster")
	present    = lines(alone, "app join ada", "sent join user=ada", "answer join ok", "told joined")
	healthy    = lines(subscribed, "pass 3000")
	asked      = []string{"token A", "dial", "say hello with an expiry", "state open"}
)

const adasMessage = `{"type":"message","text":"line\nline\u2028 <b>&"}`

func channelMeanings() meaning {
	m := meaning{}
	for _, more := range []meaning{events(), rosterMeanings(), greetings(), answers(), pasts(), takings(), byes(), growths()} {
		for frame, scripts := range more {
			m[frame] = scripts
		}
	}
	return m
}

// events are of what happens in a channel, and of where its cursor is.
func events() meaning {
	return meaning{
		"message": {
			{"a loop is told, and the cursor moves", lines(subscribed, "say message", "told message "+adasMessage+" own user=ada", "cut", "sent subscribe since=hoftbqjitc.13")},
			{"of a channel that was not asked for", []string{"say message"}},
			{"of a subscription that is over", lines(subscribed, "app unsubscribe", "sent unsubscribe", "say message", "answer unsubscribe ok", "say message")},
		},
		"message.ephemeral": {
			{"a loop is told, and no cursor moves", lines(subscribed, "say message.ephemeral", "told message "+adasMessage+" own user=ada", "cut", "sent subscribe since=hoftbqjitc.2r")},
		},
		"message.server": {{"nobody is its origin", lines(subscribed, "say message.server", "told message null")}},
		"join": {
			{"a watcher is told, and the cursor moves", lines(alone, "say join", "told join ada", "roster ada", "cut", "sent subscribe presence since=hoftbqjitc.15")},
			{"of somebody who is there", lines(knowing, "say join", "told update ada", "roster ada bob", "say join")},
			{"nobody has asked for presence", lines(subscribed, "say join", "cut", "sent subscribe since=hoftbqjitc.15")},
		},
		"update": {
			{"a watcher is told", lines(knowing, "say update", "told update ada", "roster ada bob", "say update")},
			{"of somebody who was not there", lines(alone, "say update", "told join ada", "roster ada")},
		},
		"leave": {
			{"a watcher is told", lines(knowing, "say leave", "told leave ada", "roster bob", "cut", "sent subscribe presence since=hoftbqjitc.17")},
			{"of somebody who was not there", lines(alone, "say leave", "roster")},
		},
		"leave.bare": {{"a watcher is told", lines(knowing, "say leave.bare", "told leave ada", "roster bob")}},
		"ping": {
			{"it moves the cursor of what is subscribed to", lines(subscribed, "say ping", "cut", "sent subscribe since=hoftbqjitc.2s")},
			{"it moves nothing else", []string{"app subscribe", "sent subscribe", "say ping", "cut", "sent subscribe"}},
		},
		"ping without cursor": {{"it moves nothing", lines(subscribed, "say ping without cursor", "cut", "sent subscribe since=hoftbqjitc.2r")}},
		"reset": {
			{"a loop is told, and the cursor moves", lines(subscribed, "say message", "told message "+adasMessage+" own user=ada", "say reset", "told reset evicted", "cut", "sent subscribe since=hoftbqjitc.2r")},
			{"of a channel that was not asked for", []string{"say reset"}},
		},
	}
}

// growths are of messages that grow.
func growths() meaning {
	m := meaning{}
	for _, frame := range []string{
		"stream", "stream empty", "stream of JSON", "stream resumed", "stream complete", "stream failed", "stream.append", "stream.append of JSON",
		"stream.end complete", "stream.end cancelled", "stream.end failed", "unstreamed", "unstreamed for a while",
	} {
		m[frame] = []scene{{"of one that was not asked for", lines(subscribed, "say "+frame)}}
	}
	for frame, data := range map[string]string{
		"begins":      `{"type":"stream","stream":"a1","run":"K3XW5M2PQ7RT","state":"streaming","metadata":{"role":"assistant"}}`,
		"is complete": `{"type":"stream","stream":"a1","run":"K3XW5M2PQ7RT","state":"complete","metadata":{"role":"assistant"},"text":"Hello, wörld \"<&>\"\n","bytes":20}`,
		"failed": `{"type":"stream","stream":"a1","run":"K3XW5M2PQ7RT","state":"failed","metadata":{"role":"assistant"},"items":[{"a":[1,2]},"x"],"bytes":16,` +
			`"error":{"code":"internal","message":"the message could not be completed","retry":false}}`,
		"is too large": `{"type":"stream","stream":"a1","run":"K3XW5M2PQ7RT","state":"cancelled","metadata":{"role":"assistant"},"bytes":1200000,"limit":1048576}`,
	} {
		frame = "message of a stream that " + frame
		m[frame] = []scene{{"it is a message", lines(subscribed, "say "+frame, "told message "+data+" own user=ada", "cut", "sent subscribe since=hoftbqjitc.2u")}}
	}
	return m
}

// rosterMeanings are of who is there, in one piece or in parts.
func rosterMeanings() meaning {
	return meaning{
		"presence.state": {
			{"it is the whole roster", lines(knowing, "say leave", "told leave ada", "say presence.state", "told join ada", "roster ada bob")},
			{"as it was", lines(knowing, "say presence.state")},
			{"nobody has asked for it", lines(subscribed, "say presence.state", "roster")},
		},
		"presence.state first part": {
			{"alone it says nothing", lines(alone, "say presence.state first part", "roster")},
			{"it begins a new roster", lines(alone, "say presence.state first part", "say presence.state middle part", "say presence.state first part", "say presence.state empty", "roster")},
			{"nobody wants it now", lines(watching, "say presence.state first part", "app unwatch", "sent unsubscribe", "say presence.state middle part", "answer unsubscribe ok", "app watch", "sent subscribe presence",
				"answer subscribe subscribed fresh", "say presence.state last part", "roster")},
		},
		"presence.state middle part": {
			{"the last part brings them all", lines(watching, "say presence.state first part", "say message", "say presence.state middle part", "roster", "say presence.state last part", "told join ada", "told join bob", "roster ada bob")},
			{"of a roster whose beginning was not there", lines(alone, "say presence.state middle part", "say presence.state last part", "roster")},
		},
		"presence.state last part": {
			{"who is in none of the parts has left", lines(knowing, "say presence.state first part", "say presence.state middle part", "say presence.state last part", "roster ada bob", "say presence.state empty",
				"told leave ada", "told leave bob", "roster")},
			{"of a roster whose beginning the connection took along", lines(watching, "say presence.state first part", "say presence.state middle part", "cut",
				"go: sent subscribe presence since=hoftbqjitc.2r", "ts: sent subscribe since=hoftbqjitc.2r", "answer subscribe subscribed reset", "ts: sent subscribe presence", "ts: told reset epoch", "say presence.state last part", "roster")},
			{"what was known before does not count once another roster has begun", lines(knowing, "say presence.state first part", "cut", "go: sent subscribe presence since=hoftbqjitc.2r", "ts: sent subscribe since=hoftbqjitc.2r",
				"answer subscribe subscribed resumed", "sent subscribe presence", "answer subscribe subscribed resumed", "say presence.state empty", "told leave ada", "told leave bob", "roster")},
		},
		"presence.state empty": {{"everybody has left", lines(knowing, "say presence.state empty", "told leave ada", "told leave bob", "roster")}},
	}
}

func greetings() meaning {
	return meaning{
		"hello": {
			{"the client is connected", []string{"dial", "state connecting", "say hello", "state open"}},
			{"what was wanted before is asked for", []string{"dial", "app subscribe", "app join ada", "say hello", "sent subscribe presence", "sent join user=ada"}},
			{"credentials that last are not renewed", []string{"token A", "dial", "say hello", "token B", "pass 900000"}},
		},
		"hello with an expiry": {
			{"a new token is sent before the old one expires", lines(asked, "token B", "pass 809000", "pass 2000", "sent hello token=B", "answer hello ok renewed")},
			{"without tokens there is nothing to be sent", []string{"dial", "say hello with an expiry", "pass 900000"}},
		},
		"ok renewed": {{"and so on", lines(asked, "token B", "pass 811000", "sent hello token=B", "answer hello ok renewed", "token C", "pass 811000", "sent hello token=C")}},
	}
}

// pasts are of what was said in a channel before.
func pasts() meaning {
	return meaning{
		"history": {
			{"it is a page", []string{"app history", "sent history", "answer history history", "told page message.server message before=hoftbqjitc.z"}},
			{"it is asked for again on the next connection", []string{"app history", "sent history", "cut", "sent history", "answer history history", "told page message.server message before=hoftbqjitc.z"}},
			{"it moves no cursor", lines(subscribed, "app history", "sent history", "answer history history", "told page message.server message before=hoftbqjitc.z", "cut", "sent subscribe since=hoftbqjitc.2r")},
		},
		"history to its start":       {{"there is no more", []string{"app history", "sent history", "answer history history to its start", "told page end=start"}}},
		"history to what is evicted": {{"there is no more, though there was", []string{"app history", "sent history", "answer history history to what is evicted", "told page end=evicted"}}},
		"subscribed with messages": {
			{"a loop that rewinds begins with them, and no other is told", lines(subscribed, "app rewind", "sent subscribe rewind=2", "say message.server", "told message null", "answer subscribe subscribed with messages",
				"told rewound null", "told rewound "+adasMessage, "say message.server", "told message null", "told rewound null")},
			{"it is asked for again, after where the channel goes on", lines(subscribed, "app rewind", "sent subscribe rewind=2", "cut", "sent subscribe since=hoftbqjitc.2r",
				"answer subscribe subscribed resumed", "sent subscribe rewind=2")},
		},
	}
}

func answers() meaning {
	return meaning{
		"subscribed fresh": {
			{"it is where the cursor begins", lines(subscribed, "cut", "sent subscribe since=hoftbqjitc.2r")},
			{"who had a cursor has missed something", lines(subscribed, "cut", "sent subscribe since=hoftbqjitc.2r", "answer subscribe subscribed fresh", "told reset unknown")},
			{"presence can be asked for as well", lines(subscribed, "app watch", "sent subscribe presence", "answer subscribe subscribed resumed", "say presence.state", "told join ada", "told join bob")},
			{"nobody wants it now", []string{"app subscribe", "sent subscribe", "app unsubscribe", "answer subscribe subscribed fresh", "sent unsubscribe"}},
		},
		"subscribed resumed": {
			{"nothing was missed", lines(subscribed, "cut", "sent subscribe since=hoftbqjitc.2r", "answer subscribe subscribed resumed", "say message", "told message "+adasMessage+" own user=ada")},
			{"changes of the roster follow", lines(knowing, "cut", "sent subscribe presence since=hoftbqjitc.2r", "answer subscribe subscribed resumed", "say leave", "told leave ada", "roster bob")},
		},
		"subscribed reset": {
			{"something was missed", lines(subscribed, "say message", "told message "+adasMessage+" own user=ada", "cut", "sent subscribe since=hoftbqjitc.13", "answer subscribe subscribed reset", "told reset epoch",
				"cut", "sent subscribe since=hoftbqjitc.2r")},
			{"who is there is not known before a roster has come", lines(knowing, "cut", "sent subscribe presence since=hoftbqjitc.2r", "answer subscribe subscribed reset", "ts: told reset epoch",
				"cut", "go: sent subscribe presence since=hoftbqjitc.2r", "ts: sent subscribe since=hoftbqjitc.2r", "answer subscribe subscribed resumed", "sent subscribe presence")},
		},
		"ok": {
			{"of a message", []string{"app publish", "sent publish", "answer publish ok", "told published"}},
			{"of an end of presence", lines(present, "app leave", "sent leave user=ada", "answer leave ok", "told left", "app update", "told update refused not_joined")},
			{"nobody waits for it", []string{"say ok"}},
			{"credentials that no longer expire", lines(asked, "token B", "pass 811000", "sent hello token=B", "answer hello ok", "token C", "pass 900000")},
		},
		"error": {
			{"of a message", []string{"app publish", "sent publish", "answer publish error", "told publish refused forbidden"}},
			{"of a subscription, which can be asked for again", []string{"app subscribe", "sent subscribe", "answer subscribe error", "told error forbidden", "app subscribe", "sent subscribe"}},
			{"of a join, which can be asked for again", lines(alone, "app join ada", "sent join user=ada", "answer join error", "told join refused forbidden", "app join ada", "sent join user=ada")},
			{"nobody waits for it", []string{"say error", "ts: told error forbidden"}},
		},
		"error for a while": {
			{"of a subscription: it is asked for again", []string{"app subscribe", "sent subscribe", "answer subscribe error for a while", "pass 2500", "sent subscribe", "answer subscribe subscribed fresh"}},
			{"of a join: it is asked for again", lines(alone, "app join ada", "sent join user=ada", "answer join error for a while", "pass 2500", "sent join user=ada", "answer join ok", "told joined")},
		},
		"error bad_channel": {{"of a subscription, which ends", []string{"app subscribe", "sent subscribe", "answer subscribe error bad_channel", "told error bad_channel"}}},
		"error not_joined":  {{"of an update", lines(present, "app update", "sent update user=ada", "answer update error not_joined", "told update refused not_joined")}},
		"error user_mismatch": {{"the token of another: the connection goes on, and a token is asked for again", lines(asked, "token B", "pass 811000", "sent hello token=B", "answer hello error user_mismatch", "ts: told error user_mismatch", "state open",
			"token C", "pass 46000", "sent hello token=C")}},
		"error without ref": {
			{"a hello that is refused for good ends the client", []string{"app subscribe", "dial", "say error without ref", "told error forbidden", "state closed"}},
			{"later it ends nothing", lines(subscribed, "say error without ref", "ts: told error forbidden", "state open")},
		},
	}
}

// takings are of what a server takes away.
func takings() meaning {
	joined := lines(subscribed, "app watch", "sent subscribe presence", "answer subscribe subscribed resumed", "say presence.state", "told join ada", "told join bob")
	return meaning{
		"unsubscribed": {
			{"a loop ends, and one that begins after that may ask again", lines(subscribed, "say unsubscribed", "told error forbidden", "say message", "app subscribe", "go: sent subscribe", "ts: sent subscribe since=hoftbqjitc.2q",
				"answer subscribe subscribed resumed", "say message", "told message "+adasMessage+" own user=ada")},
			{"nothing moves the cursor", lines(subscribed, "say unsubscribed", "told error forbidden", "say ping", "cut", "ts: sent subscribe since=hoftbqjitc.2q")},
			{"the roster is forgotten", lines(joined, "say unsubscribed", "told error forbidden", "ts: told leave ada", "ts: told leave bob", "roster")},
			{"a presence stays, and a loop that begins does not hear of what was before it", lines(present, "say unsubscribed", "told error forbidden", "app subscribe", "go: sent subscribe presence", "ts: sent subscribe since=hoftbqjitc.2q")},
			{"twice", lines(subscribed, "say unsubscribed", "told error forbidden", "say unsubscribed")},
			{"while more is asked for, which is refused", lines(subscribed, "app watch", "sent subscribe presence", "say unsubscribed", "told error forbidden", "answer subscribe error", "ts: told error forbidden", "say message")},
			{"while more is asked for, which begins again", lines(subscribed, "app watch", "sent subscribe presence", "say unsubscribed", "told error forbidden", "answer subscribe subscribed fresh", "go: sent unsubscribe", "ts: told reset unknown")},
			{"while it is being given up", lines(subscribed, "app unsubscribe", "sent unsubscribe", "say unsubscribed", "answer unsubscribe ok")},
			{"while it is being given up, and asked for again", lines(subscribed, "app unsubscribe", "sent unsubscribe", "app subscribe", "say unsubscribed", "answer unsubscribe ok", "sent subscribe", "answer subscribe error", "told error forbidden")},
			{"after a reconnect", lines(subscribed, "cut", "sent subscribe since=hoftbqjitc.2r", "answer subscribe subscribed resumed", "say unsubscribed", "told error forbidden", "app subscribe",
				"go: sent subscribe", "ts: sent subscribe since=hoftbqjitc.2q")},
			{"of a channel that was not asked for", []string{"say unsubscribed"}},
		},
		"unsubscribed without cursor": {{"the last cursor counts", lines(subscribed, "say message", "told message "+adasMessage+" own user=ada", "say unsubscribed without cursor", "told error forbidden", "app subscribe",
			"go: sent subscribe", "ts: sent subscribe since=hoftbqjitc.13")}},
		"unsubscribed for a while": {
			{"the client asks again by itself, and goes on", lines(subscribed, "say unsubscribed for a while", "ts: sent subscribe since=hoftbqjitc.2q", "say ping", "pass 2500", "go: sent subscribe since=hoftbqjitc.2q",
				"answer subscribe subscribed resumed", "say message", "told message "+adasMessage+" own user=ada")},
			{"and is told where it cannot go on", lines(subscribed, "say unsubscribed for a while", "ts: sent subscribe since=hoftbqjitc.2q", "pass 2500", "go: sent subscribe since=hoftbqjitc.2q", "answer subscribe subscribed reset", "told reset epoch")},
			{"and ends where it may not", lines(subscribed, "say unsubscribed for a while", "ts: sent subscribe since=hoftbqjitc.2q", "pass 2500", "go: sent subscribe since=hoftbqjitc.2q", "answer subscribe error", "told error forbidden")},
			{"the roster stays, and goes on", lines(knowing, "say unsubscribed for a while", "ts: sent subscribe presence since=hoftbqjitc.2q", "roster ada bob", "pass 2500", "go: sent subscribe presence since=hoftbqjitc.2q",
				"answer subscribe subscribed resumed", "say leave", "told leave ada", "roster bob")},
			{"while more is asked for, which begins again", lines(subscribed, "app watch", "sent subscribe presence", "say unsubscribed for a while", "answer subscribe subscribed fresh", "told reset unknown")},
		},
		"left": {
			{"the client is no longer present, and can join again", lines(present, "say left", "ts: told error forbidden", "app update", "told update refused not_joined", "app join ada", "sent join user=ada", "answer join ok", "told joined")},
			{"it does not join by itself", lines(present, "say left", "ts: told error forbidden", "cut", "sent subscribe presence since=hoftbqjitc.2r")},
			{"twice", lines(present, "say left", "ts: told error forbidden", "say left")},
			{"of somebody who was not present here", lines(alone, "say left", "cut", "sent subscribe presence since=hoftbqjitc.2r")},
			{"while a join is on its way", lines(alone, "app join ada", "sent join user=ada", "say left", "answer join ok", "told joined", "app update", "sent update user=ada")},
			{"while an update is on its way", lines(present, "app update", "sent update user=ada", "say left", "told update refused forbidden", "ts: told error forbidden",
				"answer update error not_joined", "app update", "told update refused not_joined")},
			{"while an update is on its way, and somebody joins", lines(present, "app update", "sent update user=ada", "app join ada", "say left", "answer update error not_joined", "ts: told update refused not_joined",
				"sent join user=ada", "answer join ok", "told joined", "go: told updated", "app update", "sent update user=ada")},
			{"while a leave is on its way", lines(present, "app leave", "sent leave user=ada", "say left", "answer leave ok", "told left")},
			{"after a reconnect", lines(present, "cut", "sent subscribe presence since=hoftbqjitc.2r", "sent join user=ada", "answer subscribe subscribed resumed", "answer join ok", "say left", "ts: told error forbidden",
				"app update", "told update refused not_joined")},
		},
		"left for a while": {
			{"the client joins again by itself", lines(present, "say left for a while", "ts: sent join user=ada", "pass 2500", "go: sent join user=ada", "answer join ok", "app update", "sent update user=ada")},
			{"and after a reconnect", lines(present, "say left for a while", "ts: sent join user=ada", "cut", "sent subscribe presence since=hoftbqjitc.2r", "sent join user=ada")},
		},
	}
}

func byes() meaning {
	back := func(bye, low, high string) []string {
		return lines(healthy, "say "+bye, "state connecting", "wait "+low+" "+high, "say hello", "state open", "sent subscribe since=hoftbqjitc.2t")
	}
	final := func(bye, code string) []string { return lines(healthy, "say "+bye, "told error "+code, "state closed") }
	return meaning{
		"bye": {
			{"the client comes back when it was told to", back("bye", "1500", "1500")},
			{"after less than two seconds, not before", lines(subscribed, "say bye", "wait 1500 1500")},
		},
		"bye without cursor": {{"the ids count", lines(healthy, "say message", "told message "+adasMessage+" own user=ada", "say bye without cursor", "wait 1500 1500", "say hello", "sent subscribe since=hoftbqjitc.13")}},
		"bye rotate":         {{"it is not noticed", back("bye rotate", "100", "100")}},
		"bye unavailable":    {{"the client comes back when it was told to", back("bye unavailable", "2000", "2000")}},
		"bye too_many":       {{"the client comes back when it was told to", back("bye too_many", "2000", "2000")}},
		"bye internal":       {{"the client comes back when it was told to", back("bye internal", "2000", "2000")}},
		"bye hello_required": {{"the client comes back", back("bye hello_required", "500", "1000")}},
		"bye expired":        {{"the client comes back, with new credentials if it can", back("bye expired", "500", "1000")}},
		"bye unauthorized":   {{"the client comes back, with new credentials if it can", back("bye unauthorized", "500", "1000")}},
		"bye revoked":        {{"the client does not come back", final("bye revoked", "forbidden")}},
		"bye forbidden":      {{"the client does not come back", final("bye forbidden", "forbidden")}},
	}
}

// goldenCursor is the cursor of one of the golden records.
func goldenCursor(name string) string {
	if name == "message without data" {
		name = "message"
	}
	return wire.Cursor(goldenRecords()[name].Pos)
}

func renMeanings() meaning {
	open := []string{"say hello fresh", "pass 3000"}
	m := meaning{
		"hello fresh": {
			{"the stream has begun, and its cursor with it", []string{"state connecting", "say hello fresh", "state open", "pass 3000", "break", "wait 3127 3127", "sent get since=hoftbqjitc.2r"}},
			{"who had a cursor has missed something", lines(open, "say kv.put", "told event kv.put own", "cut", "sent get since=hoftbqjitc.z", "say hello fresh", "told reset unknown")},
		},
		"hello resumed": {{"nothing was missed", []string{"state connecting", "say hello resumed", "state open", "cut", "sent get since=hoftbqjitc.2r", "say hello resumed", "state open"}}},
		"hello reset":   {{"something was missed", []string{"say hello reset", "told reset evicted", "cut", "sent get since=hoftbqjitc.2r"}}},
		"hello with an expiry": {
			{"a new token opens another stream before the old one expires", []string{"token A", "dial", "sent get token=A", "say hello with an expiry", "state open", "token B", "pass 809000", "pass 2000", "state open",
				"sent get token=B since=hoftbqjitc.2r", "say hello resumed", "state open"}},
			{"without tokens the stream goes on", []string{"say hello with an expiry", "pass 899000", "state open"}},
		},
		"reset":              {{"something was missed, and the cursor moves", lines(open, "say kv.put", "told event kv.put own", "say reset", "told reset backend", "cut", "sent get since=hoftbqjitc.2r")}},
		"ping":               {{"it moves the cursor", lines(open, "say kv.put", "told event kv.put own", "say ping", "cut", "sent get since=hoftbqjitc.2r")}},
		"bye":                {{"the client comes back when it was told to", lines(open, "say bye", "state connecting", "wait 1500 1500", "sent get since=hoftbqjitc.2r")}},
		"bye without cursor": {{"the client comes back when it was told to, with the cursor it had", lines(open, "say kv.put", "told event kv.put own", "say bye without cursor", "wait 1500 1500", "sent get since=hoftbqjitc.z")}},
	}
	for name, typ := range map[string]string{
		"kv.put": "kv.put", "document.created": "db.document.created", "object.deleted": "storage.object.deleted", "custom": "priority:high",
		"message": "realtime.message", "message.server": "realtime.message", "message without data": "realtime.message",
		"join": "presence.join", "update": "presence.update", "leave": "presence.leave", "leave.bare": "presence.leave",
	} {
		own := " own"
		if name == "message.server" || name == "leave.bare" {
			own = ""
		}
		m[name] = []scene{{"a loop is told, and the cursor moves", lines(open, "say "+name, "told event "+typ+own, "cut", "sent get since="+goldenCursor(name))}}
	}
	for bye, waits := range map[string]string{
		"bye rotate": "100 100", "bye unavailable": "2000 2000", "bye internal": "2000 2000", "bye expired": "500 1000", "bye unauthorized": "500 1000",
	} {
		m[bye] = []scene{{"the client comes back", lines(open, "say "+bye, "state connecting", "wait "+waits, "sent get since=hoftbqjitc.2r")}}
	}
	for _, bye := range []string{"bye revoked", "bye forbidden"} {
		m[bye] = []scene{{"the client does not come back", lines(open, "say "+bye, "told error forbidden", "state closed")}}
	}
	return m
}
