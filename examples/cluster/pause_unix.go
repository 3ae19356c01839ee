//go:build unix

package main

import "syscall"

// pause stops it, however busy it is, until resume.
func (p *process) pause() error { return p.Signal(syscall.SIGSTOP) }

func (p *process) resume() error { return p.Signal(syscall.SIGCONT) }
