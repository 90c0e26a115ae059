package api

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Update is a software update or an overlay of the catalogue.
type Update struct {
	Reference    string          `json:"reference"` // ID, with the architecture where it has one
	ID           string          `json:"id"`
	Kind         string          `json:"kind"` // msu, cab or overlay
	Title        string          `json:"title,omitempty"`
	Architecture string          `json:"architecture,omitempty"` // empty: any
	Build        string          `json:"build"`                  // 22621, 22621-22631 or any
	Editions     []string        `json:"editions,omitempty"`     // empty: any
	Languages    []string        `json:"languages,omitempty"`    // empty: any
	SupersededBy []string        `json:"superseded_by,omitempty"`
	Requires     []string        `json:"requires,omitempty"`
	Identity     *UpdateIdentity `json:"identity,omitempty"`
	File         string          `json:"file"`
	SHA256       string          `json:"sha256"`
	Size         int64           `json:"size_bytes"`
	Added        time.Time       `json:"added"`
	AlreadyThere bool            `json:"already_there,omitempty"` // answer to an add of what was added before
	Read         []string        `json:"read,omitempty"`          // fields that the package says
	Told         []string        `json:"told,omitempty"`          // fields that whoever added it said
}

// UpdateIdentity is how Windows' servicing names a package.
type UpdateIdentity struct {
	Name           string `json:"name"`
	Version        string `json:"version"`
	Architecture   string `json:"architecture"`
	PublicKeyToken string `json:"public_key_token"`
	Language       string `json:"language"`
}

// UpdateRequest says what is added to the catalogue.
type UpdateRequest struct {
	File         string // its name
	Overlay      bool   // a tar archive of a tree of files
	ID           string
	Title        string
	Architecture string
	Build        string
	Editions     []string
	Languages    []string
	SupersededBy []string
	Requires     []string
}

// ImageUpdates is what is known of the updates of one image inside a package.
type ImageUpdates struct {
	Package      string             `json:"package"` // name@version
	Index        int                `json:"index"`
	Name         string             `json:"name"`
	Architecture string             `json:"architecture,omitempty"`
	Build        int64              `json:"build,omitempty"`
	Edition      string             `json:"edition,omitempty"`
	Languages    []string           `json:"languages,omitempty"`
	Installed    []InstalledPackage `json:"installed"`
	Applied      []AppliedUpdate    `json:"applied"` // here
	Updates      []JudgedUpdate     `json:"updates"` // of the catalogue
}

// InstalledPackage is a package of Windows' servicing that is in an image.
type InstalledPackage struct {
	ID      string `json:"id,omitempty"`
	Name    string `json:"name"`
	Version string `json:"version"`
}

// AppliedUpdate is an update or overlay that was put into an image here.
type AppliedUpdate struct {
	ID       string `json:"id"`
	Executor string `json:"executor"`
	Date     string `json:"date"`
}

// JudgedUpdate is an update with what was found about it for an image.
type JudgedUpdate struct {
	Update  string `json:"update"` // reference
	Title   string `json:"title,omitempty"`
	Verdict string `json:"verdict"`
	Text    string `json:"text"`
}

// ScheduleRequest orders the servicing of an image.
type ScheduleRequest struct {
	Image           string    `json:"image"`
	Indexes         []int     `json:"indexes,omitempty"`
	Updates         []string  `json:"updates,omitempty"`
	Applicable      bool      `json:"applicable,omitempty"`
	Executor        string    `json:"executor,omitempty"`
	At              time.Time `json:"at,omitzero"`
	Cron            string    `json:"cron,omitempty"`
	UTC             bool      `json:"utc,omitempty"`
	ContinueOnError bool      `json:"continue_on_error,omitempty"`
	Version         string    `json:"version,omitempty"`
	Distribute      bool      `json:"distribute,omitempty"`
}

// SchedulePlan is what an order comes to: what a dry run shows.
type SchedulePlan struct {
	Package string         `json:"package"` // name@version
	Version string         `json:"version"` // of the new package
	Size    int64          `json:"size_bytes"`
	Due     time.Time      `json:"due"`
	When    string         `json:"when"`
	Steps   []ScheduleStep `json:"steps"`
}

// Schedule is an order with what has come of it.
type Schedule struct {
	ID      string          `json:"id"`
	Order   ScheduleRequest `json:"order"`
	By      string          `json:"by"`
	Created time.Time       `json:"created"`
	State   string          `json:"state"`
	When    string          `json:"when"`
	Due     time.Time       `json:"due,omitzero"`
	Reason  string          `json:"reason,omitempty"`
	Runs    []ScheduleRun   `json:"runs"` // the latest last
}

