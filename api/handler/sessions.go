package handler

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"wimcast/api"
	"wimcast/session"
)

// listSessions lists sessions, with clients=false without their clients: who only counts them needn't be sent 500.
func (s *server) listSessions(r *http.Request) (any, error) {
	whole := true
	if text := r.URL.Query().Get("clients"); text != "" {
		var err error
		if whole, err = strconv.ParseBool(text); err != nil {
			return nil, bad("clients: %q is neither true nor false", text)
		}
	}
	running, ended := s.Sessions.Sessions()
	list := []api.Session{}
	for _, info := range slices.Concat(running, ended) {
		one := SessionOf(&info)
		if !whole {
			one.Clients = []api.Member{}
		}
		list = append(list, one)
	}
	return list, nil
}

// SessionOf is what the API says of a session, its clients included.
func SessionOf(info *session.SessionInfo) api.Session {
	out := api.Session{
		ID: info.ID, Package: info.Package, Deployment: info.Deployment, Digest: info.Digest.String(), Mode: info.Mode.String(), State: info.State.String(),
		Group: groupOf(info), Lane: info.Lane, Start: string(info.Start), Deadline: info.Deadline, Minimum: info.Minimum, Waiting: info.Waiting, Started: info.Started, Ended: info.Ended, Reason: info.Reason, Size: info.ImageSize, Blocks: info.Blocks,
		Limit: info.Limit, SlowPolicy: string(info.Slow), Floor: info.Floor, Grace: info.Grace.Seconds(), Alarm: info.Alarm,
		Rate: info.Rate, Ceiling: info.Ceiling, RateReason: string(info.RateReason), GRTT: info.GRTT.Seconds(), Epoch: info.Epoch, Pass: info.Pass,
		Sent: api.Sent{
			SourcePackets: info.Sent.SourcePackets, ParityPackets: info.Sent.ParityPackets, ManifestPackets: info.Sent.ManifestPackets,
			ControlPackets: info.Sent.ControlPackets, Errors: info.Sent.Errors,
			Bytes: info.Sent.SourceBytes + info.Sent.ParityBytes + info.Sent.ManifestBytes + info.Sent.ControlBytes,
		},
		NACKs:   api.NACKs{Served: info.NACKs.Served, Merged: info.NACKs.Merged, Limited: info.NACKs.Limited},
		Clients: []api.Member{}, States: map[string]int{},
	}
	var progress []float64
	for i := range info.Clients {
		c := &info.Clients[i]
		if c.Number == info.Limiting {
			out.Limiting = c.Name
		}
		if c.State == session.ClientReceiving || c.State == session.ClientUnicast || c.State == session.ClientProven {
			progress = append(progress, c.Progress)
		}
		out.States[string(c.State)]++
		out.Clients = append(out.Clients, memberOf(c))
	}
	if len(progress) > 0 {
		slices.Sort(progress)
		out.Progress, out.Median, out.Most = progress[0], progress[len(progress)/2], progress[len(progress)-1]
	}
	return out
}

// groupOf is where a session sends; "" for one of unicast clients alone.
func groupOf(info *session.SessionInfo) string {
	if !info.Group.IsValid() {
		return ""
	}
	return info.Group.String()
}

func memberOf(c *session.ClientInfo) api.Member {
	network := c.Lost
	if network > c.KernelDrops {
		network -= c.KernelDrops
	} else {
		network = 0
	}
	return api.Member{
		Number: c.Number, Name: c.Name, Address: c.Peer.Addr.String(), Certificate: c.Peer.Name, Role: c.Peer.Role, State: string(c.State),
		Reason: c.Reason, Joined: c.Joined, Ended: c.Ended, Progress: c.Progress, Rate: c.Rate, Loss: c.Loss, RTT: c.RTT.Seconds(),
		LostNetwork: network, LostBuffer: c.KernelDrops, LostDisk: c.DiskDrops, Rejected: c.Rejected, NACKs: c.NACKs, Muted: c.Muted,
		MulticastBytes: c.Multicast, UnicastBytes: c.Unicast, HeldBytes: c.Held, SeedBytes: c.Seed, Slow: slowOf(&c.Slow),
	}
}

