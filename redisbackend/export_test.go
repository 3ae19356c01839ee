package redisbackend

import "time"

// WaitLong makes reads that wait for records wait for an hour.
func (b *Backend) WaitLong() { b.blockTime = time.Hour }