// ScheduleRun is one try.
type ScheduleRun struct {
	State   string         `json:"state"`
	Started time.Time      `json:"started"`
	Ended   time.Time      `json:"ended,omitzero"`
	From    string         `json:"from,omitempty"`
	To      string         `json:"to,omitempty"`
	Reason  string         `json:"reason,omitempty"`
	Steps   []ScheduleStep `json:"steps"`
}

// ScheduleStep is an update or overlay in a run: the line of its log.
type ScheduleStep struct {
	Update   string    `json:"update"` // reference
	Index    int       `json:"index"`
	Executor string    `json:"executor,omitempty"`
	State    string    `json:"state"`
	Text     string    `json:"text,omitempty"`
	Ended    time.Time `json:"ended,omitzero"`
}

// RollbackRequest asks for another version to be the current one.
type RollbackRequest struct {
	Version *string `json:"version,omitempty"` // nil: the one that was current before
}

// RolledBack says which version a name means now.
type RolledBack struct {
	From string `json:"from"` // name@version
	To   string `json:"to"`   // name@version
}

// AddUpdate adds the size bytes that r holds to the catalogue; size is -1 where that isn't known.
func (c *Client) AddUpdate(ctx context.Context, r io.Reader, size int64, u UpdateRequest) (out Update, err error) {
	q := url.Values{
		"file": {u.File}, "overlay": {strconv.FormatBool(u.Overlay)}, "id": {u.ID}, "title": {u.Title}, "architecture": {u.Architecture}, "build": {u.Build},
		"edition": u.Editions, "language": u.Languages, "superseded_by": u.SupersededBy, "requires": u.Requires,
	}
	return out, c.send(ctx, http.MethodPost, "/v1/updates?"+q.Encode(), r, size, &out)
}

// Updates lists the catalogue, overlays too.
func (c *Client) Updates(ctx context.Context) (list []Update, err error) {
	return list, c.do(ctx, http.MethodGet, "/v1/updates", nil, &list)
}

// Update returns one of the catalogue.
func (c *Client) Update(ctx context.Context, name string) (u Update, err error) {
	return u, c.do(ctx, http.MethodGet, "/v1/updates/"+url.PathEscape(name), nil, &u)
}

// RemoveUpdate removes one from the catalogue.
func (c *Client) RemoveUpdate(ctx context.Context, name string) error {
	return c.do(ctx, http.MethodDelete, "/v1/updates/"+url.PathEscape(name), nil, nil)
}

// ImageUpdates returns the updates of a package's images; index 0 for all of them.
func (c *Client) ImageUpdates(ctx context.Context, ref string, index int) (list []ImageUpdates, err error) {
	return list, c.do(ctx, http.MethodGet, imagePath(ref)+"/updates?index="+strconv.Itoa(index), nil, &list)
}

// Rollback makes a former version of a package the current one.
func (c *Client) Rollback(ctx context.Context, name string, r RollbackRequest) (out RolledBack, err error) {
	return out, c.do(ctx, http.MethodPost, imagePath(name)+"/rollback", r, &out)
}

// CreateSchedule orders the servicing of an image.
func (c *Client) CreateSchedule(ctx context.Context, r ScheduleRequest) (s Schedule, err error) {
	return s, c.do(ctx, http.MethodPost, "/v1/schedules", r, &s)
}

// PlanSchedule says what an order would come to, and changes nothing.
func (c *Client) PlanSchedule(ctx context.Context, r ScheduleRequest) (p SchedulePlan, err error) {
	return p, c.do(ctx, http.MethodPost, "/v1/schedules/plan", r, &p)
}

// Schedules lists them, the latest first.
func (c *Client) Schedules(ctx context.Context) (list []Schedule, err error) {
	return list, c.do(ctx, http.MethodGet, "/v1/schedules", nil, &list)
}

// Schedule returns one.
func (c *Client) Schedule(ctx context.Context, id string) (s Schedule, err error) {
	return s, c.do(ctx, http.MethodGet, "/v1/schedules/"+url.PathEscape(id), nil, &s)
}

// CancelSchedule cancels one.
func (c *Client) CancelSchedule(ctx context.Context, id string) (s Schedule, err error) {
	return s, c.do(ctx, http.MethodPost, "/v1/schedules/"+url.PathEscape(id)+"/cancel", nil, &s)
}