func slowOf(s *session.Slowness) *api.Slow {
	if s.Since.IsZero() {
		return nil
	}
	return &api.Slow{
		Since: s.Since, Seconds: s.For.Seconds(), Takes: s.Takes, Wanted: s.Wanted, Cause: string(s.Cause), Lost: s.Lost,
		Acted: s.Acted, Action: s.Action,
	}
}

// changeSession changes ceiling, floor or policy of a running session.
func (s *server) changeSession(r *http.Request) (any, error) {
	id := r.PathValue("id")
	var change api.SessionChange
	if err := read(r, &change); err != nil {
		return nil, err
	}
	var detail []string
	if change.Ceiling != nil {
		detail = append(detail, fmt.Sprintf("ceiling %.0f B/s", *change.Ceiling))
	}
	if change.SlowPolicy != nil {
		detail = append(detail, "slow "+*change.SlowPolicy)
	}
	if change.Floor != nil {
		detail = append(detail, fmt.Sprintf("floor %.0f B/s", *change.Floor))
	}
	steering := session.Steering{Ceiling: change.Ceiling, Slow: (*session.SlowPolicy)(change.SlowPolicy), Floor: change.Floor}
	if change.Grace != nil {
		grace := time.Duration(min(max(*change.Grace, 0), 1e6) * float64(time.Second))
		steering.Grace = &grace
		detail = append(detail, fmt.Sprintf("grace %v", grace))
	}
	info, err := s.Sessions.Steer(id, steering)
	s.record(r, api.HistoryAction{Action: "set", Session: id, Detail: strings.Join(detail, ", ")}, err)
	if err != nil {
		return nil, refusedBy(err)
	}
	s.did(r, "session changed by the operator", zap.String("session", id), zap.Strings("to", detail))
	return SessionOf(&info), nil
}

// refusedBy gives an error of the sessions its status: what can't be is refused, what is too late is a conflict.
func refusedBy(err error) error {
	if _, never := errors.AsType[*session.RuleError](err); never {
		return err
	}
	return &statusError{http.StatusConflict, err}
}

func (s *server) stopSession(r *http.Request) (any, error) {
	err := s.Sessions.Stop(r.PathValue("id"), "stopped by the operator")
	s.record(r, api.HistoryAction{Action: "stop", Session: r.PathValue("id")}, err)
	if err != nil {
		return nil, &statusError{http.StatusConflict, err}
	}
	s.did(r, "session stopped by the operator", zap.String("session", r.PathValue("id")))
	return struct{}{}, nil
}

// startSession starts a session whose clients wait for it.
func (s *server) startSession(r *http.Request) (any, error) {
	return s.onStart(r, "start", "", "session started by the operator", s.Sessions.StartNow)
}

// waitLonger puts off a session's start.
func (s *server) waitLonger(r *http.Request) (any, error) {
	var wait api.SessionWait
	if err := read(r, &wait); err != nil {
		return nil, err
	}
	by := time.Duration(min(max(wait.Longer, 0), 1e9) * float64(time.Second))
	return s.onStart(r, "wait", fmt.Sprintf("%v longer", by), "session's start put off by the operator", func(id string) (session.SessionInfo, error) {
		return s.Sessions.WaitLonger(id, by)
	})
}

// onStart does something about a session's start, and answers with the session as it then is.
func (s *server) onStart(r *http.Request, action, detail, done string, do func(id string) (session.SessionInfo, error)) (any, error) {
	id := r.PathValue("id")
	info, err := do(id)
	s.record(r, api.HistoryAction{Action: action, Session: id, Detail: detail}, err)
	if err != nil {
		return nil, refusedBy(err)
	}
	s.did(r, done, zap.String("session", id), zap.String("detail", detail))
	return SessionOf(&info), nil
}

// cancelSession ends a session before it has started.
func (s *server) cancelSession(r *http.Request) (any, error) {
	id := r.PathValue("id")
	err := s.Sessions.Cancel(id, "cancelled by the operator")
	s.record(r, api.HistoryAction{Action: "cancel", Session: id}, err)
	if err != nil {
		return nil, refusedBy(err)
	}
	s.did(r, "session cancelled by the operator", zap.String("session", id))
	return struct{}{}, nil
}

