package wire

import (
	"errors"
	"strings"
	"testing"
)

// TestPage: pages of deployments fit into messages, and together they are all.
func TestPage(t *testing.T) {
	long := strings.Repeat("x", 300) // cut to 255
	for _, tc := range []struct {
		name  string
		one   Deployment
		count int
		page  int // that fit into one message
	}{
		{"none", Deployment{}, 0, 0},
		{"one", Deployment{Name: "lab12", Package: "w11@1"}, 1, 1},
		{"short", Deployment{Name: "a", Package: "b"}, 60, (MaxControl - 10) / 49},
		{"longest", Deployment{Name: long, Package: long}, 5, 1},
	} {
		list := make([]Deployment, tc.count)
		for i := range list {
			list[i] = tc.one
			list[i].Index = uint32(i)
		}
		for first := 0; first < len(list); {
			page := Page(list[first:])
			if first == 0 && len(page) != tc.page {
				t.Errorf("%s: %d on a page, want %d", tc.name, len(page), tc.page)
			}
			b := (&Deployments{First: uint16(first), Total: uint16(len(list)), List: page}).Append(nil)
			m, err := Parse(b)
			if err != nil || len(page) == 0 || m.(*Deployments).List[0].Index != uint32(first) {
				t.Fatalf("%s: page from %d: %d bytes, %+v, %v", tc.name, first, len(b), m, err)
			}
			first += len(page)
		}
	}
}

// TestDeploymentFlags: a flag that this version doesn't know is refused.
func TestDeploymentFlags(t *testing.T) {
	b := (&Deployments{Total: 1, List: []Deployment{{}}}).Append(nil)
	const flags = deploymentsHead + 1 + 1 + 4
	b[flags] = flagDirect
	if _, err := Parse(b); err != nil {
		t.Error(err)
	}
	b[flags] = flagDirect << 1
	if m, err := Parse(b); !errors.Is(err, ErrMalformed) {
		t.Errorf("%+v, %v", m, err)
	}
}
