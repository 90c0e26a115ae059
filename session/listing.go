package session

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"wimcast/crypto"
	"wimcast/multicast/wire"
)

// Deployed is a deployment that a client may have.
type Deployed struct {
	Name    string
	Package string // name@version
	Index   int    // of the image in the package, from 1 on; 0: none is named
	Direct  bool   // content is read directly from the distribution point, not downloaded first
	Size    int64  // of the package, in bytes
	Digest  crypto.Hash
}

// Implementation constants of listings.
const (
	listingAgain = 100 * time.Millisecond // the list is asked for anew at most so often, for one control channel
	listingMost  = 10_000                 // deployments that a client takes in
)

// listing is the list that a client is being told, page by page. It is owned by the
// goroutine that reads the control channel.
type listing struct {
	taken time.Time
	list  []wire.Deployment
}

// tellDeployments answers with the page of deployments that a client asks for (section 6.7). The first page has the list
// taken anew; the others are of the same one, so that together they are whole. What it costs is bounded, whoever asks how often.
func (s *Server) tellDeployments(ctx context.Context, l *link, wanted *wire.DeploymentsWanted) {
	if held := l.held(); held != nil {
		l.send(&wire.Refused{Request: wanted.Request, Code: held.Code, Text: held.Text})
		return
	}
	if now := time.Now(); wanted.First == 0 && now.Sub(l.listing.taken) >= listingAgain {
		list, err := s.deployments(ctx, l.peer)
		if err != nil {
			refused := s.refusal(l, "", err)
			l.send(&wire.Refused{Request: wanted.Request, Code: refused.Code, Text: refused.Text})
			return
		}
		l.listing = listing{now, list}
	}
	list := l.listing.list
	first := min(int(wanted.First), len(list))
	l.send(&wire.Deployments{Request: wanted.Request, First: uint16(first), Total: uint16(len(list)), List: wire.Page(list[first:])})
}

// deployments returns what a peer may have as the wire has it.
func (s *Server) deployments(ctx context.Context, peer Peer) ([]wire.Deployment, error) {
	if s.cfg.Deployments == nil {
		return nil, nil
	}
	all, err := s.cfg.Deployments(ctx, peer)
	if err != nil {
		return nil, err
	}
	all = all[:min(len(all), math.MaxUint16)]
	list := make([]wire.Deployment, len(all))
	for i, d := range all {
		list[i] = wire.Deployment{Name: d.Name, Package: d.Package, Index: uint32(max(d.Index, 0)), Direct: d.Direct, Size: uint64(max(d.Size, 0)), Digest: d.Digest}
	}
	return list, nil
}

// Deployments asks the server at the other end of a control channel which deployments this machine may have. It reads the channel
// and closes it. key is shown where the server wants a PIN; waits hears why that is no use yet, each time that it is tried again. Errors match
// ErrRefused where the server says no, ErrUnreachable where it doesn't answer.
func Deployments(ctx context.Context, control Control, key *Key, waits func(reason string)) ([]Deployed, error) {
	channel := newChannel(control)
	defer channel.close()
	var list []Deployed
	for request := uint32(1); ; request++ {
		page, err := channel.deployments(ctx, &wire.DeploymentsWanted{Request: request, First: uint16(len(list))})
		if held, is := errors.AsType[*heldError](err); is {
			err = key.open(ctx, keyhole{channel, patience, waits}, held)
			if _, closed := errors.AsType[*againError](err); closed {
				err = fmt.Errorf("%w: %w", ErrUnreachable, err)
			}
			if err == nil {
				list = nil
				continue
			}
		}
		if err != nil {
			return nil, fmt.Errorf("list deployments: %w", err)
		}
		if int(page.First) != len(list) || len(page.List) == 0 && len(list) < int(page.Total) || int(page.Total) > listingMost {
			return nil, fmt.Errorf("list deployments: %w: an answer of %d from %d on, of %d, makes no sense to this version; update the client", ErrRefused, len(page.List), page.First, page.Total)
		}
		for _, d := range page.List {
			if d.Size > crypto.MaxImageSize {
				return nil, fmt.Errorf("list deployments: %w: %q has %d bytes, which makes no sense to this version; update the client", ErrRefused, d.Name, d.Size)
			}
			list = append(list, Deployed{Name: d.Name, Package: d.Package, Index: int(d.Index), Direct: d.Direct, Size: int64(d.Size), Digest: d.Digest})
		}
		if len(list) == int(page.Total) {
			key.used()
			return list, nil
		}
	}
}

// deployments asks for a page until there is an answer.
func (c *channel) deployments(ctx context.Context, wanted *wire.DeploymentsWanted) (*wire.Deployments, error) {
	var page *wire.Deployments
	var refused *wire.Refused
	err := c.ask(ctx, wanted, serverGone, func(message wire.Message) bool {
		switch m := message.(type) {
		case *wire.Deployments:
			page = m
			return m.Request == wanted.Request
		case *wire.Refused:
			refused = m
			return m.Request == wanted.Request
		}
		return false
	})
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	case page != nil && page.Request == wanted.Request:
		return page, nil
	case refused.Code == wire.PINWanted, refused.Code == wire.PINLater:
		return nil, &heldError{refused.Code, refused.Text}
	}
	return nil, fmt.Errorf("%w: %s", ErrRefused, refused.Text)
}
