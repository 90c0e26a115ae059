package fleet

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/image-spec/specs-go/v1"

	"wimcast/library/registry"
	"wimcast/library/release"
)

// assignments are what a point finds in the registry: of what it shall have, what is there and is wrapped to it. p is nil of a
// point that is gone: nothing is its.
func (s *Site) assignments(st *state, plan *plan, name string) *release.Assignments {
	a := &release.Assignments{Point: name, Multicast: true, Packages: []release.Assigned{}, Revoked: s.cfg.Revoked()}
	slices.Sort(a.Revoked)
	p := st.point(name)
	if p == nil {
		return a
	}
	a.Multicast = p.Multicast
	for _, n := range plan.needs[name] {
		m := st.made(n.reference())
		if m == nil || m.Encrypt && !slices.Contains(m.Recipients, p.Recipient) {
			continue // it comes when it is there
		}
		a.Packages = append(a.Packages, release.Assigned{
			Reference: n.reference(), Current: n.current, Revision: m.Revision, Manifest: m.Manifest, Size: m.Size, Priority: n.priority,
		})
	}
	return a
}

// sumOf is what assignments say, apart from their serial and time.
func sumOf(a *release.Assignments) (string, error) {
	b, err := json.Marshal(a)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:]), nil
}

// publish brings a point's assignments into the registry unless they are there. It reports whether it did.
func (s *Site) publish(ctx context.Context, name string) (serial int64, done bool, err error) {
	if err := s.adopt(ctx, name); err != nil {
		return 0, false, err
	}
	st := s.current()
	plan := st.plan(s.facts())
	a := s.assignments(st, &plan, name)
	what, err := sumOf(a)
	if err != nil {
		return 0, false, err
	}
	if p := st.published(name); p != nil && p.What == what {
		return p.Serial, false, nil
	}
	if err := s.change(func(st *state) error { // no serial is given twice
		st.Serial++
		a.Serial = st.Serial
		return nil
	}); err != nil {
		return 0, false, err
	}
	a.Made = s.now()
	document, manifest, err := a.Seal(s.key)
	if err != nil {
		return 0, false, err
	}
	if _, err := s.pushBytes(ctx, release.MediaAssignments, document); err != nil {
		return 0, false, err
	}
	empty := release.Empty()
	if _, err := s.cfg.Repository.PushBlob(ctx, empty, bytesAt(v1.DescriptorEmptyJSON.Data)); err != nil {
		return 0, false, err
	}
	s.cfg.step("push assignments")
	d, err := s.cfg.Repository.PushManifest(ctx, manifest, release.AssignmentsTag(name))
	if err != nil {
		return 0, false, err
	}
	return a.Serial, true, s.change(func(st *state) error {
		st.Published = slices.DeleteFunc(st.Published, func(p Published) bool { return p.Point == name })
		if st.point(name) == nil {
			st.Gone = slices.DeleteFunc(st.Gone, func(gone string) bool { return gone == name })
			return nil
		}
		st.Published = append(st.Published, Published{name, a.Serial, d.Digest, what, a.Made})
		slices.SortFunc(st.Published, func(a, b Published) int { return strings.Compare(a.Point, b.Point) })
		return nil
	})
}

// adopt looks once at what the registry has for a point. If it is ours and newer than what we know of, our state was restored from
// a backup: points take nothing older than what they had, so counting goes on from there.
func (s *Site) adopt(ctx context.Context, name string) error {
	s.working.Lock()
	known := s.adopted[name]
	s.working.Unlock()
	if known {
		return nil
	}
	a, err := s.fetchAssignments(ctx, name)
	switch {
	case errors.Is(err, registry.ErrNotFound):
	case errors.Is(err, errForeign): // ours takes its place
	case err != nil:
		return err
	default:
		if a.Serial > s.began && s.cfg.Restored != nil {
			s.cfg.Restored(name, a.Serial, s.lost(a))
		}
		if err := s.change(func(st *state) error {
			st.Serial = max(st.Serial, a.Serial)
			for i := range a.Packages {
				st.Revision = max(st.Revision, a.Packages[i].Revision)
			}
			return nil
		}); err != nil {
			return err
		}
	}
	s.working.Lock()
	defer s.working.Unlock()
	s.adopted[name] = true
	return nil
}

// lost returns what of assignments this site doesn't know that the point shall have.
func (s *Site) lost(a *release.Assignments) (references []string) {
	st := s.current()
	plan := st.plan(s.facts())
	for i := range a.Packages {
		ref := a.Packages[i].Reference
		if !slices.ContainsFunc(plan.needs[a.Point], func(n need) bool { return n.reference() == ref }) {
			references = append(references, ref)
		}
	}
	return references
}

// adoptAll does it for all points, before something is numbered.
func (s *Site) adoptAll(ctx context.Context) error {
	for _, p := range s.current().Points {
		if err := s.adopt(ctx, p.Name); err != nil {
			return err
		}
	}
	return nil
}

// errForeign says that what the registry has under a name of ours isn't ours.
var errForeign = errors.New("it isn't of this site")

// fetchAssignments reads a point's assignments from the registry, proven to be ours.
func (s *Site) fetchAssignments(ctx context.Context, name string) (*release.Assignments, error) {
	_, b, err := s.cfg.Repository.Manifest(ctx, release.AssignmentsTag(name))
	if err != nil {
		return nil, err
	}
	m, err := release.ParseAssignments(b)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errForeign, err)
	}
	document, err := s.fetch(ctx, m.Document)
	if err != nil {
		return nil, err
	}
	a, err := m.OpenAssignments(document, s.Key(), name)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errForeign, err)
	}
	return a, nil
}

// fetch reads a small blob whose size is bounded by whoever parsed its descriptor, proven against its digest.
func (s *Site) fetch(ctx context.Context, d v1.Descriptor) ([]byte, error) {
	body, err := s.cfg.Repository.Blob(ctx, d, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = body.Close() }()
	return io.ReadAll(registry.Proven(body, d))
}

// checkEvery is how often the registry is asked whether it still has what was brought there.
const checkEvery = time.Hour

// checkRegistry asks whether what was brought there is there. What isn't is brought again.
func (s *Site) checkRegistry(ctx context.Context) error {
	s.working.Lock()
	soon := !s.checked.IsZero() && s.now().Sub(s.checked) < checkEvery
	s.working.Unlock()
	if soon {
		return nil
	}
	st := s.current()
	for i := range st.Made {
		m := &st.Made[i]
		d, err := s.cfg.Repository.Head(ctx, release.Tag(m.reference(), m.Revision))
		switch {
		case errors.Is(err, registry.ErrNotFound), err == nil && d.Digest != m.Manifest:
			s.working.Lock()
			s.stale[m.reference()] = true
			s.working.Unlock()
		case err != nil:
			return err
		}
	}
	for i := range st.Published {
		p := &st.Published[i]
		d, err := s.cfg.Repository.Head(ctx, release.AssignmentsTag(p.Point))
		switch {
		case errors.Is(err, registry.ErrNotFound), err == nil && d.Digest != p.Manifest:
			s.working.Lock()
			delete(s.adopted, p.Point)
			s.working.Unlock()
			if err := s.change(func(st *state) error {
				if p := st.published(p.Point); p != nil {
					p.What = ""
				}
				return nil
			}); err != nil {
				return err
			}
		case err != nil:
			return err
		}
	}
	s.working.Lock()
	s.checked = s.now()
	s.working.Unlock()
	s.Poke()
	return nil
}