// queue lists the clients that wait for a place.
func (s *server) queue(*http.Request) (any, error) {
	list := []api.Queued{}
	for _, q := range s.Sessions.Queue() {
		list = append(list, api.Queued{
			Name: q.Name, Address: q.Peer.Addr.String(), Certificate: q.Peer.Name, Package: q.Package, Since: q.Since, Place: q.Place, Limit: q.Limit, Reason: q.Reason,
		})
	}
	return list, nil
}

// evict takes a client out of the sessions that it is in.
func (s *server) evict(r *http.Request) (any, error) {
	switch revoke := r.URL.Query().Get("revoke"); revoke {
	case "", "false":
	case "true":
		return s.evictForGood(r)
	default:
		return nil, bad("revoke: %q is neither true nor false", revoke)
	}
	return s.onClient(r, "evict", "client evicted by the operator", s.Sessions.Evict)
}

// sendUnicast sends a client to unicast.
func (s *server) sendUnicast(r *http.Request) (any, error) {
	return s.onClient(r, "unicast", "client sent to unicast by the operator", s.Sessions.SendUnicast)
}

// onClient does something with a client in each session that it is in, or in the one that the request names. What of it has ended
// comes last: where it was before it was demoted, or left. It answers with the sessions in which that worked.
func (s *server) onClient(r *http.Request, action, done string, do func(session string, number uint32) error) (any, error) {
	name, only := r.PathValue("name"), r.URL.Query().Get("session")
	running, ended := s.Sessions.Sessions()
	in := []string{}
	var errs []error
	for _, over := range []bool{false, true} {
		if over && len(errs) > 0 {
			break // what is there of it can't be; what has been there is no matter
		}
		for i := range running {
			for _, c := range named(&running[i], name, only) {
				if c.Ended.IsZero() == over {
					continue
				}
				err := do(running[i].ID, c.Number)
				if over && err != nil && len(in) > 0 {
					continue // it went with the rest of it
				}
				s.record(r, api.HistoryAction{Action: action, Session: running[i].ID, Client: c.Name}, err)
				if err != nil {
					errs = append(errs, err)
					continue
				}
				s.did(r, done, zap.String("client", c.Name), zap.Uint32("number", c.Number), zap.String("session", running[i].ID), zap.String("package", running[i].Package))
				if !slices.Contains(in, running[i].ID) {
					in = append(in, running[i].ID)
				}
			}
		}
	}
	if len(in) == 0 {
		if err := errors.Join(errs...); err != nil {
			return nil, refusedBy(err)
		}
		return nil, noClient(name, only, running, ended)
	}
	return in, nil
}

// named returns a session's clients of a name or number; none where another session is wanted.
func named(info *session.SessionInfo, name, only string) []session.ClientInfo {
	if only != "" && info.ID != only {
		return nil
	}
	var out []session.ClientInfo
	for i := range info.Clients {
		if c := &info.Clients[i]; c.Name == name || fmt.Sprint(c.Number) == name {
			out = append(out, *c)
		}
	}
	return out
}

// noClient says why nothing was done: the client's session has ended, or there is no such client.
func noClient(name, only string, running, ended []session.SessionInfo) error {
	for i := range slices.Backward(ended) {
		if s := &ended[i]; len(named(s, name, only)) > 0 {
			return &statusError{http.StatusConflict, fmt.Errorf("client %s was in session %s, which has ended (%s); nothing changed", name, s.ID, s.Reason)}
		}
	}
	if is := func(s session.SessionInfo) bool { return s.ID == only }; only != "" && !slices.ContainsFunc(running, is) {
		for i := range ended {
			if is(ended[i]) {
				return &statusError{http.StatusConflict, fmt.Errorf("session %s has ended (%s); nothing changed", only, ended[i].Reason)}
			}
		}
		return &statusError{http.StatusNotFound, fmt.Errorf("no session %s; list them: wimcast session list", only)}
	}
	return &statusError{http.StatusNotFound, fmt.Errorf("no client %s in a running session; list them: wimcast session list", name)}
}
