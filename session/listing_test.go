package session

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"wimcast/crypto"
	"wimcast/multicast/wire"
)

// TestDeployments: a client that hasn't joined is told what it may have, in pages where it is much, through loss.
func TestDeployments(t *testing.T) {
	for _, tc := range []struct {
		name  string
		count int
		loss  float64
	}{{"none", 0, 0}, {"one", 1, 0}, {"pages", 200, 0}, {"pages through loss", 200, 0.2}} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var all []Deployed
				for i := range tc.count {
					all = append(all, Deployed{Name: fmt.Sprintf("lab%d", i), Package: "w11@1", Index: i % 3, Direct: i%2 == 0, Size: int64(i) << 30, Digest: crypto.Hash{byte(i)}})
				}
				r := newRoom(t, 71, 4*crypto.BlockSize)
				r.deployed = func(peer Peer) ([]Deployed, error) {
					if peer.Name != "pc01" {
						return nil, nil
					}
					return all, nil
				}
				defer r.stop()
				c := r.client("pc01")
				c.link.control = tc.loss
				control, err := c.dial(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				got, err := Deployments(t.Context(), control, NewKey(nil), nil)
				if err != nil || !reflect.DeepEqual(got, all) {
					t.Errorf("%d deployments, %v; want %d", len(got), err, len(all))
				}
			})
		})
	}
}

// TestDeploymentsRefused: the server's no is an error with its words, its silence another.
func TestDeploymentsRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, 72, 4*crypto.BlockSize)
		r.deployed = func(Peer) ([]Deployed, error) { return nil, &RefusedError{Code: wire.NotAllowed, Text: "not today"} }
		defer r.stop()
		c := r.client("pc01")
		control, _ := c.dial(t.Context())
		if got, err := Deployments(t.Context(), control, NewKey(nil), nil); !errors.Is(err, ErrRefused) || !strings.HasSuffix(err.Error(), "refused: not today") {
			t.Errorf("%v, %v", got, err)
		}
		c.link.control = 1
		control, _ = c.dial(t.Context())
		began := time.Now()
		if got, err := Deployments(t.Context(), control, NewKey(nil), nil); !errors.Is(err, ErrUnreachable) || time.Since(began) > 2*serverGone {
			t.Errorf("a silent server: %v, %v after %v", got, err, time.Since(began))
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(errors.New("enough"))
		control, _ = c.dial(t.Context())
		if _, err := Deployments(ctx, control, NewKey(nil), nil); err == nil || !strings.HasSuffix(err.Error(), "enough") {
			t.Errorf("cancelled: %v", err)
		}
	})
}

// TestDeploymentsAskedOften: whoever asks without end has the list taken ten times a second.
func TestDeploymentsAskedOften(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		taken := 0
		r := newRoom(t, 73, 4*crypto.BlockSize)
		r.deployed = func(Peer) ([]Deployed, error) { taken++; return make([]Deployed, 100), nil }
		defer r.stop()
		c := r.client("pc01")
		control, _ := c.dial(t.Context())
		for range 1000 {
			_ = control.Send((&wire.DeploymentsWanted{Request: 1}).Append(nil))
			time.Sleep(time.Millisecond)
		}
		_ = control.Close()
		if taken < 5 || taken > 11 {
			t.Errorf("taken %d times in a second", taken)
		}
	})
}
