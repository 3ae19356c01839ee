// Buildpage bundles a page of the examples that is written in TypeScript:
// DIR/src/main.tsx becomes DIR/page/app.js. The npm packages must be installed in
// DIR.
//
//	go run ./internal/tools/buildpage [-dev] [-main FILE] [-o FILE] DIR
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"github.com/evanw/esbuild/pkg/api"
)

func main() {
	dev := flag.Bool("dev", false, "build for development: React warns, StrictMode mounts twice, and errors have lines")
	main := flag.String("main", "src/main.tsx", "begin with this `file` of DIR")
	out := flag.String("o", "", "write to this `file`, not to page/app.js")
	flag.Parse()
	if flag.NArg() != 1 {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(flag.Arg(0), *main, *out, *dev); err != nil {
		fmt.Fprintln(os.Stderr, "buildpage:", err)
		os.Exit(1)
	}
}

func run(dir, main, out string, dev bool) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	js, err := bundle(dir, main, dev)
	if err != nil {
		return err
	}
	if out == "" {
		out = filepath.Join(dir, "page", "app.js")
	}
	fmt.Printf("%s: %d bytes\n", filepath.Base(out), len(js))
	// A build of Go beside this one must not find half of it.
	if old, err := os.ReadFile(out); err == nil && bytes.Equal(old, js) {
		return nil
	}
	return os.WriteFile(out, js, 0o644)
}

func bundle(dir, main string, dev bool) ([]byte, error) {
	opts := api.BuildOptions{
		AbsWorkingDir: dir, EntryPoints: []string{main},
		Bundle: true, Format: api.FormatESModule, Target: api.ES2022, Platform: api.PlatformBrowser, Charset: api.CharsetUTF8,
		LegalComments: api.LegalCommentsEndOfFile, // React's license wants to be told
		Define:        map[string]string{"process.env.NODE_ENV": `"production"`},
		External:      []string{"/api/maravilla/realtime.js"},
		Alias: map[string]string{
			"@maravilla-realtime/client/react": "../../client/js/src/react.ts",
			"@maravilla-realtime/client":       "/api/maravilla/realtime.js", // the server has it, for all pages
			"react":                            "./node_modules/react",       // one copy for all that import it
		},
	}
	if dev {
		opts.Define["process.env.NODE_ENV"] = `"development"`
		opts.Sourcemap = api.SourceMapInline
	} else {
		opts.MinifyWhitespace, opts.MinifyIdentifiers, opts.MinifySyntax = true, true, true
	}
	result := api.Build(opts)
	if len(result.Errors) > 0 {
		return nil, errors.New(api.FormatMessages(result.Errors, api.FormatMessagesOptions{})[0])
	}
	return result.OutputFiles[0].Contents, nil
}
