package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// logging are the packages whose lines are the daemon's, and handed says which argument is a message that a function hands on to the log.
var (
	logging = []string{"cmd/wimcastd", "api/handler", "api/page", "api/history", "api/reports", "session", "library/fleet/puller"}
	handed  = map[string]int{"edit": 2, "onStart": 3, "onClient": 2}
)

// messageOf finds the message of a call that logs, and its level; "" for one that is decided when it is logged.
func messageOf(call *ast.CallExpr) (message ast.Expr, level string) {
	f, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return nil, ""
	}
	if at, ok := handed[f.Sel.Name]; ok && len(call.Args) > at {
		return call.Args[at], "info"
	}
	from := types.ExprString(f.X)
	isLog := strings.HasSuffix(strings.ToLower(from), "log") || strings.HasSuffix(from, ".of(m)")
	switch name := f.Sel.Name; {
	case name == "did" && len(call.Args) >= 2:
		return call.Args[1], "info"
	case name == "log" && len(call.Args) >= 3:
		return call.Args[2], ""
	case name == "Log" && isLog && len(call.Args) >= 2:
		return call.Args[1], ""
	case (name == "Debug" || name == "Info" || name == "Warn" || name == "Error") && isLog && len(call.Args) >= 1:
		return call.Args[0], strings.ToLower(name)
	}
	return nil, ""
}

// messages are those of the source, with their levels.
func messages(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, dir := range logging {
		files, err := filepath.Glob(filepath.Join("..", "..", dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			base := filepath.Base(name)
			if strings.HasSuffix(base, "_test.go") || dir == "session" && (strings.HasPrefix(base, "receiver") || strings.HasPrefix(base, "hearing")) {
				continue // those of session are a client's
			}
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range file.Decls {
				f, ok := d.(*ast.FuncDecl)
				_, hands := handed[nameOf(d)]
				if ok && (hands || f.Name.Name == "did" || f.Name.Name == "log") {
					continue // what they are handed is looked at where they are called
				}
				ast.Inspect(d, func(n ast.Node) bool {
					call, ok := n.(*ast.CallExpr)
					if !ok {
						return true
					}
					message, level := messageOf(call)
					if message == nil {
						return true
					}
					text, ok := message.(*ast.BasicLit)
					if !ok {
						t.Errorf("%s: the message %s isn't a constant: what differs belongs into fields", name, types.ExprString(message))
						return true
					}
					value, err := strconv.Unquote(text.Value)
					if err != nil {
						t.Fatal(err)
					}
					if old, again := out[value]; again && old != level {
						level = ""
					}
					out[value] = level
					return true
				})
			}
		}
	}
	return out
}

func nameOf(d ast.Decl) string {
	if f, ok := d.(*ast.FuncDecl); ok {
		return f.Name.Name
	}
	return ""
}

// TestMessagesAreInTheManual: docs/logs.md has each message with its level, and no other; what is bounded is a message.
func TestMessagesAreInTheManual(t *testing.T) {
	source := messages(t)
	manual, err := os.ReadFile(filepath.Join("..", "..", "docs", "logs.md"))
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]string{}
	for line := range strings.Lines(string(manual)) {
		cells := strings.Split(line, " | ")
		if len(cells) < 3 || !strings.HasPrefix(cells[0], "| `") || !slices.Contains([]string{"debug", "info", "warn", "error", "info, warn", "varies"}, cells[1]) {
			continue
		}
		message := strings.Trim(strings.TrimPrefix(cells[0], "| "), "`")
		if _, again := listed[message]; again {
			t.Errorf("docs/logs.md has %q twice", message)
		}
		listed[message] = cells[1]
	}
	for _, message := range slices.Sorted(maps.Keys(source)) {
		level, ok := listed[message]
		switch want := source[message]; {
		case !ok:
			t.Errorf("docs/logs.md doesn't have %q (%s)", message, want)
		case want != "" && level != want, want == "" && level != "info, warn" && level != "varies" && level != "warn":
			t.Errorf("docs/logs.md says %s of %q, which is %q", level, message, want)
		}
		delete(listed, message)
	}
	for message := range listed {
		t.Errorf("docs/logs.md has %q, which nobody says", message)
	}
	for _, message := range slices.Concat(fromStrangers(), fromClients()) {
		if _, ok := source[message]; !ok {
			t.Errorf("%q is bounded, and nobody says it", message)
		}
	}
}
