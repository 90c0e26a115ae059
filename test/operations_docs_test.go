package test

import (
	"io/fs"
	"os"
	"path"
	"strings"
	"testing"

	"wimcast/test/docs"
)

// TestOperationsDocsLinks holds every relative link of README.md and docs/*.md: the file is there, and has the heading.
func TestOperationsDocsLinks(t *testing.T) {
	root := os.DirFS("..")
	pages, err := fs.Glob(root, "docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	pages = append(pages, "README.md", "CHANGELOG.md")
	read := func(name string) string {
		text, err := fs.ReadFile(root, name)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	for _, page := range pages {
		for _, target := range docs.Links(read(page)) {
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			file, anchor, _ := strings.Cut(target, "#")
			name := page
			if file != "" {
				name = path.Join(path.Dir(page), file)
			}
			if _, err := fs.Stat(root, name); err != nil {
				t.Errorf("%s: link to %s: %v", page, target, err)
				continue
			}
			if anchor != "" && !docs.Anchors(read(name))[anchor] {
				t.Errorf("%s: link to %s: %s has no such heading", page, target, name)
			}
		}
	}
}
