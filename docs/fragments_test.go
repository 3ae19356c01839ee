package docs_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/maravilla-realtime/realtime"

// packages are those that code in documents may use without an import, by name.
var packages = map[string]string{
	"realtime": module, "kv": module + "/kv", "db": module + "/db", "storage": module + "/storage", "client": module + "/client",
	"backend": module + "/backend", "backendtest": module + "/backendtest", "kvtest": module + "/kv/kvtest", "storagetest": module + "/storage/storagetest",
	"inspector": module + "/inspector", "realtimetest": module + "/realtimetest", "tsgen": module + "/tsgen", "otel": module + "/metrics/otel",
	"postgres": module + "/postgres", "redisbackend": module + "/redisbackend", "natsbackend": module + "/natsbackend", "embedded": module + "/natsbackend/embedded",
	"rueidis": "github.com/redis/rueidis", "pgx": "github.com/jackc/pgx/v5", "fnv": "hash/fnv", "http": "net/http", "signal": "os/signal",
	"context": "context", "errors": "errors", "flag": "flag", "fmt": "fmt", "io": "io", "log": "log", "os": "os", "sql": "database/sql",
	"strings": "strings", "synctest": "testing/synctest", "syscall": "syscall", "testing": "testing", "time": "time",
}

// known declares what code in documents takes for granted.
const known = `package p

import ("context"; "database/sql"; "net/http"; "testing"; "github.com/jackc/pgx/v5/pgxpool"
	"github.com/maravilla-realtime/realtime"; "github.com/maravilla-realtime/realtime/realtimetest")

var (
	t      *testing.T
	ctx    context.Context
	rt     *realtime.Realtime
	policy realtime.Policy
	opts   *realtime.Options
	mux    *http.ServeMux
	srv    *realtimetest.Server
	sqlDB  *sql.DB
	pool   *pgxpool.Pool
	w      http.ResponseWriter
	r      *http.Request
	id, title, url string
)

var _ = realtime.Wrong // which the test must be told
`

// hostsOwn are the errors of code that leaves out what the host has: its names, uses and returns.
var hostsOwn = regexp.MustCompile(`: undefined: \w+$|: declared and not used|: missing return|: not enough return values|^\s|^#|too many errors`)

// Fragments of Go code use the packages as they are. What they leave out is not looked at.
func TestGoFragments(t *testing.T) {
	dir := t.TempDir()
	files := []string{filepath.Join(dir, "known.go")}
	if err := os.WriteFile(files[0], []byte(known), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, d := range documents(t) {
		for _, b := range d.code {
			if b.language != "go" || strings.HasPrefix(b.text, "package ") {
				continue
			}
			text := fragment(d.path, b.line, strings.ReplaceAll(b.text, "…", ""), len(files))
			files = append(files, filepath.Join(dir, fmt.Sprintf("f%d.go", len(files))))
			if err := os.WriteFile(files[len(files)-1], []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(files) < 20 {
		t.Errorf("the documents have %d fragments only", len(files)-1)
	}
	build := exec.CommandContext(t.Context(), "go", append([]string{"build", "-gcflags=-e", "-o", os.DevNull}, files...)...)
	build.Dir, build.Env = root, append(os.Environ(), "GOWORK=") // documents speak of all modules
	out, _ := build.CombinedOutput()                             // it fails: the fragments are not whole
	if !strings.Contains(string(out), "undefined: realtime.Wrong") {
		t.Errorf("the compiler did not read the fragments: %s", out)
	}
	for line := range strings.Lines(string(out)) {
		line = strings.TrimRight(line, "\n")
		if strings.HasPrefix(line, "go: downloading ") || hostsOwn.MatchString(line) || strings.HasSuffix(line, "realtime.Wrong") {
			continue
		}
		t.Error(line)
	}
}

// fragment makes a file of what a document shows, as declarations, statements or fields.
func fragment(path string, line int, code string, number int) string {
	for _, around := range []string{"%s", "func _() error {\n%s\n}", "func _() { _ = realtime.Policy{\n%s\n} }"} {
		text := fmt.Sprintf(around, fmt.Sprintf("//line %s:%d\n%s", path, line+1, code))
		file, err := parser.ParseFile(token.NewFileSet(), "", "package p\n"+text, parser.SkipObjectResolution)
		if err != nil {
			continue
		}
		imports := map[string]string{}
		ast.Inspect(file, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok {
				if x, ok := s.X.(*ast.Ident); ok && packages[x.Name] != "" {
					imports[x.Name] = packages[x.Name]
				}
			}
			return true
		})
		head := "package p\n"
		for _, name := range slices.Sorted(maps.Keys(imports)) {
			head += fmt.Sprintf("import %s %q\n", name, imports[name])
		}
		return head + text
	}
	return fmt.Sprintf("package p // %s:%d is no Go, which TestGoCode tells; %d", path, line, number)
}
