package redisbackend

import "time"

// Wait sets how long reads wait for records.
func (b *Backend) Wait(d time.Duration) { b.blockTime = d }

// Key returns the name of something in Redis.
func (b *Backend) Key(parts ...string) string { return b.key(parts...) }

// Suits is suits.
var Suits = suits
