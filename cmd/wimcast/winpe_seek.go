package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"wimcast/client/machine"
	"wimcast/client/route"
	"wimcast/crypto/keyex"
	"wimcast/multicast/fault"
	"wimcast/session"
)

// Implementation constants of the search for a distribution point.
const (
	lookEvery = time.Second     // at the machine's network
	dialFor   = 5 * time.Second // one distribution point
)

// seeker waits until the machine reaches a distribution point. It says on the screen what keeps it, each time that this changes.
type seeker struct {
	order       func() []route.Way
	wanted      string // deployment; "": any
	credentials *keyex.Credentials
	screen      *screen
	key         *session.Key
	said        string
}

// deployments waits for a distribution point and asks it what this machine may have. most bounds the waiting, 0 doesn't; its
// end is an error with what was in the way last.
func (s *seeker) deployments(ctx context.Context, most time.Duration) ([]session.Deployed, error) {
	if most > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, most, errWaited)
		defer cancel()
	}
	for {
		list, trouble, err := s.try(ctx)
		switch {
		case errors.Is(context.Cause(ctx), errWaited) && (err != nil || trouble != nil):
			return nil, &codedError{exitUnreachable, fmt.Errorf("find distribution point: nothing in %v: %s", most, s.reason(trouble))}
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case err != nil:
			return nil, err
		case trouble == nil:
			s.clear()
			return list, nil
		}
		s.say(*trouble)
		select {
		case <-ctx.Done():
		case <-time.After(lookEvery):
		}
	}
}

// errWaited ends the waiting.
var errWaited = errors.New("waited long enough")

// reason is what was in the way last.
func (s *seeker) reason(trouble *fault.Fault) string {
	if s.said == "" && trouble != nil {
		return trouble.String()
	}
	return s.said
}

// say shows what is in the way, when that is new.
func (s *seeker) say(f fault.Fault) {
	if text := f.String(); text != s.said {
		s.said = text
		s.screen.fault(eventNetwork, &f)
	}
}

// clear says that nothing is in the way any more, where something was.
func (s *seeker) clear() {
	if s.said != "" {
		s.said = ""
		s.screen.fault("", nil)
		s.screen.event(eventNetwork, "the distribution point answers")
	}
}

// try looks at the machine and asks each distribution point once. What is in the way is a trouble, which may pass; an error won't.
func (s *seeker) try(ctx context.Context) ([]session.Deployed, *fault.Fault, error) {
	network, err := machine.ReadNetwork()
	if err != nil {
		return nil, nil, err
	}
	ways := s.order()
	servers := make([]string, len(ways))
	for i, way := range ways {
		servers[i] = way.Server
	}
	addrs := addressesOf(servers)
	if f, is := network.Fault(addrs); is {
		return nil, &f, nil
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go func() { // the cable may be pulled out meanwhile
		for {
			select {
			case <-ctx.Done():
				return
			case <-time.After(lookEvery):
			}
			if n, err := machine.ReadNetwork(); err == nil {
				if _, is := n.Fault(addrs); is {
					stop()
				}
			}
		}
	}()
	reach := &reacher{order: s.order, credentials: s.credentials, screen: s.screen}
	var errs []error
	var lacking []session.Deployed // of the first that answered, which hasn't what is wanted
	answered, refused := false, 0
	for i, server := range servers {
		list, err := s.ask(ctx, reach, server)
		if err == nil {
			if s.has(list) {
				return list, nil, nil
			}
			if !answered {
				answered, lacking = true, list
			}
			if i+1 < len(servers) {
				s.screen.event(eventPoint, server+" has nothing for this machine; asking another")
			}
			continue
		}
		if isRefusal(err) {
			refused++
		}
		errs = append(errs, err)
	}
	if answered {
		return lacking, nil, nil
	}
	if refused > 0 && refused == len(errs) {
		return nil, nil, &codedError{exitRefused, errors.Join(errs...)}
	}
	if network, err := machine.ReadNetwork(); err == nil {
		if f, is := network.Fault(addrs); is { // since it was asked
			return nil, &f, nil
		}
	}
	f := troubleOf(servers, errs, network.Address(addrs))
	return nil, &f, nil
}

// has reports whether a list has what is wanted.
func (s *seeker) has(list []session.Deployed) bool {
	if s.wanted == "" {
		return len(list) > 0
	}
	return slices.ContainsFunc(list, func(d session.Deployed) bool { return d.Name == s.wanted })
}

// isRefusal reports whether an error is somebody's no, which waiting doesn't change. Handshakes that broke off aren't.
func isRefusal(err error) bool {
	refused, is := errors.AsType[*keyex.RefusedError](err)
	return is && refused.Reason != keyex.Failed && refused.Reason != keyex.TimedOut || errors.Is(err, session.ErrRefused)
}

// ask asks one distribution point.
func (s *seeker) ask(ctx context.Context, reach *reacher, server string) ([]session.Deployed, error) {
	dialing, cancel := context.WithTimeout(ctx, dialFor)
	defer cancel()
	control, err := reach.dialOne(dialing, server)
	if err != nil {
		return nil, err
	}
	return session.Deployments(ctx, control, s.key, func(reason string) {
		s.say(fault.RoomClosed(reason))
	})
}

// addressesOf returns the addresses of servers, none where one of them has a name: that may have any.
func addressesOf(servers []string) []netip.Addr {
	var out []netip.Addr
	for _, server := range servers {
		addr, err := netip.ParseAddrPort(server)
		if err != nil {
			return nil
		}
		out = append(out, addr.Addr().Unmap())
	}
	return out
}

// troubleOf makes one sentence of why each server couldn't be asked: of those that are nearest to an answer.
func troubleOf(servers []string, errs []error, local netip.Addr) fault.Fault {
	var names, routes, silent []string
	for i, err := range errs {
		_, unnamed := errors.AsType[*net.DNSError](err)
		switch {
		case unnamed:
			names = append(names, servers[i])
		case machine.NoRoute(err):
			routes = append(routes, servers[i])
		default:
			silent = append(silent, servers[i])
		}
	}
	switch {
	case len(silent) > 0:
		return fault.SilentServer(silent, local)
	case len(routes) > 0:
		return fault.NoRoute(routes, local)
	}
	return fault.UnknownName(names, local)
}
