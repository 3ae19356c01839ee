package shard

import "syscall"

// send is write(2): package syscall has no number of send(2) here.
func send(fd uintptr, p []byte) (int, error) { return syscall.Write(int(fd), p) }
