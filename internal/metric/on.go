//go:build !nofigures

package metric

// On is false in a build with the tag nofigures, which counts nothing. It is for
// bench/figures.sh, which measures what counting costs.
const On = true
