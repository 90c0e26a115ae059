package handler

import (
	"net/http"

	"go.uber.org/zap"

	"wimcast/api"
	"wimcast/library/servicing"
)

// order reads a request for a schedule.
func order(r *http.Request) (servicing.Order, error) {
	var q api.ScheduleRequest
	if err := read(r, &q); err != nil {
		return servicing.Order{}, err
	}
	return servicing.Order{
		Image: q.Image, Indexes: q.Indexes, Updates: q.Updates, Applicable: q.Applicable, Executor: q.Executor,
		When: servicing.When{At: q.At, Cron: q.Cron, UTC: q.UTC}, ContinueOnError: q.ContinueOnError, Version: q.Version, Distribute: q.Distribute,
	}, nil
}

func scheduleOf(s *servicing.Schedule) api.Schedule {
	o := &s.Order
	out := api.Schedule{
		ID: s.ID, By: s.By, Created: s.Created, State: string(s.State), When: o.When.String(), Due: s.Due, Reason: s.Reason, Runs: []api.ScheduleRun{},
		Order: api.ScheduleRequest{
			Image: o.Image, Indexes: o.Indexes, Updates: o.Updates, Applicable: o.Applicable, Executor: o.Executor, At: o.When.At, Cron: o.When.Cron,
			UTC: o.When.UTC, ContinueOnError: o.ContinueOnError, Version: o.Version, Distribute: o.Distribute,
		},
	}
	for _, r := range s.Runs {
		run := api.ScheduleRun{State: string(r.State), Started: r.Started, Ended: r.Ended, From: r.From, To: r.To, Reason: r.Reason, Steps: []api.ScheduleStep{}}
		for _, step := range r.Steps {
			run.Steps = append(run.Steps, api.ScheduleStep{
				Update: step.Update, Index: step.Index, Executor: step.Executor, State: string(step.State), Text: step.Text, Ended: step.Ended,
			})
		}
		out.Runs = append(out.Runs, run)
	}
	return out
}

func (s *server) listSchedules(*http.Request) (any, error) {
	list := []api.Schedule{}
	for _, one := range s.Servicing.Schedules() {
		list = append(list, scheduleOf(&one))
	}
	return list, nil
}

func (s *server) showSchedule(r *http.Request) (any, error) {
	one, err := s.Servicing.Schedule(r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	return scheduleOf(&one), nil
}

func (s *server) createSchedule(r *http.Request) (any, error) {
	o, err := order(r)
	if err != nil {
		return nil, err
	}
	who, _ := api.CallerOf(r.Context())
	one, err := s.Servicing.Create(r.Context(), o, who.String())
	if err != nil {
		return nil, err
	}
	s.did(r, "schedule made", zap.String("schedule", one.ID), zap.String("package", one.Order.Image), zap.Time("due", one.Due))
	return scheduleOf(&one), nil
}

func (s *server) planSchedule(r *http.Request) (any, error) {
	o, err := order(r)
	if err != nil {
		return nil, err
	}
	plan, err := s.Servicing.Plan(r.Context(), o)
	if err != nil {
		return nil, err
	}
	out := api.SchedulePlan{Package: plan.Image.Reference, Version: plan.Version, Size: plan.Image.Size, Due: plan.Due, When: o.When.String(), Steps: []api.ScheduleStep{}}
	for _, t := range plan.Tasks {
		out.Steps = append(out.Steps, api.ScheduleStep{Update: t.Update.Reference(), Index: t.Index, Executor: t.Executor, State: string(servicing.Waiting)})
	}
	for _, j := range plan.Skipped {
		out.Steps = append(out.Steps, api.ScheduleStep{Update: j.Update.Reference(), Index: j.Index, State: string(servicing.Skipped), Text: j.Text})
	}
	return out, nil
}

func (s *server) cancelSchedule(r *http.Request) (any, error) {
	one, err := s.Servicing.Cancel(r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	s.did(r, "schedule cancelled", zap.String("schedule", one.ID))
	return scheduleOf(&one), nil
}
