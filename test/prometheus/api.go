//go:build linux

package prometheus

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"time"
)

// Value is a number at a time.
type Value struct {
	Time  time.Time
	Value float64
}

// UnmarshalJSON reads [seconds, "number"].
func (v *Value) UnmarshalJSON(text []byte) error {
	var at float64
	var number string
	if err := json.Unmarshal(text, &[2]any{&at, &number}); err != nil {
		return err
	}
	value, err := strconv.ParseFloat(number, 64)
	if err != nil {
		return err
	}
	v.Time, v.Value = time.UnixMilli(int64(at*1000)), value
	return nil
}

// Sample is an element of an instant vector; a scalar is one without labels.
type Sample struct {
	Labels map[string]string `json:"metric"`
	Value  Value             `json:"value"`
}

// Series is an element of a range vector.
type Series struct {
	Labels map[string]string `json:"metric"`
	Values []Value           `json:"values"`
}

// Query evaluates an expression now. The answer may be empty; one that is a range or a text is an error.
func (s *Server) Query(ctx context.Context, expression string) ([]Sample, error) {
	var data struct {
		Type   string          `json:"resultType"`
		Result json.RawMessage `json:"result"`
	}
	if err := s.get(ctx, "query", url.Values{"query": {expression}}, &data); err != nil {
		return nil, fmt.Errorf("%w, in %s", err, expression)
	}
	switch data.Type {
	case "vector":
		var samples []Sample
		return samples, json.Unmarshal(data.Result, &samples)
	case "scalar":
		var one Value
		return []Sample{{Value: one}}, json.Unmarshal(data.Result, &one)
	default:
		return nil, fmt.Errorf("query %s: it is a %s", expression, data.Type)
	}
}

// QueryRange evaluates an expression at steps of a time.
func (s *Server) QueryRange(ctx context.Context, expression string, from, to time.Time, step time.Duration) ([]Series, error) {
	seconds := func(t time.Time) string { return strconv.FormatFloat(float64(t.UnixMilli())/1000, 'f', 3, 64) }
	var data struct {
		Result []Series `json:"result"`
	}
	err := s.get(ctx, "query_range", url.Values{
		"query": {expression}, "start": {seconds(from)}, "end": {seconds(to)}, "step": {strconv.FormatFloat(step.Seconds(), 'f', 3, 64)},
	}, &data)
	if err != nil {
		return nil, fmt.Errorf("%w, in %s", err, expression)
	}
	return data.Result, nil
}

// Alert is one that is pending or fires.
type Alert struct {
	Labels      map[string]string `json:"labels"` // alertname, severity, instance and so on
	Annotations map[string]string `json:"annotations"`
	State       string            `json:"state"` // pending, firing
	ActiveAt    time.Time         `json:"activeAt"`
	Value       string            `json:"value"`
}

// Alerts returns those that are pending or fire.
func (s *Server) Alerts(ctx context.Context) ([]Alert, error) {
	var data struct {
		Alerts []Alert `json:"alerts"`
	}
	err := s.get(ctx, "alerts", nil, &data)
	return data.Alerts, err
}

// Rule is an alert rule, or one that records.
type Rule struct {
	Name        string            `json:"name"`
	Query       string            `json:"query"`
	Duration    float64           `json:"duration"` // for, in seconds
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
	State       string            `json:"state"`  // of alert rules: inactive, pending, firing
	Health      string            `json:"health"` // ok, unknown before the first evaluation, err
	LastError   string            `json:"lastError"`
	Type        string            `json:"type"` // alerting, recording
}

// Rules returns all rules in the files' order.
func (s *Server) Rules(ctx context.Context) ([]Rule, error) {
	var data struct {
		Groups []struct {
			Rules []Rule `json:"rules"`
		} `json:"groups"`
	}
	if err := s.get(ctx, "rules", nil, &data); err != nil {
		return nil, err
	}
	var all []Rule
	for _, g := range data.Groups {
		all = append(all, g.Rules...)
	}
	return all, nil
}

// Scraped is a target as the server sees it.
type Scraped struct {
	Labels    map[string]string `json:"labels"`
	URL       string            `json:"scrapeUrl"`
	Health    string            `json:"health"` // up, down, unknown before the first scrape
	LastError string            `json:"lastError"`
}

// Targets returns what the server scrapes.
func (s *Server) Targets(ctx context.Context) ([]Scraped, error) {
	var data struct {
		Active []Scraped `json:"activeTargets"`
	}
	err := s.get(ctx, "targets", url.Values{"state": {"active"}}, &data)
	return data.Active, err
}

// Await asks again and again, as the server tells nobody of what it sees, until what it is given is true. An error of asking ends it.
func (s *Server) Await(ctx context.Context, what string, is func() (bool, error)) error {
	again := time.NewTicker(s.every / 2)
	defer again.Stop()
	for {
		if ok, err := is(); err != nil || ok {
			return err
		}
		select {
		case <-again.C:
		case <-s.exited:
			return fmt.Errorf("waiting for %s: prometheus ended: %s", what, s.Log())
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", what, context.Cause(ctx))
		}
	}
}

// AwaitUp waits until the targets with these instances have been scraped well.
func (s *Server) AwaitUp(ctx context.Context, instances ...string) error {
	return s.Await(ctx, fmt.Sprintf("scrapes of %v", instances), func() (bool, error) {
		targets, err := s.Targets(ctx)
		up := map[string]bool{}
		for _, t := range targets {
			up[t.Labels["instance"]] = t.Health == "up"
		}
		for _, instance := range instances {
			if !up[instance] {
				return false, err
			}
		}
		return true, err
	})
}

// AwaitQuery waits until an expression has an answer, and returns it.
func (s *Server) AwaitQuery(ctx context.Context, expression string) ([]Sample, error) {
	var samples []Sample
	err := s.Await(ctx, expression, func() (bool, error) {
		var err error
		samples, err = s.Query(ctx, expression)
		return len(samples) > 0, err
	})
	return samples, err
}
