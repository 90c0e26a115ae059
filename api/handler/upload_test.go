package handler

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"wimcast/api"
	"wimcast/crypto/keyex"
)

// TestUploadRefused: whoever sends a large file that isn't wanted is told why, on both ways in, at once or in the middle.
func TestUploadRefused(t *testing.T) {
	p := newPoint(t)
	text := append([]byte("no WIM "), make([]byte, 20<<20)...)
	late := testWIM(20<<20, 1, "w")
	late[9] = 1 // its header is wrong; the first read tells
	for way, client := range map[string]*api.Client{"socket": api.NewClient(p.socket), "HTTPS": p.remoteClient(keyex.Operator)} {
		for says, b := range map[string][]byte{"not a WIM file": text, "header of": late} {
			for range 5 {
				_, err := client.AddImage(t.Context(), bytes.NewReader(b), int64(len(b)), api.ImageAdd{Name: "w"})
				problem, ok := errors.AsType[*api.Problem](err)
				if !ok || !strings.Contains(problem.Detail, says) {
					t.Errorf("%s: %v", way, err)
				}
			}
		}
		// What needn't be read isn't.
		r := &noted{Reader: bytes.NewReader(late)}
		if _, err := client.AddImage(t.Context(), r, int64(len(late)), api.ImageAdd{Name: "a/b"}); err == nil || !strings.Contains(err.Error(), "isn't allowed in it") || r.read {
			t.Errorf("%s: read %v, %v", way, r.read, err)
		}
	}
}

// noted knows whether it was read.
type noted struct {
	io.Reader
	read bool
}

func (n *noted) Read(p []byte) (int, error) {
	n.read = true
	return n.Reader.Read(p)
}
