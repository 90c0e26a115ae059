package route

import (
	"slices"
	"strings"
)

// state is what is known of a server in a round.
type state int

const (
	untried state = iota
	down          // no answer
	stops         // it is stopping
	full          // it has a place in a queue at most
	refused       // it doesn't take this client, or hasn't got what it wants
	same          // another address of a server that was asked already
)

// Left is what a client is to do when a server has no place for it.
type Left int

// What may be: a closed set.
const (
	Stay  Left = iota // there is none better: take the place in the queue, or the refusal
	Later             // one that doesn't answer now may have a place
	Now               // another one is to be asked
)

// Route goes through the servers in rounds. A round begins with the server that took the client last, and then goes by the order; it ends
// when a server takes the client, or when all were asked. Not safe for concurrent use.
type Route struct {
	ways   []Way
	stands []standing
	last   int // that took the client; -1: none has yet
	failed int // rounds in a row without any server that takes the client
}

// standing is how a server stands in the round.
type standing struct {
	state  state
	serial string // of its certificate, once it has shown one
	name   string // as it says itself, likewise
	said   string // why it has no place
}

// New returns a route through these ways, the best first.
func New(ways []Way) *Route {
	return &Route{ways: slices.Clone(ways), stands: make([]standing, len(ways)), last: -1}
}

// Ways returns all of them, in order.
func (r *Route) Ways() []Way { return slices.Clone(r.ways) }

// Way returns a way by its number.
func (r *Route) Way(i int) Way { return r.ways[i] }

// Begun reports whether a server has ever taken the client.
func (r *Route) Begun() bool { return r.last >= 0 }

// Failed counts the rounds since a server took the client.
func (r *Route) Failed() int { return r.failed }

// Next returns the number of the server to dial; false when the round is over, in which case the next call begins another one.
func (r *Route) Next() (i int, ok bool) {
	if r.last >= 0 && r.stands[r.last].state == untried {
		return r.last, true
	}
	for _, wanted := range []state{untried, full} {
		if i := r.first(wanted); i >= 0 {
			return i, true
		}
	}
	r.over()
	return 0, false
}

// over ends a round without any server that took the client.
func (r *Route) over() {
	r.failed++
	r.clear()
}

// clear forgets what the servers said, but not who they are.
func (r *Route) clear() {
	for i := range r.stands {
		r.stands[i].state, r.stands[i].said = untried, ""
	}
}

func (r *Route) first(wanted state) int {
	return slices.IndexFunc(r.stands, func(s standing) bool { return s.state == wanted })
}

// Unanswered notes that a server couldn't be dialled; no says that it answered, and refused.
func (r *Route) Unanswered(i int, why string, no bool) {
	r.stands[i].state, r.stands[i].said = down, why
	if no {
		r.stands[i].state = refused
	}
}

// Met notes the certificate that a server has shown, and reports whether that server has said no in this round already, under another
// address: it needn't be asked again.
func (r *Route) Met(i int, serial, name string) (again bool) {
	s := &r.stands[i]
	s.serial, s.name = serial, name
	for j := range r.stands {
		other := &r.stands[j]
		if i != j && other.serial == serial && serial != "" && (other.state == full || other.state == refused || other.state == stops) {
			s.state, s.said = same, ""
			return true
		}
	}
	return false
}

// Stops notes that a server is stopping.
func (r *Route) Stops(i int, why string) { r.stands[i].state, r.stands[i].said = stops, why }

// Full notes that a server has a place in a queue at most, and says whether another one is to be asked first. When all are full the
// client waits at the first of them.
func (r *Route) Full(i int, why string) Left {
	r.stands[i].state, r.stands[i].said = full, why
	if r.first(untried) >= 0 || r.first(full) != i {
		return Now
	}
	return Stay
}

// Refused notes that a server doesn't take the client. One that was taken before waits for servers that don't answer now: they may have
// what it has in part.
func (r *Route) Refused(i int, why string) Left {
	r.stands[i].state, r.stands[i].said = refused, why
	switch {
	case r.first(untried) >= 0 || r.first(full) >= 0:
		return Now
	case r.last >= 0 && (r.first(down) >= 0 || r.first(stops) >= 0):
		r.over()
		return Later
	}
	return Stay
}

// Final reports whether no server of the round may be better at another time: each that was asked said no, or a client that was never
// taken has no other. It is asked when a server couldn't be dialled.
func (r *Route) Final() bool {
	no, unanswered := r.first(refused) >= 0, r.first(down) >= 0 || r.first(stops) >= 0
	return no && (!unanswered || r.last < 0)
}

// Taken notes that a server has a place for the client.
func (r *Route) Taken(i int) {
	r.last, r.failed = i, 0
	r.clear()
}

// Passed says in words why servers were passed over in this round, in order: "" when none was.
func (r *Route) Passed() string {
	var out []string
	for i, s := range r.stands {
		if s.said != "" {
			out = append(out, Title(s.name, r.ways[i].Server)+": "+s.said)
		}
	}
	return strings.Join(out, "; ")
}

// Title is how a server is called: by its name where it has shown one, and its address.
func Title(name, server string) string {
	if name == "" {
		return server
	}
	return name + " (" + server + ")"
}
