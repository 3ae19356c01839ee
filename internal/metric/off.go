//go:build nofigures

package metric

// On is false: see on.go.
const On = false
