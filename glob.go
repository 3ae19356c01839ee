package realtime

import (
	"fmt"
	"strings"

	"github.com/gobwas/glob"
	"github.com/gobwas/glob/syntax"
	"github.com/maravilla-realtime/realtime/internal/wire"
)

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

// matcher is the one method of the glob library's that is used. Its own types
// changed between versions, and a host may need another one than we do.
type matcher interface{ Match(string) bool }

type anything struct{}

func (anything) Match(string) bool { return true }

type exactly string

func (m exactly) Match(s string) bool { return s == string(m) }

type prefix string

func (m prefix) Match(s string) bool { return strings.HasPrefix(s, string(m)) }

// globbed is a pattern for the library, and the characters before what is
// special in it.
type globbed struct {
	matcher
	head string
}

// special are the characters that can mean something else than themselves.
const special = `*?[]{}\`

// compile returns a matcher of a pattern; "" matches everything.
func compile(pattern string) (matcher, error) {
	if pattern == "" || pattern == "*" {
		return anything{}, nil
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
		return nil, fmt.Errorf("%w %s: %w", ErrBadPattern, wire.Quote(pattern), err)
	}
	return globbed{m, pattern[:strings.IndexAny(pattern, special)]}, nil
}

// bounded refuses patterns that could take long to match. It counts what the
// library reads, in its own words: an escape or a class hides nothing of what comes
// after it.
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
			if last != syntax.Any && last != syntax.Super {
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

// literal returns the one string that m matches, if it is that simple.
func literal(m matcher) (string, bool) {
	s, ok := m.(exactly)
	return string(s), ok
}

// head returns what all strings that m matches begin with, as far as that is
// easily told.
func head(m matcher) string {
	switch m := m.(type) {
	case exactly:
		return string(m)
	case prefix:
		return string(m)
	case globbed:
		return m.head
	}
	return ""
}
