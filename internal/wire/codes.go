package wire

import "slices"

// codes are those of refusals, as docs/protocol.md lists them.
var codes = []string{
	"bad_channel", "bad_json", "bad_name", "bad_request", "channel_limit", "closing", "expired", "forbidden", "hello_required",
	"host", "internal", "method", "not_found", "not_joined", "origin", "rate_limited", "streaming_unsupported", "timeout", "too_large",
	"too_many", "unauthorized", "unavailable", "unknown_op", "unsupported_type", "user_mismatch",
}

// IsCode reports whether a server of this protocol refuses with the code. What
// stands in its place may speak JSON too.
func IsCode(code string) bool { return slices.Contains(codes, code) }
