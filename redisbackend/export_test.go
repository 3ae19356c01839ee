package redisbackend

import "time"

// WaitLong makes reads that wait for records wait for an hour.
func (b *Backend) WaitLong() { b.blockTime = time.Hour }

// Key returns the name of something in Redis.
func (b *Backend) Key(parts ...string) string { return b.key(parts...) }

// Suits is suits.
var Suits = suits
