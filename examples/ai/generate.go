package main

import (
	"context"
	"embed"
	"iter"
	"math/rand/v2"
	"regexp"
	"strings"
	"time"

	"github.com/maravilla-realtime/realtime/examples/internal/web"
)

//go:embed answers
var answers embed.FS

// subjects are what the generator knows of, each with the words of a question that
// lead to it.
var subjects = []struct {
	file  string
	words *regexp.Regexp
}{
	{"code", regexp.MustCompile(`(?i)\b(go|golang|code|example|function|react|write it|server)\b`)},
	{"limerick", regexp.MustCompile(`(?i)\b(poem|limerick|haiku|rhyme|verse|song)`)},
	{"sse", regexp.MustCompile(`(?i)\b(sse|server-sent|websockets?|polling|transport|http)\b`)},
	{"reload", regexp.MustCompile(`(?i)\b(reload|refresh|survive|reconnect|resume|network|closes?)`)},
}

// A generate stands where the client library of a model would: it yields an answer in
// pieces of some letters, at the pace of a model, until the answer or ctx ends.
func generate(ctx context.Context, question string) iter.Seq[string] {
	return func(yield func(string) bool) {
		wait := time.Duration(300+rand.IntN(400)) * time.Millisecond // it thinks
		for token := range tokens(compose(question)) {
			select {
			case <-ctx.Done():
				return
			case <-time.After(wait):
			}
			if !yield(token) {
				return
			}
			wait = web.Slow(time.Duration(12500+rand.IntN(12500)) * time.Microsecond) // 40 to 80 a second
		}
	}
}

// compose writes an answer.
func compose(question string) string {
	file := "other"
	for _, s := range subjects {
		if s.words.MatchString(question) {
			file = s.file
			break
		}
	}
	text, err := answers.ReadFile("answers/" + file + ".md")
	if err != nil {
		panic(err) // the files above are part of the program
	}
	return vary(string(text), question)
}

// choice is where an answer has several wordings: "{one|another}".
var choice = regexp.MustCompile(`\{[^{}\n]*\|[^{}\n]*\}`)

// vary makes a text of one that has choices.
func vary(text, question string) string {
	text = choice.ReplaceAllStringFunc(text, func(s string) string {
		options := strings.Split(s[1:len(s)-1], "|")
		return options[rand.IntN(len(options))]
	})
	return strings.ReplaceAll(text, "{question}", question)
}

// token is what a tokeniser makes of English, more or less: a word or a part of a long
// one, with the space before it.
var token = regexp.MustCompile(`\s?[\p{L}\p{N}]{1,5}|\s|.`)

// tokens cuts a text into pieces, of which it is the sum.
func tokens(text string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, piece := range token.FindAllString(text, -1) {
			if !yield(piece) {
				return
			}
		}
	}
}
