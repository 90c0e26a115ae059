package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// command finds a command line: the program's name where code or a hint begins, and
// what stands behind it up to the end of the line, of the code span, or of a parenthesis.
var command = regexp.MustCompile("(?m)(?:^|: )[ `]*(?:# )?(?:dist/)?wimcast(?:\\.exe)? ([^\n`|;)]+)")

// span finds code in Markdown: spans, and indented lines.
var span = regexp.MustCompile("(?m)`[^`\n]+`|^    .+$")

// real reports what is wrong with a command line, or "".
func real(root *kong.Node, line string) string {
	node := root
	flags := map[string]bool{"--help": true}
	valued := map[string]bool{} // flags whose value is the next word
	learn := func(n *kong.Node) {
		for _, f := range n.Flags {
			flags["--"+f.Name], valued["--"+f.Name] = true, !f.IsBool()
			if f.Short != 0 {
				flags["-"+string(f.Short)], valued["-"+string(f.Short)] = true, !f.IsBool()
			}
			if f.Tag.Negatable != "" {
				flags["--no-"+f.Name] = true
			}
		}
	}
	learn(root)
	value := false
	line, options, handed := strings.Cut(line, " -- ")
	for word := range strings.FieldsSeq(line) {
		word = strings.Trim(word, ",.:")
		if value {
			value = false
			continue
		}
		if strings.HasPrefix(word, "-") {
			name, _, whole := strings.Cut(word, "=")
			if !flags[name] {
				return "no flag " + word
			}
			value = valued[name] && !whole
			continue
		}
		if len(node.Children) == 0 {
			continue // an argument, or prose behind the command
		}
		var next *kong.Node
		for _, child := range node.Children {
			if child.Name == word {
				next = child
			}
		}
		if next == nil {
			return "no command " + word
		}
		node = next
		learn(node)
	}
	if handed { // to what the start line of a boot image runs
		return real(root, "winpe run "+options)
	}
	return ""
}

// TestCommandsThatAreNamed in documents and in hints of the programs exist.
func TestCommandsThatAreNamed(t *testing.T) {
	cli, err := kong.New(&commands{})
	if err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string]string{
		"burn": "no command burn", "doctor --json": "", "image verify w11": "", "image burn": "no command burn", "get w11 --bundle x": "", "get w11 --bunde x": "no flag --bunde",
		"image": "", "--bundle x image burn": "no command burn", "--bundle=x --json image list": "", "image set w11 --no-multicast-only": "", "winpe inject boot.wim -- --volume x": "", "winpe inject boot.wim -- --volum x": "no flag --volum",
		"bundle create --overwrite": "no flag --overwrite",
	} {
		if got := real(cli.Model.Node, line); got != want {
			t.Fatalf("%q: %q, want %q: the test can't tell", line, got, want)
		}
	}
	found := 0
	check := func(where, text string) {
		for _, match := range command.FindAllStringSubmatch(text, -1) {
			found++
			if wrong := real(cli.Model.Node, match[1]); wrong != "" {
				t.Errorf("%s: wimcast %s: %s", where, match[1], wrong)
			}
		}
	}
	root := os.DirFS("../..")
	for _, pattern := range []string{"*.md", "docs/*.md"} {
		names, err := fs.Glob(root, pattern)
		if err != nil || len(names) == 0 {
			t.Fatalf("%s: %d documents, %v", pattern, len(names), err)
		}
		for _, name := range names {
			text, err := fs.ReadFile(root, name)
			if err != nil {
				t.Fatal(err)
			}
			for _, code := range span.FindAllString(string(text), -1) {
				check(name, code)
			}
		}
	}
	inDocuments := found
	files := token.NewFileSet()
	err = filepath.WalkDir("../..", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && (entry.Name() == "tools" || entry.Name() == "dist" || len(entry.Name()) > 2 && entry.Name()[0] == '.') {
			return fs.SkipDir
		}
		if filepath.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(files, name, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if literal, ok := n.(*ast.BasicLit); ok && literal.Kind == token.STRING {
				text, err := strconv.Unquote(literal.Value)
				if _, hint, ok := strings.Cut(text, ": wimcast "); ok && err == nil {
					check(files.Position(literal.Pos()).String(), "wimcast "+hint)
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if inDocuments < 20 || found-inDocuments < 8 {
		t.Errorf("%d commands found in documents, %d in hints: the search is broken", inDocuments, found-inDocuments)
	}
}
