package handler

import (
	"errors"
	"fmt"
	"net/http"
	"slices"

	"go.uber.org/zap"

	"wimcast/api"
	"wimcast/library"
	"wimcast/library/deployment"
)

// deployedOf is what of a package concerns its deployments.
func deployedOf(p *library.Package) deployment.Package {
	return deployment.Package{Name: p.Name, Version: p.Version, Images: len(p.Images), MulticastOnly: p.Flags.MulticastOnly}
}

func (s *server) deploymentOf(d *deployment.Deployment) api.Deployment {
	out := api.Deployment{
		Name: d.Name, Image: d.Image, Index: d.Index, Who: d.Who, Rules: d.Rules, Content: string(d.Content), Comment: d.Comment, Created: d.Created, Changed: d.Changed,
	}
	if p, err := s.Library.Get(d.Image); err == nil {
		out.Package = p.Reference()
	}
	return out
}

func (s *server) listDeployments(*http.Request) (any, error) {
	list := []api.Deployment{}
	for _, d := range s.Deployments.List() {
		list = append(list, s.deploymentOf(&d))
	}
	return list, nil
}

func (s *server) showDeployment(r *http.Request) (any, error) {
	d, err := s.Deployments.Get(r.PathValue("name"))
	if err != nil {
		return nil, unknownDeployment(err)
	}
	return s.deploymentOf(&d), nil
}

// unknownDeployment gives a deployment that isn't there its status.
func unknownDeployment(err error) error {
	if errors.Is(err, deployment.ErrNotFound) {
		return &statusError{http.StatusNotFound, err}
	}
	return err
}

func (s *server) createDeployment(r *http.Request) (any, error) {
	var request api.Deployment
	if err := read(r, &request); err != nil {
		return nil, err
	}
	if request.Package != "" || !request.Created.IsZero() || !request.Changed.IsZero() {
		return nil, bad("read request: package, created and changed are answers; leave them out")
	}
	d := deployment.Deployment{
		Name: request.Name, Image: request.Image, Index: request.Index, Who: request.Who, Rules: request.Rules, Content: deployment.Content(request.Content), Comment: request.Comment,
	}
	if d.Content == "" {
		d.Content = deployment.Download
	}
	s.edits.Lock()
	defer s.edits.Unlock()
	return s.edit(r, "deployment create", "deployment created", d, s.Deployments.Create)
}

func (s *server) changeDeployment(r *http.Request) (any, error) {
	var request api.DeploymentChange
	if err := read(r, &request); err != nil {
		return nil, err
	}
	s.edits.Lock()
	defer s.edits.Unlock()
	d, err := s.Deployments.Get(r.PathValue("name"))
	if err != nil {
		return nil, unknownDeployment(err)
	}
	changed := d.With(deployment.Change{
		Image: request.Image, Index: request.Index, Who: request.Who, Rules: request.Rules, Content: (*deployment.Content)(request.Content), Comment: request.Comment,
	})
	return s.edit(r, "deployment set", "deployment changed", changed, s.Deployments.Set)
}

// edit holds a deployment against its package and the configuration, and has it stored. The caller holds edits.
func (s *server) edit(r *http.Request, action, done string, d deployment.Deployment, do func(deployment.Deployment) (deployment.Deployment, error)) (any, error) {
	err := s.mayDeploy(&d)
	if err == nil {
		d, err = do(d)
	}
	s.record(r, api.HistoryAction{Action: action, Detail: d.String()}, err)
	if err != nil {
		return nil, err
	}
	s.deployed()
	s.did(r, done, zap.String("deployment", d.Name), zap.String("package", d.Image), zap.Stringer("text", &d))
	return s.deploymentOf(&d), nil
}

// mayDeploy refuses a deployment that contradicts its package or the configuration.
func (s *server) mayDeploy(d *deployment.Deployment) error {
	p, err := s.Library.Get(d.Image)
	if err != nil {
		return &statusError{http.StatusUnprocessableEntity, fmt.Errorf("deployment %.80q: image: %w", d.Name, s.elsewhere(err, d.Image))}
	}
	facts := deployedOf(&p)
	if err := d.Check(&facts); err != nil {
		return err
	}
	return s.fitsRules(d, &p)
}

func (s *server) fitsRules(d *deployment.Deployment, p *library.Package) error {
	if s.CheckRules == nil {
		return nil
	}
	return s.CheckRules(*d, *p)
}

// deployed has running sessions take over the rules of deployments as they are now.
func (s *server) deployed() {
	if s.Deployed != nil {
		s.Deployed()
	}
}

func (s *server) removeDeployment(r *http.Request) (any, error) {
	name := r.PathValue("name")
	s.edits.Lock()
	defer s.edits.Unlock()
	err := s.Deployments.Remove(name)
	s.record(r, api.HistoryAction{Action: "deployment remove", Detail: name}, err)
	if err != nil {
		return nil, unknownDeployment(err)
	}
	s.did(r, "deployment removed", zap.String("deployment", name))
	return struct{}{}, nil
}

// mayChange refuses a change of a package that contradicts the configuration, or a deployment. The caller holds edits.
func (s *server) mayChange(ref string, change *api.ImageChange) error {
	before, err := s.Library.Get(ref)
	if err != nil {
		return err
	}
	after := before
	if change.Name != nil {
		after.Name = *change.Name
	}
	if change.MulticastOnly != nil {
		after.Flags.MulticastOnly = *change.MulticastOnly
	}
	if err := s.fitsFleet(&before, &after); err != nil {
		return err
	}
	was, is := deployedOf(&before), deployedOf(&after)
	deployments := s.Deployments.List()
	if after.Name != before.Name {
		stay := append(s.packagesBut(was.Reference()), is)
		if err := deployment.CheckGone(deployments, &was, stay); err != nil {
			return fmt.Errorf("rename %w", err)
		}
	}
	if !after.Flags.MulticastOnly {
		return nil
	}
	if s.MayBeMulticastOnly != nil {
		if err := s.MayBeMulticastOnly(after.Name, after.Version); err != nil {
			return err
		}
	}
	if err := deployment.CheckMulticastOnly(deployments, &is); err != nil {
		return err
	}
	for i := range deployments {
		if d := &deployments[i]; d.Names(&is) {
			if err := s.fitsRules(d, &after); err != nil {
				return err
			}
		}
	}
	return nil
}

// mayRemove refuses to remove a package that a deployment needs. The caller holds edits.
func (s *server) mayRemove(ref string) error {
	p, err := s.Library.Get(ref)
	if err != nil {
		return err
	}
	gone := deployedOf(&p)
	if err := deployment.CheckGone(s.Deployments.List(), &gone, s.packagesBut(gone.Reference())); err != nil {
		return fmt.Errorf("remove %w", err)
	}
	return nil
}

// packagesBut returns all packages but one.
func (s *server) packagesBut(ref string) []deployment.Package {
	var out []deployment.Package
	for _, p := range s.Library.List() {
		out = append(out, deployedOf(&p))
	}
	return slices.DeleteFunc(out, func(p deployment.Package) bool { return p.Reference() == ref })
}
