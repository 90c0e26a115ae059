package api

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// Deployment is a package for a room: who may have it, and how its sessions are run.
type Deployment struct {
	Name    string            `json:"name"`
	Image   string            `json:"image"`             // name@version, or a name for the version that is current at join
	Package string            `json:"package,omitempty"` // what image names now; not in a request
	Index   int               `json:"index,omitempty"`   // of the image in the WIM, from 1 on
	Who     []string          `json:"who,omitempty"`     // patterns for certificates' names; none: every bundle that may join
	Rules   map[string]string `json:"rules,omitempty"`   // keys of [session] in the configuration
	Content string            `json:"content,omitempty"` // download; an answer always has it
	Comment string            `json:"comment,omitempty"`
	Created time.Time         `json:"created,omitzero"` // not in a request
	Changed time.Time         `json:"changed,omitzero"` // not in a request
}

// DeploymentChange changes a deployment; nil fields stay.
type DeploymentChange struct {
	Image   *string           `json:"image,omitempty"`
	Index   *int              `json:"index,omitempty"` // 0: none named
	Who     *[]string         `json:"who,omitempty"`
	Rules   map[string]string `json:"rules,omitempty"` // keys that aren't there stay; "" gives one back to the configuration
	Content *string           `json:"content,omitempty"`
	Comment *string           `json:"comment,omitempty"`
}

// Deployments lists the deployments.
func (c *Client) Deployments(ctx context.Context) (list []Deployment, err error) {
	return list, c.do(ctx, http.MethodGet, "/v1/deployments", nil, &list)
}

// Deployment returns one deployment.
func (c *Client) Deployment(ctx context.Context, name string) (d Deployment, err error) {
	return d, c.do(ctx, http.MethodGet, deploymentPath(name), nil, &d)
}

// CreateDeployment adds a deployment.
func (c *Client) CreateDeployment(ctx context.Context, d Deployment) (out Deployment, err error) {
	return out, c.do(ctx, http.MethodPost, "/v1/deployments", d, &out)
}

// ChangeDeployment changes a deployment.
func (c *Client) ChangeDeployment(ctx context.Context, name string, change DeploymentChange) (d Deployment, err error) {
	return d, c.do(ctx, http.MethodPatch, deploymentPath(name), change, &d)
}

// RemoveDeployment removes a deployment.
func (c *Client) RemoveDeployment(ctx context.Context, name string) error {
	return c.do(ctx, http.MethodDelete, deploymentPath(name), nil, nil)
}

func deploymentPath(name string) string { return "/v1/deployments/" + url.PathEscape(name) }
