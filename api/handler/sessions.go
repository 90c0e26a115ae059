package handler

import (
	"errors"
	"fmt"
	"net/http"
	"slices"

	"go.uber.org/zap"

	"wimcast/api"
	"wimcast/session"
)

func (s *server) listSessions(*http.Request) (any, error) {
	running, ended := s.Sessions.Sessions()
	list := []api.Session{}
	for _, info := range slices.Concat(running, ended) {
		list = append(list, sessionOf(&info))
	}
	return list, nil
}

func sessionOf(info *session.SessionInfo) api.Session {
	out := api.Session{
		ID: info.ID, Package: info.Package, Digest: info.Digest.String(), Mode: info.Mode.String(), State: info.State.String(),
		Group: info.Group.String(), Started: info.Started, Ended: info.Ended, Reason: info.Reason, Size: info.ImageSize, Blocks: info.Blocks,
		Rate: info.Rate, Ceiling: info.Ceiling, RateReason: string(info.RateReason), GRTT: info.GRTT.Seconds(), Epoch: info.Epoch, Pass: info.Pass,
		Sent: api.Sent{
			SourcePackets: info.Sent.SourcePackets, ParityPackets: info.Sent.ParityPackets, ManifestPackets: info.Sent.ManifestPackets,
			ControlPackets: info.Sent.ControlPackets, Errors: info.Sent.Errors,
			Bytes: info.Sent.SourceBytes + info.Sent.ParityBytes + info.Sent.ManifestBytes + info.Sent.ControlBytes,
		},
		NACKs:   api.NACKs{Served: info.NACKs.Served, Merged: info.NACKs.Merged, Limited: info.NACKs.Limited},
		Clients: []api.Member{},
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
		out.Clients = append(out.Clients, memberOf(c))
	}
	if len(progress) > 0 {
		slices.Sort(progress)
		out.Progress, out.Median, out.Most = progress[0], progress[len(progress)/2], progress[len(progress)-1]
	}
	return out
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
		MulticastBytes: c.Multicast, UnicastBytes: c.Unicast, HeldBytes: c.Held,
	}
}

func (s *server) stopSession(r *http.Request) (any, error) {
	err := s.Sessions.Stop(r.PathValue("id"), "stopped by the operator")
	s.record(r, api.HistoryAction{Action: "stop", Session: r.PathValue("id")}, err)
	if err != nil {
		return nil, &statusError{http.StatusConflict, err}
	}
	s.Log.Info("session stopped by the operator", zap.String("session", r.PathValue("id")))
	return struct{}{}, nil
}

// evict takes a client out of the sessions that it is in.
func (s *server) evict(r *http.Request) (any, error) {
	name, only := r.PathValue("name"), r.URL.Query().Get("session")
	running, _ := s.Sessions.Sessions()
	from := []string{}
	var errs []error
	for i := range running {
		if only != "" && running[i].ID != only {
			continue
		}
		for _, c := range running[i].Clients {
			if c.Name != name && fmt.Sprint(c.Number) != name {
				continue
			}
			err := s.Sessions.Evict(running[i].ID, c.Number)
			s.record(r, api.HistoryAction{Action: "evict", Session: running[i].ID, Client: c.Name}, err)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			from = append(from, running[i].ID)
		}
	}
	if len(from) == 0 {
		if err := errors.Join(errs...); err != nil {
			return nil, &statusError{http.StatusConflict, err}
		}
		return nil, &statusError{http.StatusNotFound, fmt.Errorf("no client %s in a running session; list them: wimcast session show", name)}
	}
	s.Log.Info("client evicted by the operator", zap.String("client", name), zap.Strings("sessions", from))
	return from, nil
}
