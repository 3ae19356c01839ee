package wire

import "slices"

// codes are those of refusals, as docs/protocol.md lists them.
var codes = []string{
	"bad_channel", "bad_json", "bad_name", "bad_request", "channel_limit", "closing", "expired", "forbidden", "hello_required",
	"host", "internal", "method", "not_found", "not_joined", "origin", "rate_limited", "streaming_unsupported", "timeout", "too_large",
	"too_many", "unauthorized", "unavailable", "unknown_op", "unsupported_type", "user_mismatch",
}

// ops are the operations of WebSockets, as docs/protocol.md lists them.
var ops = []string{"hello", "subscribe", "unsubscribe", "history", "publish", "join", "update", "leave",
	"stream", "unstream", "stop", "ping"}

// Ops lists the operations of WebSockets.
func Ops() []string { return slices.Clone(ops) }

// stored are those that only package storage refuses with.
var stored = []string{"bad_name", "timeout", "unsupported_type"}

// Codes lists the codes with which streams, WebSockets and the policy refuse, in order.
func Codes() []string {
	return slices.DeleteFunc(slices.Clone(codes), func(code string) bool { return slices.Contains(stored, code) })
}

// IsCode reports whether code is one of this protocol. Another server in its place,
// such as a proxy, may also answer with JSON.
func IsCode(code string) bool { return slices.Contains(codes, code) }
