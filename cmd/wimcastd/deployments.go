package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"wimcast/crypto/keyex"
	"wimcast/library"
	"wimcast/library/deployment"
	"wimcast/multicast/wire"
	"wimcast/session"
)

// deploymentsFile is where deployments are kept, in the state directory.
const deploymentsFile = "deployments.json"

// resolve finds the package that a client asks for, and the deployment that it has it by; the zero Deployment is none, which is for operators.
func (d *distributionPoint) resolve(ref string, peer session.Peer) (*deployment.Deployment, *library.Package, error) {
	if one, err := d.deployed.Get(ref); err == nil {
		return d.byName(&one, peer)
	}
	p, err := d.library.Get(ref)
	switch {
	case errors.Is(err, library.ErrNotFound):
		return nil, nil, &session.RefusedError{Code: wire.UnknownPackage, Text: err.Error() + "; deployments: wimcast deployment list"}
	case err != nil:
		return nil, nil, err
	}
	var others []string
	for _, one := range d.deployed.List() {
		if q, err := d.library.Get(one.Image); err != nil || q.Reference() != p.Reference() {
			continue
		}
		if one.Allows(peer.Name) {
			return d.fits(&one, &p)
		}
		others = append(others, one.Name)
	}
	switch {
	case peer.Role == string(keyex.Operator):
		return &deployment.Deployment{}, &p, nil
	case len(others) > 0:
		return nil, nil, notAllowed("no deployment of package %s is for bundle %s; on the server: wimcast deployment set %q --who %q", p.Reference(), peer.Name, others[0], peer.Name)
	}
	return nil, nil, notAllowed("without a deployment a package is open to operator bundles only; on the server: wimcast deployment create NAME --image %q", p.Reference())
}

// byName is the package of a deployment that a client names.
func (d *distributionPoint) byName(one *deployment.Deployment, peer session.Peer) (*deployment.Deployment, *library.Package, error) {
	if !one.Allows(peer.Name) {
		return nil, nil, notAllowed("deployment %s isn't for bundle %s; on the server: wimcast deployment set %q --who %q", one.Name, peer.Name, one.Name, peer.Name)
	}
	p, err := d.library.Get(one.Image)
	if err != nil {
		return nil, nil, &session.RefusedError{Code: wire.UnknownPackage, Text: fmt.Sprintf("deployment %s: %v", one.Name, err)}
	}
	return d.fits(one, &p)
}

// fits holds a deployment's index against the package that has become current since.
func (*distributionPoint) fits(one *deployment.Deployment, p *library.Package) (*deployment.Deployment, *library.Package, error) {
	if err := one.CheckIndex(&deployment.Package{Name: p.Name, Version: p.Version, Images: len(p.Images)}); err != nil {
		return nil, nil, &session.RefusedError{Code: wire.OutOfService, Text: err.Error()}
	}
	return one, p, nil
}

func notAllowed(format string, args ...any) error {
	return &session.RefusedError{Code: wire.NotAllowed, Text: fmt.Sprintf(format, args...)}
}

// parseRules reads the rules of a deployment as a table of [session]. What only a scheduled start has makes it one.
func parseRules(rules map[string]string) (s sessionConfig, err error) {
	var errs []error
	number := func(key string) *int {
		text, ok := rules[key]
		if !ok {
			return nil
		}
		v, err := strconv.Atoi(text)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %q is not a number", key, text))
		}
		return &v
	}
	word := func(key string) *string {
		if text, ok := rules[key]; ok {
			return &text
		}
		return nil
	}
	s = sessionConfig{
		Start: word("start"), MinClients: number("min_clients"), Delay: parsed[duration](rules, "delay", &errs), DelayFrom: word("delay_from"), At: word("at"),
		MaxClients: number("max_clients"), Overflow: word("overflow"), Slow: word("slow"), Floor: parsed[rate](rules, "floor", &errs), Grace: parsed[duration](rules, "grace", &errs),
	}
	if text, ok := rules["weight"]; ok {
		v, err := strconv.ParseFloat(text, 64)
		if err != nil {
			errs = append(errs, fmt.Errorf("weight: %q is not a number", text))
		}
		s.Weight = &v
	}
	if s.Start == nil && (s.MinClients != nil && *s.MinClients > 0 || s.Delay != nil && *s.Delay > 0 || s.At != nil && *s.At != "") {
		s.Start = new(string(session.StartScheduled))
	}
	return s, errors.Join(errs...)
}

// unmarshaler is a pointer to a type that reads its text.
type unmarshaler[T any] interface {
	*T
	UnmarshalText(text []byte) error
}

// parsed reads a rule as the configuration's types do; nil where it isn't there.
func parsed[T any, P unmarshaler[T]](rules map[string]string, key string, errs *[]error) *T {
	text, ok := rules[key]
	if !ok {
		return nil
	}
	v := new(T)
	if err := P(v).UnmarshalText([]byte(text)); err != nil {
		*errs = append(*errs, fmt.Errorf("%s: %w", key, err))
	}
	return v
}

// deployedRules returns how the sessions of a deployment are run, which has been checked.
func (c *config) deployedRules(one *deployment.Deployment, p *library.Package) session.Rules {
	s, _ := parseRules(one.Rules)
	r, _ := s.over(c.table(p.Name, p.Version)).rules()
	return r
}

// checkDeployment refuses rules of a deployment that can't be, that contradict each other or the configuration, and unicast that
// they ask for where the package is multicast-only.
func (c *config) checkDeployment(one *deployment.Deployment, p *library.Package) error {
	s, err := parseRules(one.Rules)
	errs := split(err)
	if err == nil {
		errs = c.checkTable(s.over(c.table(p.Name, p.Version)))
	}
	if p.Flags.MulticastOnly {
		var r session.Rules
		if s.Slow != nil {
			r.Slow = session.SlowPolicy(*s.Slow)
		}
		if s.Overflow != nil {
			r.Overflow = session.Overflow(*s.Overflow)
		}
		if err := r.CheckMulticastOnly(); err != nil {
			errs = append(errs, fmt.Errorf("package %s: %w", p.Reference(), err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("deployment %s: %w", one.Name, err)
	}
	return nil
}

// checkDeployments refuses a configuration that contradicts rules of deployments. One whose package is gone, as after a
// restored backup, contradicts nothing: its clients are told.
func (d *distributionPoint) checkDeployments(c *config) error {
	var errs []error
	for _, one := range d.deployed.List() {
		p, err := d.library.Get(one.Image)
		if err != nil {
			continue
		}
		if err := c.checkDeployment(&one, &p); err != nil {
			errs = append(errs, fmt.Errorf("config: %w; or first, with the configuration as it was: wimcast deployment set %q", err, one.Name))
		}
	}
	return errors.Join(errs...)
}

// adjust has running sessions take over what the configuration and the deployments say now, and returns those that did.
func (d *distributionPoint) adjust() []string {
	c := d.config()
	return d.sessions.Adjust(session.Conditions{Ceiling: d.ceilingOf(c), Limits: c.limits(), Rules: func(name, pkg string) (session.Rules, bool) {
		var p library.Package
		p.Name, p.Version, _ = strings.Cut(pkg, "@")
		one, err := d.deployed.Get(name)
		if name != "" && err != nil {
			return session.Rules{}, false // it was removed; its sessions go on as they were
		}
		return c.deployedRules(&one, &p), true
	}})
}
