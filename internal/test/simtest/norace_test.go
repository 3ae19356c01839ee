//go:build !race

package simtest

// usual is how many seeds are tried unless -seeds says so.
const usual = 200
