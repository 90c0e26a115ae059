//go:build linux

package registry

import (
	"net/http"
	"os"
	"testing"
)

// TestRegistryAgain has a registry come back where it was, with users of its own.
func TestRegistryAgain(t *testing.T) {
	s := ForTest(t, Options{Htpasswd: map[string]string{"site": "one"}})
	ask := func(password string) int {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.Addr+"/v2/", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		r.SetBasicAuth("site", password)
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
		return answer.StatusCode
	}
	if right, wrong := ask("one"), ask("two"); right != http.StatusOK || wrong != http.StatusUnauthorized {
		t.Errorf("answers %d and %d", right, wrong)
	}
	addr := s.Addr
	s.Stop()
	if err := s.Start(t.Context()); err != nil || s.Addr != addr {
		t.Fatalf("at %s again, was at %s: %v", s.Addr, addr, err)
	}
	if err := s.SetUsers(map[string]string{"site": "two"}); err != nil {
		t.Fatal(err)
	}
	if old, replaced := ask("one"), ask("two"); old != http.StatusUnauthorized || replaced != http.StatusOK {
		t.Errorf("after the change of users: answers %d and %d", old, replaced)
	}
	if _, err := os.Stat(s.Storage); err != nil {
		t.Error(err)
	}
}
