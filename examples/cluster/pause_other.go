//go:build !unix

package main

import "errors"

var errNoPause = errors.New("this system cannot pause a process")

func (p *process) pause() error { return errNoPause }

func (p *process) resume() error { return errNoPause }
