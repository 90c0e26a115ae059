package test

import (
	"go/ast"
	"slices"
	"strings"
	"testing"
)

// TestClocksThatAreSet: in Windows PE wpeinit may set a clock that is wrong by years in the middle of everything. Go's times carry a
// monotonic reading beside what the clock says, and differences, timers and deadlines go by that, unless a call throws it away. What
// runs in a client has no such call, but where a time is shown or compared with a certificate's.
func TestClocksThatAreSet(t *testing.T) {
	packages := []string{"client", "client/machine", "session", "unicast", "multicast", "multicast/wire", "crypto", "crypto/keyex"}
	losing := []string{"Unix", "UnixMilli", "UnixMicro", "UnixNano", "UTC", "Local", "In", "Round", "Truncate", "AddDate"}
	may := map[string]string{
		"session/rules.go":       "a time of day at which a session starts is the server's clock's",
		"crypto/keyex/bundle.go": "it is written down",
		"crypto/keyex/verify.go": "it is shown",
		"crypto/keyex/cookie.go": "the server's: at worst a cookie is asked for again",
		"crypto/keyex/point.go":  "it is shown",
		"crypto/keyex/issue.go":  "the authority's, for what it signs",
	}
	used := map[string]bool{}
	for _, s := range sources(t) {
		if s.test || !slices.Contains(packages, s.pkg) {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			call, is := n.(*ast.CallExpr)
			if !is {
				return true
			}
			f, is := call.Fun.(*ast.SelectorExpr)
			if !is || !slices.Contains(losing, f.Sel.Name) {
				return true
			}
			if x, is := f.X.(*ast.Ident); is && x.Name == "math" {
				return true
			}
			if slices.Contains([]string{"Round", "Truncate"}, f.Sel.Name) && isDuration(call) {
				return true
			}
			used[s.name] = true
			if may[s.name] == "" {
				t.Errorf("%s: %s: a time loses its monotonic reading, and goes by a clock that may be set", s.name, f.Sel.Name)
			}
			return true
		})
	}
	for name := range may {
		if !used[name] {
			t.Errorf("%s has no such call any more: take it out of the list", name)
		}
	}
}

// isDuration reports whether Round or Truncate is called with a unit of time, as for a duration that is shown. A time is rounded in
// the same words, but nobody does that to go on counting with it.
func isDuration(call *ast.CallExpr) bool {
	if len(call.Args) != 1 {
		return false
	}
	arg, is := call.Args[0].(*ast.SelectorExpr)
	if binary, isBinary := call.Args[0].(*ast.BinaryExpr); isBinary {
		if arg, is = binary.Y.(*ast.SelectorExpr); !is {
			arg, is = binary.X.(*ast.SelectorExpr)
		}
	}
	if !is {
		return true // a file's Truncate(size)
	}
	x, is := arg.X.(*ast.Ident)
	return is && x.Name == "time" && strings.HasSuffix(arg.Sel.Name, "econd")
}
