package main

import (
	"context"
	"errors"
	"fmt"

	"wimcast/crypto"
	"wimcast/crypto/keyex"
	"wimcast/library"
	"wimcast/library/deployment"
	"wimcast/multicast/wire"
	"wimcast/session"
	"wimcast/unicast"
)

// openPackage opens a package for a client that joins: by the deployment that it names, or by one of the package that it names.
func (d *distributionPoint) openPackage(_ context.Context, ref string, peer session.Peer) (*session.Package, error) {
	one, p, why, err := d.allowed(ref, peer)
	if err != nil {
		return nil, err
	}
	content, err := d.library.OpenContent(p.Reference())
	if err != nil {
		return nil, refusal(err)
	}
	return &session.Package{
		Name: p.Reference(), Encrypt: p.Flags.Encrypt, Unicast: !p.Flags.MulticastOnly, Content: stallable(content), Rules: d.config().deployedRules(one, p),
		Deployment: one.Name, UnicastOnly: why, Apply: toApply(one, p),
	}, nil
}

// toApply says which image of a package a deployment means.
func toApply(one *deployment.Deployment, p *library.Package) session.Apply {
	a := session.Apply{Images: len(p.Images), Index: one.Index}
	if a.Index == 0 && a.Images == 1 {
		a.Index = 1
	}
	for i := range p.Images {
		if room := p.Images[i].Room(); a.Index == p.Images[i].Index || a.Index == 0 && (i == 0 || room < a.Room) {
			a.Room = room
		}
	}
	return a
}

// allowed finds the package that a client asks for, and the deployment that it has it by. why says why that is by unicast only, "" where
// multicast is open to it. An error says why it may not have it at all.
func (d *distributionPoint) allowed(ref string, peer session.Peer) (one *deployment.Deployment, p *library.Package, why string, err error) {
	if one, p, err = d.resolve(ref, peer); err != nil {
		return nil, nil, "", err
	}
	if p.OutOfService != "" {
		return nil, nil, "", &session.RefusedError{Code: wire.OutOfService, Text: fmt.Sprintf("package %s is out of service (%s); on the server: wimcast image verify %q", p.Reference(), p.OutOfService, p.Reference())}
	}
	why = d.unicastOnly(p, peer)
	if why != "" && p.Flags.MulticastOnly {
		return nil, nil, "", &session.RefusedError{Code: wire.NotAllowed, Text: why + fmt.Sprintf(", and %s is multicast-only; next: boot Windows PE, or on the server: wimcast image set %q --no-multicast-only", p.Reference(), p.Reference())}
	}
	return one, p, why, nil
}

// listDeployments lists the deployments that a client would get if it asked for them now, by their names.
func (d *distributionPoint) listDeployments(_ context.Context, peer session.Peer) ([]session.Deployed, error) {
	var list []session.Deployed
	for _, named := range d.deployed.List() {
		one, p, _, err := d.allowed(named.Name, peer)
		if _, refused := errors.AsType[*session.RefusedError](err); refused {
			continue
		}
		if err != nil {
			return nil, err
		}
		list = append(list, session.Deployed{
			Name: one.Name, Package: p.Reference(), Index: one.Index, Direct: one.Content == deployment.Direct, Size: p.Size, Digest: p.Digest,
		})
	}
	return list, nil
}

// unicastOnly says why a client may not have a package by multicast; "" when it may.
func (d *distributionPoint) unicastOnly(p *library.Package, peer session.Peer) string {
	switch {
	case d.point.unicastAlone.Load():
		return fmt.Sprintf("point %s serves by unicast only (at the site: wimcast point set %s --multicast)", d.pointName(), d.pointName())
	case !p.Flags.AllowMulticast:
		return fmt.Sprintf("package %s isn't allowed by multicast (wimcast image set %q --multicast)", p.Reference(), p.Reference())
	case peer.Role != string(keyex.WinPE):
		return fmt.Sprintf("multicast is for Windows PE only, and this bundle's role is %s", peer.Role)
	}
	return ""
}

// refusal tells a client what opening content says about it.
func refusal(err error) error {
	if _, ok := errors.AsType[*library.DamagedError](err); ok {
		return &session.RefusedError{Code: wire.OutOfService, Text: err.Error()}
	}
	return err
}

// tokenGrants lets unicast ask the sessions what a token is good for.
type tokenGrants struct{ sessions *session.Server }

// Grant implements what unicast.ServerConfig wants.
func (g *tokenGrants) Grant(token [32]byte) (unicast.Grant, error) {
	grant, ok := g.sessions.Grant(token)
	if !ok {
		return unicast.Grant{}, errors.New("no such token")
	}
	return unicast.Grant{Digest: grant.Digest, Client: grant.Client}, nil
}

// unicastContents lets unicast read the library.
type unicastContents struct{ library *library.Library }

// Lookup implements what unicast.ServerConfig wants. Content is multicast-only when no other package holds it.
func (c *unicastContents) Lookup(digest crypto.Hash) (unicast.Package, error) {
	var found *library.Package
	for _, p := range c.library.List() {
		if p.Digest != digest {
			continue
		}
		if found == nil || found.Flags.MulticastOnly && !p.Flags.MulticastOnly {
			found = &p
		}
	}
	switch {
	case found == nil:
		return unicast.Package{}, unicast.ErrUnknown
	case found.Flags.MulticastOnly:
		return unicast.Package{Name: found.Reference(), MulticastOnly: true}, nil
	case found.OutOfService != "":
		return unicast.Package{}, unicast.ErrOutOfService
	}
	return unicast.Package{Name: found.Reference()}, nil
}

// Open implements what unicast.ServerConfig wants.
func (c *unicastContents) Open(digest crypto.Hash) (unicast.Content, error) {
	content, err := c.library.OpenDigest(digest)
	if _, ok := errors.AsType[*library.DamagedError](err); ok {
		return nil, fmt.Errorf("%w: %w", unicast.ErrOutOfService, err)
	}
	if err != nil {
		return nil, err
	}
	return unicastContent{content}, nil
}

type unicastContent struct{ *library.Content }

func (c unicastContent) Manifest() []byte { return c.Content.Manifest().Marshal() }
