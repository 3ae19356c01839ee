package tsgen

import (
	"bytes"
	"fmt"
	"os"
)

// Generate returns the TypeScript module of a schema: the declarations of its
// types, and the exported types Channels, Presences and Events. The same schema
// gives the same bytes.
//
// It refuses, with an error that says where, what cannot be sent (a bad channel
// or event name, a type that encoding/json cannot encode) and what TypeScript
// could not tell apart (two types of one name).
func Generate(s Schema) ([]byte, error) {
	src, err := generate(s)
	if err != nil {
		return nil, fmt.Errorf("tsgen: %w", err)
	}
	return src, nil
}

// WriteFile writes the module of a schema to a file, which is left alone if the
// schema is refused. The file's name ends in .d.ts or .ts.
func WriteFile(name string, s Schema) error {
	src, err := Generate(s)
	if err != nil {
		return err
	}
	return os.WriteFile(name, src, 0o644)
}

// Check returns an error if a file is not what [WriteFile] would write; the line
// ends that git writes on Windows are no difference.
func Check(name string, s Schema) error {
	want, err := Generate(s)
	if err != nil {
		return err
	}
	got, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	got = bytes.ReplaceAll(got, []byte("\r\n"), []byte("\n"))
	if bytes.Equal(got, want) {
		return nil
	}
	gotLines, wantLines := bytes.Split(got, []byte("\n")), bytes.Split(want, []byte("\n"))
	line := 0
	for line < min(len(gotLines), len(wantLines)) && bytes.Equal(gotLines[line], wantLines[line]) {
		line++
	}
	return fmt.Errorf("tsgen: %s is stale from line %d on: run go generate", name, line+1)
}
