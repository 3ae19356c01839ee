package main

import (
	"context"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// Answers come at the pace of a model, after a while in which it thinks, and are
// whole.
func TestGenerate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct{ question, has string }{
			{"Does this survive a reload?", "## What happens"},
			{"Show me the Go code", "rt.Stream(ctx"},
			{"SSE or WebSockets?", "## Server-Sent Events"},
			{"Write a limerick about a lost connection", "> A socket that lived in a train\n"},
			{"What is 6 times 7?", "*What is 6 times 7?*"},
			{"{a|b} {question}", "*{a|b} {question}*"},
		} {
			began := time.Now()
			var text strings.Builder
			var first time.Duration
			n := 0
			for token := range generate(t.Context(), c.question) {
				if n++; n == 1 {
					first = time.Since(began)
				}
				text.WriteString(token)
			}
			took := time.Since(began) - first
			if pace := float64(n-1) / took.Seconds(); pace < 40 || pace > 80 || n < 200 || first < 300*time.Millisecond || first > 700*time.Millisecond {
				t.Errorf("%q: %d tokens, the first after %v, then %.0f a second", c.question, n, first, pace)
			}
			if !strings.Contains(text.String(), c.has) || strings.Contains(strings.ReplaceAll(text.String(), c.question, ""), "|") {
				t.Errorf("%q is answered with %q", c.question, text.String())
			}
		}
	})
}

// Nobody pays for tokens that nobody reads: it ends with its context, at once.
func TestGenerateStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		began := time.Now()
		n := 0
		for range generate(ctx, "Does this survive a reload?") {
			n++
		}
		if took := time.Since(began); took != 3*time.Second || n < 50 || n > 250 {
			t.Errorf("it ended after %v with %d tokens", took, n)
		}
		for range generate(t.Context(), "Show me the Go code") {
			break
		}
	})
}

// Every wording is one of those in braces, and no answer is too long to watch.
func TestAnswers(t *testing.T) {
	files, err := answers.ReadDir("answers")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		data, err := answers.ReadFile("answers/" + f.Name())
		if err != nil {
			t.Fatal(err)
		}
		texts := map[string]bool{}
		for range 10 {
			text := vary(string(data), "why?")
			texts[text] = true
			if got := strings.Join(slices.Collect(tokens(text)), ""); got != text {
				t.Errorf("%s: the tokens are not the text", f.Name())
			}
		}
		if left := regexp.MustCompile(`\{[^}\n]*\|`).FindString(vary(string(data), "")); len(texts) < 2 || left != "" {
			t.Errorf("%s: %d wordings, and %q is left", f.Name(), len(texts), left)
		}
		if n := len(slices.Collect(tokens(string(data)))); n > 700 {
			t.Errorf("%s: %d tokens", f.Name(), n)
		}
	}
}
