package fault

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// verb is what fmt fills in; pages show it as "...".
var verb = regexp.MustCompile(`%[.+#0-9]*[a-zA-Z]|%%`)

// said is what of a string is always the same, at least so many bytes of it: what a page can be searched for.
func said(text string) []string {
	const telling = 12
	var parts []string
	for _, part := range verb.Split(text, -1) {
		if part = strings.Trim(part, " :,;()"); len(part) >= telling {
			parts = append(parts, part)
		}
	}
	return parts
}

// TestSentencesAreDocumented holds that docs/operations.md, "By symptom", has every sentence of a fault, so that whoever searches it for what a
// screen says finds the row.
func TestSentencesAreDocumented(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(page), "\n## By symptom\n")
	if !ok {
		t.Fatal("docs/operations.md has no section By symptom")
	}
	found := 0
	set := token.NewFileSet()
	for _, name := range files {
		file, err := parser.ParseFile(set, filepath.Clean(name), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			fault, is := n.(*ast.CompositeLit)
			if !is || len(fault.Elts) < 2 {
				return true
			}
			if kind, is := fault.Type.(*ast.Ident); !is || kind.Name != "Fault" {
				return true
			}
			element := fault.Elts[1]
			if pair, is := element.(*ast.KeyValueExpr); is {
				element = pair.Value
			}
			ast.Inspect(element, func(n ast.Node) bool {
				literal, is := n.(*ast.BasicLit)
				if !is || literal.Kind != token.STRING {
					return true
				}
				text, err := strconv.Unquote(literal.Value)
				if err != nil {
					t.Fatal(err)
				}
				for _, part := range said(text) {
					found++
					if !strings.Contains(table, part) {
						t.Errorf("%v: docs/operations.md, \"By symptom\", lacks %q", set.Position(literal.Pos()), part)
					}
				}
				return true
			})
			return true
		})
	}
	if found < 40 {
		t.Errorf("%d parts of sentences found: the search is broken", found)
	}
}
