package wire

import "slices"

// codes are those of refusals, as docs/protocol.md lists them.
var codes = []string{
	"bad_channel", "bad_json", "bad_name", "bad_request", "channel_limit", "closing", "expired", "forbidden", "hello_required",
	"host", "internal", "method", "not_found", "not_joined", "origin", "rate_limited", "streaming_unsupported", "timeout", "too_large",
	"too_many", "unauthorized", "unavailable", "unknown_op", "unsupported_type", "user_mismatch",
}

// IsCode reports whether code is one of this protocol. Another server in its place,
// such as a proxy, may also answer with JSON.
func IsCode(code string) bool { return slices.Contains(codes, code) }
