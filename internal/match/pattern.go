// Package match finds what events are for: patterns of names, selectors of events,
// and an index of selectors.
package match

import (
	"errors"
	"fmt"
	"strings"

	"github.com/gobwas/glob"
	"github.com/gobwas/glob/syntax"
	"github.com/maravilla-realtime/realtime/internal/fault"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

// ErrBadPattern: a pattern cannot be compiled or may take too long to match.
var ErrBadPattern = errors.New("realtime: bad pattern")

// A pattern matches names: '*' any run of characters, ':' included, '?' one
// character, [a-z] one of a class, {a,b} one of several, '\' escapes. As in
// Redis, there are no separators.
//
// Time to match grows with a power of the wildcards (with gobwas/glob v1.1.0 six
// of them take seconds against 128 bytes), and with the product of the numbers of
// alternatives, and names come from clients, so what a pattern may hold is bounded.
const (
	maxPattern   = 128 // bytes
	maxWildcards = 3   // runs of '*', and groups of alternatives
	maxChoices   = 64  // ways to choose one alternative of each group
)

// Pattern is a compiled pattern. It is the one method of the glob library's that is
// used: its own types changed between versions, and a host may need another one than
// we do.
type Pattern interface{ Match(string) bool }

type exactly string

func (m exactly) Match(s string) bool { return s == string(m) }

type prefix string

func (m prefix) Match(s string) bool { return strings.HasPrefix(s, string(m)) }

// globbed is a pattern for the library, and the characters before what is
// special in it.
type globbed struct {
	Pattern
	head string
}

// special are the characters that can mean something else than themselves.
const special = `*?[]{}\`

// Compile compiles a pattern; "" matches everything. The error is [ErrBadPattern].
func Compile(pattern string) (Pattern, error) {
	if pattern == "" {
		return prefix(""), nil
	}
	if i := strings.IndexAny(pattern, special); i < 0 {
		return exactly(pattern), nil
	} else if i == len(pattern)-1 && pattern[i] == '*' {
		return prefix(pattern[:i]), nil
	}
	if err := bounded(pattern); err != nil {
		return nil, err
	}
	m, err := glob.Compile(pattern)
	if err != nil {
		return nil, fault.Errorf("%w %s: %w", ErrBadPattern, wire.Quote(pattern), err)
	}
	return globbed{m, pattern[:strings.IndexAny(pattern, special)]}, nil
}

// bounded refuses patterns that could take long to match. It counts the characters as the
// library reads them, so an escape or a class cannot hide a wildcard after it.
func bounded(pattern string) error {
	wildcards, depth := 0, 0
	alternatives, choices := 1, 1
	lexer := syntax.NewLexer(pattern)
	for last := syntax.EOF; ; {
		token := lexer.Next().Type
		switch token {
		case syntax.EOF, syntax.Error: // the error is for Compile to explain
			if len(pattern) > maxPattern || wildcards > maxWildcards || choices > maxChoices {
				return fmt.Errorf("%w %s: more than %d bytes, %d wildcards or %d combinations of alternatives",
					ErrBadPattern, wire.Quote(pattern), maxPattern, maxWildcards, maxChoices)
			}
			return nil
		case syntax.Any, syntax.Super:
			if last != syntax.Super { // a run is read two by two
				wildcards++
			}
			if depth > 0 {
				return fmt.Errorf("%w %s: '*' within {}", ErrBadPattern, wire.Quote(pattern))
			}
		case syntax.TermsOpen:
			wildcards++
			if depth++; depth > 1 {
				return fmt.Errorf("%w %s: {} within {}", ErrBadPattern, wire.Quote(pattern))
			}
			alternatives = 1
		case syntax.TermSeparator:
			alternatives++
		case syntax.TermsClose:
			depth--
			choices = min(choices*alternatives, maxChoices+1)
		}
		last = token
	}
}

// Literal returns the one string that p matches, if it is that simple.
func Literal(p Pattern) (string, bool) {
	s, ok := p.(exactly)
	return string(s), ok
}

// head returns what all strings that p matches begin with, as far as that is
// easily told of one that is not literal.
func head(p Pattern) string {
	switch p := p.(type) {
	case prefix:
		return string(p)
	case globbed:
		return p.head
	}
	return ""
}
