package session

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"wimcast/crypto"
)

// TestStopKeeps: a client that is stopped keeps what it has for the next try, also before its first checkpoint was due, and what an
// earlier try left that it hasn't looked at yet.
func TestStopKeeps(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, 53, 400*crypto.BlockSize)
		defer r.stop()
		c := r.client("pc01").start()
		time.Sleep(time.Second)
		proven := c.receiver.Progress().Proven
		c.cancel(errors.New("stopped by the person in front of it"))
		<-c.done
		if kept := int64(len(c.target.have)) * crypto.BlockSize; proven == 0 || proven >= 400*crypto.BlockSize || kept < proven {
			t.Errorf("%d bytes were proven, %d kept", proven, kept)
		}
	})
}
