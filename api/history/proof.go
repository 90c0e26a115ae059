package history

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"

	"wimcast/api"
)

// sighting is a machine's part in one session, as Proof looks at it.
type sighting struct {
	api.HistoryClient
	machine string
	asked   bool  // the query names it, and not only another of the same hardware
	from    int64 // ms; joined
	to      int64 // ms; ended, or last seen
}

// Proof says which of the machines that a query's Clients and Bundle name have proven
// some content, and when. Machines are told apart by their hardware (UUID, else serial number, else
// MAC addresses, else name): one that has another name at each boot is one machine. Where
// two names claim the same hardware at the same time, it tells nothing, and names count. A name
// without * or ? that the record doesn't know is "never seen".
func (s *Store) Proof(ctx context.Context, digest string, q api.HistoryQuery) (api.Proof, error) {
	s.Sync(ctx)
	proof := api.Proof{Digest: digest, Machines: []api.ProofMachine{}}
	machines, err := s.machines(ctx, &q)
	if err != nil {
		return proof, fmt.Errorf("read history: %w", err)
	}
	for _, sightings := range machines {
		proof.Machines = append(proof.Machines, judge(sightings, digest))
	}
	for _, name := range q.Clients {
		if name = clean(name); name != "" && !isGlob(name) && !slices.ContainsFunc(machines, func(m []sighting) bool { return slices.ContainsFunc(m, func(c sighting) bool { return c.is(name) }) }) {
			proof.Machines = append(proof.Machines, api.ProofMachine{Name: name, State: api.ProofNeverSeen})
		}
	}
	slices.SortStableFunc(proof.Machines, func(a, b api.ProofMachine) int {
		return cmp.Or(cmp.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name)), a.Proven.Compare(b.Proven))
	})
	for i := range proof.Machines {
		if proof.Machines[i].State == api.ProofProven {
			proof.Proven++
		} else {
			proof.Missing++
		}
	}
	return proof, nil
}

// is reports whether a pattern without * and ? names the machine: clientFits, again.
func (c *sighting) is(name string) bool {
	return name != "" && (strings.EqualFold(c.Name, name) || strings.EqualFold(c.UUID, name) || strings.EqualFold(c.Serial, name) ||
		slices.Contains(strings.Split(c.MACs, ","), strings.ToLower(strings.ReplaceAll(name, "-", ":"))))
}

// machines returns what the record has of each machine that a query names, in the order of time.
func (s *Store) machines(ctx context.Context, q *api.HistoryQuery) ([][]sighting, error) {
	asked := clientFilter(&api.HistoryQuery{Clients: q.Clients, Bundle: q.Bundle})
	asked.add("c.name <> ?", forgottenName)
	times := clientFilter(&api.HistoryQuery{Since: q.Since, Until: q.Until})
	query := `SELECT c.machine, ` + asked.where() + `, c.name, c.uuid, c.serial, c.macs, c.certificate, c.state, c.reason, c.joined, coalesce(c.ended, s.seen), c.proven,
		c.multicast_bytes, c.unicast_bytes, c.held_bytes, c.seed_bytes, s.id, s.package, s.digest
		FROM clients c JOIN sessions s ON s.id = c.session
		WHERE c.machine IN (SELECT c.machine FROM clients c JOIN sessions s ON s.id = c.session WHERE ` + asked.where() + ` AND ` + times.where() + `) AND ` + times.where() + `
		ORDER BY c.joined, c.id`
	args := slices.Concat(asked.args, asked.args, times.args, times.args)
	byHardware := map[string][]sighting{}
	err := s.query(ctx, query, args, func(rows *sql.Rows) error {
		var c sighting
		var proven sql.NullInt64
		err := rows.Scan(&c.machine, &c.asked, &c.Name, &c.UUID, &c.Serial, &c.MACs, &c.Certificate, &c.State, &c.Reason, &c.from, &c.to, &proven,
			&c.MulticastBytes, &c.UnicastBytes, &c.HeldBytes, &c.SeedBytes, &c.SessionID, &c.Package, &c.Digest)
		c.Proven = atMaybe(proven)
		byHardware[c.machine] = append(byHardware[c.machine], c)
		return err
	})
	var machines [][]sighting
	for _, sightings := range byHardware {
		for _, m := range apart(sightings) {
			if slices.ContainsFunc(m, func(c sighting) bool { return c.asked }) {
				machines = append(machines, m)
			}
		}
	}
	return machines, err
}

// apart splits what claims to be one machine by name, where two names were there at the
// same time. The sightings are in the order of their joins.
func apart(sightings []sighting) [][]sighting {
	clash := false
	last := map[string]int64{} // when each name was there last
	for _, c := range sightings {
		for name, to := range last {
			clash = clash || !strings.EqualFold(name, c.Name) && to > c.from
		}
		last[c.Name] = max(last[c.Name], c.to)
	}
	if !clash {
		return [][]sighting{sightings}
	}
	byName := map[string][]sighting{}
	for _, c := range sightings {
		name := strings.ToLower(c.Name)
		byName[name] = append(byName[name], c)
	}
	var out [][]sighting
	for _, m := range byName {
		out = append(out, m)
	}
	return out
}

// judge says what the record has of one machine and some content.
func judge(sightings []sighting, digest string) api.ProofMachine {
	latest := sightings[len(sightings)-1]
	m := api.ProofMachine{
		Name: latest.Name, UUID: latest.UUID, Serial: latest.Serial, MACs: latest.MACs, Certificate: latest.Certificate, State: api.ProofNotProven,
	}
	var other sighting // the latest proof of other content
	for _, c := range sightings {
		m.LastSeen = at(max(c.to, m.LastSeen.UnixMilli()))
		switch {
		case c.Digest != digest:
			if c.Proven.After(other.Proven) {
				other = c
			}
		case !c.Proven.IsZero() && !c.Proven.Before(m.Proven):
			m.State, m.Proven, m.SessionID, m.Path = api.ProofProven, c.Proven, c.SessionID, path(&c.HistoryClient)
		default:
			m.LastState, m.LastReason = c.State, c.Reason
		}
	}
	if m.State == api.ProofProven {
		m.LastState, m.LastReason = "", ""
		if other.Proven.After(m.Proven) {
			m.Later = other.Package
		}
	}
	return m
}

// path is where most of an image's bytes came from.
func path(c *api.HistoryClient) string {
	switch most := max(c.MulticastBytes, c.UnicastBytes, c.HeldBytes, c.SeedBytes); most {
	case c.MulticastBytes:
		return "multicast"
	case c.UnicastBytes:
		return "unicast"
	case c.HeldBytes:
		return "held"
	}
	return "seed"
}
