package storage

import (
	"mime"
	"path"
	"strings"
)

// opaque is the type of all content that is not known to be harmless.
const opaque = "application/octet-stream"

// inert maps extensions of files to types that a browser can show, embedded or by
// themselves, without running anything or guessing another type.
var inert = map[string]string{
	".png":  "image/png",
	".jpg":  "image/jpeg",
	".jpeg": "image/jpeg",
	".gif":  "image/gif",
	".webp": "image/webp",
	".avif": "image/avif",
	".mp4":  "video/mp4",
	".webm": "video/webm",
	".mp3":  "audio/mpeg",
	".m4a":  "audio/mp4",
	".ogg":  "audio/ogg",
	".oga":  "audio/ogg",
	".opus": "audio/ogg",
	".wav":  "audio/wav",
	".flac": "audio/flac",
	".txt":  "text/plain; charset=utf-8",
}

var inertTypes = func() map[string]string {
	types := map[string]string{}
	for _, typ := range inert {
		bare, _, _ := strings.Cut(typ, ";")
		types[bare] = typ
	}
	return types
}()

// typeOf returns the type of the object at a path by its extension.
func typeOf(name string) string {
	if typ, ok := inert[strings.ToLower(path.Ext(name))]; ok {
		return typ
	}
	return opaque
}

// shown returns the type with which a browser gets an object of the claimed type, and
// whether the browser may show it. Content that could run or be sniffed is opaque:
// pages, and also scripts, which another page of the site could load.
func shown(claimed string) (typ string, inline bool) {
	bare, _, err := mime.ParseMediaType(claimed)
	if err != nil {
		return opaque, false
	}
	if typ, inline = inertTypes[bare]; inline {
		return typ, true
	}
	return opaque, false
}
