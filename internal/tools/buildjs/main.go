// Buildjs bundles the browser SDK: client/js/src becomes client/js/dist/realtime.js.
// With -test it bundles the SDK's tests instead, for node --test. It runs from
// any directory of the repository.
package main

import (
	"bytes"
	"compress/gzip"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
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
	entry, err := os.ReadFile(filepath.Join(root, "src", "bundle.ts"))
	if err != nil {
		return err
	}
	js, err := bundle(root, string(entry), internalName)
	if err != nil {
		return err
	}
	dist := filepath.Join(root, "dist")
	if err := os.MkdirAll(dist, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dist, "realtime.js"), append([]byte(banner), js...), 0o644); err != nil {
		return err
	}
	return checkSizes(root)
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

// bundle returns the minified module that an entry, resolved in src, makes;
// properties whose names match mangle are renamed.
func bundle(root, entry, mangle string) ([]byte, error) {
	opts := options(root)
	opts.Stdin = &api.StdinOptions{Contents: entry, ResolveDir: filepath.Join(root, "src"), Loader: api.LoaderTS}
	opts.Platform = api.PlatformBrowser
	opts.MinifyWhitespace, opts.MinifyIdentifiers, opts.MinifySyntax = true, true, true
	opts.LegalComments = api.LegalCommentsNone
	opts.MangleProps = mangle
	files, err := build(opts)
	if err != nil {
		return nil, err
	}
	return files[0].Contents, nil
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
	opts.Write = true
	_, err = build(opts)
	return err
}

func options(root string) api.BuildOptions {
	return api.BuildOptions{
		AbsWorkingDir: root, Bundle: true, Format: api.FormatESModule, Target: api.ES2022, Charset: api.CharsetUTF8,
	}
}

func build(opts api.BuildOptions) ([]api.OutputFile, error) {
	result := api.Build(opts)
	if len(result.Errors) > 0 {
		lines := api.FormatMessages(result.Errors, api.FormatMessagesOptions{})
		return nil, errors.New(lines[0])
	}
	return result.OutputFiles, nil
}

// budgets are what a page that imports no more than this may have to load:
// minified, and compressed by gzip -9, in bytes.
var budgets = []struct {
	name, entry string
	most        int
}{
	{"RenClient", `export { RenClient } from "./index.ts"`, 2560},
	{"RealtimeClient", `export { RealtimeClient } from "./index.ts"`, 4096},
	{"both", `export { RenClient, RealtimeClient } from "./index.ts"`, 5120},
	{"both, shared by tabs", `export { RenClient, RealtimeClient } from "./index.ts"; export { shareTabs } from "./share.ts"`, 7500},
	{"everything", `export * from "./index.ts"; export { shareTabs } from "./share.ts"`, 8250},
}

// checkSizes prints what the parts of the SDK weigh, as bundled here and as a
// bundler makes them that does not shorten internal names, and fails if one of
// the former is over its budget.
func checkSizes(root string) (err error) {
	for _, part := range budgets {
		packed, e := weigh(root, part.entry, internalName)
		if e != nil {
			return e
		}
		plain, e := weigh(root, part.entry, "")
		if e != nil {
			return e
		}
		fmt.Printf("%-21s %5d bytes of %5d; %5d with long names\n", part.name, packed, part.most, plain)
		if packed > part.most {
			err = errors.Join(err, fmt.Errorf("%s is %d bytes over its budget", part.name, packed-part.most))
		}
	}
	return err
}

// weigh returns the size of the module that an entry makes, minified and
// compressed.
func weigh(root, entry, mangle string) (int, error) {
	js, err := bundle(root, entry, mangle)
	if err != nil {
		return 0, err
	}
	return gzipped(js)
}

func gzipped(data []byte) (int, error) {
	var buf bytes.Buffer
	w, err := gzip.NewWriterLevel(&buf, gzip.BestCompression)
	if err != nil {
		return 0, err
	}
	if _, err := w.Write(data); err != nil {
		return 0, err
	}
	if err := w.Close(); err != nil {
		return 0, err
	}
	return buf.Len(), nil
}
