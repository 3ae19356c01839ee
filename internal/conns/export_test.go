package conns

// Waits reports whether the context keeps anything for those who wait for its end.
func (c *Context) Waits() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.waiting != nil || c.done != nil
}
