//go:build race

package shard

import "syscall"

// orderWrite tells the race detector that a write follows, and orderRead that something was
// read, as Read and Write of package syscall do: so what came before the write comes before
// what follows its reading. The system calls of no bytes do nothing else.
func orderWrite(fd uintptr) { _, _ = syscall.Write(int(fd), nil) }

func orderRead(fd uintptr) { _, _ = syscall.Read(int(fd), nil) }
