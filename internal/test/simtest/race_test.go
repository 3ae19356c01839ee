//go:build race

package simtest

// usual is how many seeds are tried unless -seeds says so. With the race detector a seed
// takes six times as long, and all seeds run the same code: fewer show the same races.
const usual = 40
