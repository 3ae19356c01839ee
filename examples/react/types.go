package main

//go:generate go test -run TestTypes . -update

// What the server and its page say to each other. src/types.ts has it in
// TypeScript.

// person is a user, as a page names itself.
type person struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// card is something to do.
type card struct {
	ID   string `json:"id"`
	Text string `json:"text"`
	Done bool   `json:"done"`
	By   person `json:"by"` // who changed it last
}

// status is whether somebody may be disturbed.
type status string

const (
	free status = "free"
	busy status = "busy"
)

// profile is what a team sees of those who are present.
type profile struct {
	Name   string `json:"name"`
	Status status `json:"status"`
}

// say and cheer are what is published to the talk, by the pages themselves.
type (
	say struct {
		Type string `json:"type"` // "say"
		By   person `json:"by"`
		Text string `json:"text"`
	}
	cheer struct {
		Type string `json:"type"` // "cheer"
		By   person `json:"by"`
		Sign sign   `json:"sign"`
	}
	sign string
)

const (
	heart sign = "♥"
	star  sign = "★"
	smile sign = "☺"
)
