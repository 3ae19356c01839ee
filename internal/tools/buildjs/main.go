// Buildjs builds the browser SDK: client/js/src becomes the modules in client/js/lib,
// which npm gets, and these client/js/dist/realtime.js. With -test it bundles the
// SDK's tests instead, for node --test. It runs from any directory of the repository.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/evanw/esbuild/pkg/api"
)

// internalName matches the properties that only the SDK itself knows, which are
// therefore shortened: no member of the public API, of the wire, of what tabs say
// to each other (they may have loaded different versions), or of the platform.
const internalName = "[a-z]_$"

const banner = "/*! Maravilla Realtime, browser client. MIT License. */\n"

func main() {
	tests := flag.String("test", "", "bundle the tests into this `directory`")
	flag.Parse()
	if err := run(*tests); err != nil {
		fmt.Fprintln(os.Stderr, "buildjs:", err)
		os.Exit(1)
	}
}

func run(tests string) error {
	root, err := findRoot()
	if err != nil {
		return err
	}
	if tests != "" {
		return bundleTests(root, tests)
	}
	if err := compile(root); err != nil {
		return err
	}
	entry, err := os.ReadFile(filepath.Join(root, "src", "bundle.ts"))
	if err != nil {
		return err
	}
	js, err := bundle(root, string(entry))
	if err != nil {
		return err
	}
	dist := filepath.Join(root, "dist")
	if err := os.MkdirAll(dist, 0o755); err != nil {
		return err
	}
	file, built := filepath.Join(dist, "realtime.js"), append([]byte(banner), js...)
	// A build of Go beside this one must not find half of it.
	if old, err := os.ReadFile(file); err != nil || !bytes.Equal(old, built) {
		if err := os.WriteFile(file, built, 0o644); err != nil {
			return err
		}
	}
	return checkSizes(root)
}

// compile writes a module to lib for each one in src, with a map to its source.
func compile(root string) error {
	// What is gone from src would still be published.
	if err := os.RemoveAll(filepath.Join(root, "lib")); err != nil {
		return err
	}
	opts := options(root)
	opts.Outbase, opts.Outdir = "src", "lib"
	opts.External = []string{"react"}
	opts.MangleProps = internalName
	for _, pattern := range []string{"*.ts", "share/*.ts"} {
		sources, err := filepath.Glob(filepath.Join(root, "src", pattern))
		if err != nil {
			return err
		}
		opts.EntryPoints = append(opts.EntryPoints, sources...)
	}
	// The first build chooses the short names, of which the modules, each compiled
	// by itself, have to be told.
	opts.MangleCache = map[string]any{}
	all := opts.EntryPoints
	opts.EntryPoints = []string{filepath.Join(root, "src", "index.ts")}
	names, err := build(opts)
	if err != nil {
		return err
	}
	opts.MangleCache = names.MangleCache
	opts.EntryPoints = all
	names, err = build(opts)
	if err != nil {
		return err
	}
	opts.MangleCache = names.MangleCache
	opts.Bundle, opts.External = false, nil
	opts.Sourcemap, opts.SourcesContent = api.SourceMapLinked, api.SourcesContentExclude // npm gets src, too
	opts.Write = true
	_, err = build(opts)
	return err
}

// findRoot returns the directory client/js of the repository that the working
// directory is in.
func findRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		root := filepath.Join(dir, "client", "js")
		switch _, err := os.Stat(filepath.Join(root, "src", "index.ts")); {
		case err == nil:
			return root, nil
		case !errors.Is(err, fs.ErrNotExist):
			return "", err
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("no client/js/src/index.ts here or above")
		}
		dir = parent
	}
}

// bundle returns the minified module that an entry, resolved in lib, makes.
func bundle(root, entry string) ([]byte, error) {
	opts := options(root)
	opts.Stdin = &api.StdinOptions{Contents: entry, ResolveDir: filepath.Join(root, "lib")}
	opts.Platform = api.PlatformBrowser
	opts.MinifyWhitespace, opts.MinifyIdentifiers, opts.MinifySyntax = true, true, true
	opts.LegalComments = api.LegalCommentsNone
	built, err := build(opts)
	if err != nil {
		return nil, err
	}
	return minify(built.OutputFiles[0].Contents)
}

