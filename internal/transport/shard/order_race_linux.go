//go:build race

package shard

import "syscall"

// orderWrite tells the race detector that a write follows, and orderRead that something was
// read, as Read and Write of package syscall do: so what came before the write comes before
// what follows its reading. The write is to no file: one of no bytes would take the error of
// a socket that was reset.
func orderWrite() { _, _ = syscall.Write(-1, nil) }

func orderRead(fd uintptr) { _, _ = syscall.Read(int(fd), nil) }
