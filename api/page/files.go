package page

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"net/http"
	"path"
	"time"
)

// static holds the page's files as they go out.
//
//go:embed static
var static embed.FS

// file is one of them.
type file struct {
	mediaType string
	etag      string
	content   []byte
}

// mediaTypes of the files, by the ends of their names.
func mediaTypes() map[string]string {
	return map[string]string{".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
}

// files returns the files by their paths in a URL; index.html is "/".
func files() map[string]file {
	out := map[string]file{}
	err := fs.WalkDir(static, "static", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := static.ReadFile(name)
		if err != nil {
			return err
		}
		at := name[len("static"):]
		if at == "/index.html" {
			at = "/"
		}
		sum := sha256.Sum256(content)
		kind := mediaTypes()[path.Ext(name)]
		if kind == "" {
			panic("page: no media type for " + name)
		}
		out[at] = file{mediaType: kind, etag: `"` + hex.EncodeToString(sum[:12]) + `"`, content: content}
		return nil
	})
	if err != nil {
		panic("page: " + err.Error()) // what is embedded can be read
	}
	return out
}

// serve answers with the file. A browser asks each time whether it is still so (no-cache), so that a newer daemon never gets an older script.
func (f file) serve(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", f.mediaType)
	h.Set("Etag", f.etag)
	h.Set("Cache-Control", "no-cache")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(f.content))
}
