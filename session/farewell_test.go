package session

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"wimcast/crypto"
)

// TestFarewellIsHeard: whose channel is closed right after it was evicted, as where its certificate was revoked, ends as evicted: the word
// goes out before, and is heard before the close.
func TestFarewellIsHeard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, 12, 100*crypto.BlockSize)
		defer r.stop()
		r.server.cfg.Ceiling, r.ceiling = 5e5, 5e5 // 36 s
		var gone []*roomClient
		for i := range 30 { // as many tries: a client is in the middle of something else now and then
			c := r.client(fmt.Sprintf("pc%02d", i))
			c.link.delay = 0
			gone = append(gone, c.start())
		}
		time.Sleep(2 * time.Second)
		now, _ := r.session(0)
		r.mu.Lock()
		server := r.server
		r.server = nil // nobody is told anything by coming again
		r.mu.Unlock()
		for _, c := range gone {
			if err := server.Evict(now.ID, now.of(c.name).Number); err != nil {
				t.Fatal(err)
			}
			r.mu.Lock()
			c.control.out.close()
			r.mu.Unlock()
		}
		for _, c := range gone {
			if <-c.done; !errors.Is(c.err, ErrEvicted) {
				t.Errorf("%s: %v; events %v", c.name, c.err, c.events())
			}
		}
		r.mu.Lock()
		r.server = server
		r.mu.Unlock()
	})
}
