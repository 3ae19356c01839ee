//go:build !linux

package poll

import "syscall"

// Poller is not there on this system.
type Poller struct{}

// New returns [ErrUnsupported].
func New(func(func())) (*Poller, error) { return nil, ErrUnsupported }

// Watch is not there on this system.
type Watch struct{}

// Watch returns [ErrUnsupported].
func (p *Poller) Watch(syscall.Conn, Events, Listener) (*Watch, error) { return nil, ErrUnsupported }

// Close does nothing.
func (p *Poller) Close() {}

// Ask returns [ErrUnsupported].
func (w *Watch) Ask(Events) error { return ErrUnsupported }

// Spare returns [ErrUnsupported].
func (w *Watch) Spare(Events) error { return ErrUnsupported }

// Stop does nothing.
func (w *Watch) Stop() {}
