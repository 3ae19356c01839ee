package realtime_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// logLine is one line that the library may log: its level, message and attributes.
type logLine struct{ level, message, attrs string }

func (l logLine) String() string {
	return fmt.Sprintf("- **%s** `%s` (%s)", l.level, l.message, l.attrs)
}

const logPage = "docs/logs.md"

// docs/logs.md lists each log line of the library, with its attributes, and nothing
// else; and all attributes.
func TestLogPage(t *testing.T) {
	t.Parallel()
	logged, listed := loggedLines(t, "."), listedLines(t)
	if len(logged) < 50 {
		t.Errorf("found %d calls of a logger only", len(logged))
	}
	attrs := map[string]bool{}
	for l, where := range logged {
		if _, ok := listed[l]; !ok {
			t.Errorf("%s: not on %s, which must have:\n%s", where, logPage, l)
		}
		for name := range strings.SplitSeq(l.attrs, ", ") {
			attrs[strings.Trim(name, "`")] = true
		}
	}
	for l, text := range listed {
		if logged[l] == "" {
			t.Errorf("%s has a line that is not logged:\n%s", logPage, l)
		}
		if !strings.Contains(text, "*Cause:* ") || !strings.Contains(text, "*Do:* ") {
			t.Errorf("%s does not say cause and remedy of\n%s", logPage, l)
		}
	}
	delete(attrs, "no attributes")
	if want, got := slices.Sorted(maps.Keys(attrs)), listedAttrs(t); !slices.Equal(got, want) {
		t.Errorf("the attributes on %s are\n%q, those that are logged\n%q", logPage, got, want)
	}
}

var logEntry = regexp.MustCompile("^- \\*\\*([A-Z]+)\\*\\* `([^`]+)` \\((.+)\\)\\\\$")

// listedLines returns the lines of the page, with what it says of each.
func listedLines(t *testing.T) map[logLine]string {
	listed, last := map[logLine]string{}, logLine{}
	for line := range strings.SplitSeq(readLogPage(t), "\n") {
		m := logEntry.FindStringSubmatch(line)
		switch {
		case m != nil:
			last = logLine{m[1], m[2], m[3]}
			if _, twice := listed[last]; twice {
				t.Errorf("%s has twice\n%s", logPage, last)
			}
			listed[last] = ""
		case strings.HasPrefix(line, "- **"):
			t.Errorf("%s: malformed: %s", logPage, line)
		case strings.HasPrefix(line, "  "):
			listed[last] += line + "\n"
		}
	}
	return listed
}

var attrRow = regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\|")

func listedAttrs(t *testing.T) (names []string) {
	for _, m := range attrRow.FindAllStringSubmatch(readLogPage(t), -1) {
		names = append(names, m[1])
	}
	return names
}

func readLogPage(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile(logPage)
	if err != nil {
		t.Fatal(err)
	}
	return string(page)
}

// loggedLines returns what the packages below dir log, with a place for each.
func loggedLines(t *testing.T, dir string) map[logLine]string {
	t.Helper()
	logged := map[logLine]string{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.IsDir() {
			return err
		}
		if _, err := os.Stat(filepath.Join(path, "go.mod")); err == nil && strings.HasPrefix(path, "internal/") ||
			slices.Contains([]string{"examples", "testdata", "node_modules", ".git"}, e.Name()) {
			return fs.SkipDir // tests, and hosts
		}
		return logCalls(path, logged)
	})
	if err != nil {
		t.Fatal(err)
	}
	return logged
}

// logCalls adds what the package in dir logs.
func logCalls(dir string, logged map[logLine]string) error {
	paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return err
	}
	x := logExtractor{fset: token.NewFileSet(), consts: map[string]ast.Expr{}, logged: logged}
	var files []*ast.File
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(x.fset, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		files = append(files, f)
		x.constants(f)
	}
	for _, f := range files {
		ast.Inspect(f, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok && x.err == nil {
				x.err = x.call(call)
			}
			return true
		})
	}
	return x.err
}

// logExtractor finds calls of loggers in one package. It knows them by the names of
// the methods; what else has such a method must be told apart in call.
type logExtractor struct {
	fset   *token.FileSet
	consts map[string]ast.Expr
	logged map[logLine]string
	err    error
}

func (x *logExtractor) constants(f *ast.File) {
	for _, d := range f.Decls {
		if d, ok := d.(*ast.GenDecl); ok && d.Tok == token.CONST {
			for _, s := range d.Specs {
				for i, name := range s.(*ast.ValueSpec).Names {
					if values := s.(*ast.ValueSpec).Values; i < len(values) {
						x.consts[name.Name] = values[i]
					}
				}
			}
		}
	}
}

var logMethod = regexp.MustCompile("^(Debug|Info|Warn|Error)(Context)?$")

func (x *logExtractor) call(call *ast.CallExpr) error {
	f, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || len(call.Args) == 0 {
		return nil // as err.Error()
	}
	of := lastName(f.X)
	m := logMethod.FindStringSubmatch(f.Sel.Name)
	where := x.fset.Position(call.Pos()).String()
	switch {
	case of == "http" || of == "t": // http.Error, testing.TB
		return nil
	case of == "guard" && f.Sel.Name == "Log":
		return x.line(where, "ERROR", call.Args[1], call.Args[3:], "panic", "stack")
	case strings.Contains(where, "internal/host/guard/"): // it logs what it is given
		return nil
	case f.Sel.Name == "LogAttrs", f.Sel.Name == "Log" && len(call.Args) > 2:
		return fmt.Errorf("%s: call Debug, Info, Warn or Error, so that %s can be checked", where, logPage)
	case m == nil:
		return nil
	case m[2] != "":
		return x.line(where, strings.ToUpper(m[1]), call.Args[1], call.Args[2:])
	}
	return x.line(where, strings.ToUpper(m[1]), call.Args[0], call.Args[1:])
}

// lastName returns the name of a variable, field or package.
func lastName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	}
	return ""
}

// line adds a line with a message, with pairs of attributes, and more of them.
func (x *logExtractor) line(where, level string, message ast.Expr, pairs []ast.Expr, attrs ...string) error {
	text, err := x.text(message)
	for i := 0; i < len(pairs) && err == nil; i += 2 {
		var name string
		if name, err = x.text(pairs[i]); err == nil {
			attrs = append(attrs, name)
		}
	}
	if err != nil {
		return fmt.Errorf("%s: the message and the names of the attributes must be constants: %w", where, err)
	}
	l := logLine{level, text, "no attributes"}
	if len(attrs) > 0 {
		slices.Sort(attrs)
		l.attrs = "`" + strings.Join(attrs, "`, `") + "`"
	}
	x.logged[l] = where
	return nil
}

// text returns the value of a constant.
func (x *logExtractor) text(e ast.Expr) (string, error) {
	switch e := e.(type) {
	case *ast.BasicLit:
		return strconv.Unquote(e.Value)
	case *ast.BinaryExpr:
		left, err := x.text(e.X)
		if err != nil {
			return "", err
		}
		right, err := x.text(e.Y)
		return left + right, err
	case *ast.Ident:
		if value := x.consts[e.Name]; value != nil {
			return x.text(value)
		}
	}
	return "", fmt.Errorf("%T is none", e)
}