// minify minifies a bundle once more: the names that bundling has given are shared with
// what it has left out in the end.
func minify(js []byte) ([]byte, error) {
	again := api.Transform(string(js), api.TransformOptions{
		MinifyWhitespace: true, MinifyIdentifiers: true, MinifySyntax: true,
		Format: api.FormatESModule, Target: api.ES2022, Charset: api.CharsetUTF8,
	})
	if len(again.Errors) > 0 {
		return nil, errors.New(api.FormatMessages(again.Errors, api.FormatMessagesOptions{})[0])
	}
	return again.Code, nil
}

// bundleTests writes one module for each test file to dir.
func bundleTests(root, dir string) error {
	entries, err := filepath.Glob(filepath.Join(root, "test", "*.test.ts"))
	if err != nil {
		return err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	// The bundles of tests that are gone would still run.
	old, err := filepath.Glob(filepath.Join(dir, "*.test.mjs"))
	if err != nil {
		return err
	}
	for _, name := range old {
		if err := os.Remove(name); err != nil {
			return err
		}
	}
	opts := options(root)
	opts.EntryPoints = entries
	opts.Outdir = dir
	opts.OutExtension = map[string]string{".js": ".mjs"}
	opts.Platform = api.PlatformNode
	opts.External = []string{"ws"} // CommonJS, of which no module can be made
	opts.Write = true
	_, err = build(opts)
	return err
}

func options(root string) api.BuildOptions {
	return api.BuildOptions{
		AbsWorkingDir: root, Bundle: true, Format: api.FormatESModule, Target: api.ES2022, Charset: api.CharsetUTF8,
	}
}

func build(opts api.BuildOptions) (api.BuildResult, error) {
	result := api.Build(opts)
	if len(result.Errors) > 0 {
		lines := api.FormatMessages(result.Errors, api.FormatMessagesOptions{})
		return result, errors.New(lines[0])
	}
	return result, nil
}

// budgets are what a page that imports no more than this may have to load, in bytes:
// minified by esbuild, and compressed by the program gzip at level 9, as servers do. KB
// are of 1,024.
var budgets = []struct {
	name, entry string
	most        int
}{
	{"RenClient", `export { RenClient } from "./index.js"`, 3072},
	{"RealtimeClient", `export { RealtimeClient } from "./index.js"`, 5120},
	{"with history", `export { RealtimeClient } from "./index.js"; import "./history.js"`, 5888},
	{"with ephemeral", `export { RealtimeClient } from "./index.js"; import "./ephemeral.js"`, 5408},
	{"RenClient with every", `export { RenClient } from "./index.js"; import "./every.js"`, 3456},
	{"with streams", `export { RealtimeClient } from "./index.js"; import "./stream.js"`, 6144},
	{"both", `export { RenClient, RealtimeClient } from "./index.js"`, 6656},
	{"both, shared by tabs", `export { RenClient, RealtimeClient } from "./index.js"; export { shareTabs } from "./share.js"`, 9216},
	{"both, with load", `export { RenClient, RealtimeClient } from "./index.js"; export { enableLoad } from "./load.js"`, 7168},
	{"RenClient, useQuery", `export { RenClient } from "./index.js"; export { queryStore } from "./stores.js"`, 3840},
	{"TanStack Query", `export { invalidateQueries } from "./query.js"`, 1024},
	{"SWR", `export { revalidateSWR } from "./query.js"`, 1024},
	{"everything", `export * from "./index.js"; export { shareTabs } from "./share.js"`, 10368},
	{"realtime.js", `export * from "./index.js"; export { shareTabs } from "./share.js"; import "./history.js"; import "./ephemeral.js"; import "./every.js"; import "./stream.js"`, 12288},
}

// checkSizes prints what the parts of the SDK weigh, and fails if one is over its
// budget.
func checkSizes(root string) (err error) {
	for _, part := range budgets {
		js, e := bundle(root, part.entry)
		if e != nil {
			return e
		}
		size, e := gzipped(js)
		if e != nil {
			return e
		}
		fmt.Printf("%-21s %5d bytes of %5d\n", part.name, size, part.most)
		if size > part.most {
			err = errors.Join(err, fmt.Errorf("%s is %d bytes over its budget", part.name, size-part.most))
		}
	}
	return err
}

// gzipped returns how many bytes gzip -9 makes of data.
func gzipped(data []byte) (int, error) {
	gzip := exec.Command("gzip", "-9", "-n")
	gzip.Stdin = bytes.NewReader(data)
	out, err := gzip.Output()
	if err != nil {
		return 0, fmt.Errorf("gzip -9: %w", err)
	}
	return len(out), nil
}
