// Package doctor says why a machine of a room doesn't get an image by multicast, before one is cast: whether its distribution point is
// reached, who refuses whom, whether a group arrives, with what loss, at what rate and up to which size of packets, and whether the
// machine keeps up. For each thing it looks at there is one finding in plain words; the sentences are package fault's.
//
// It joins the group of a probe burst in the way in which a client joins a session's, and touches nothing else.
package doctor

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"wimcast/client/route"
	"wimcast/crypto/keyex"
	"wimcast/multicast"
	"wimcast/multicast/fault"
)

// State is how a thing is.
type State string

// The states.
const (
	OK   State = "ok"
	Warn State = "warn" // works, but not as it should
	Fail State = "fail" // an image won't come, or stops coming
	Skip State = "skip" // couldn't be looked at, or needn't
)

// Finding is what the doctor says of one thing.
type Finding struct {
	State State
	Check string // what was looked at
	fault.Fault
}

// Config says what to look at.
type Config struct {
	// Ways are the distribution points, the one that a client tries first first; at least one.
	Ways []route.Way
	// Credentials prove this machine.
	Credentials *keyex.Credentials
	// Interface finds the interface that hears a group; local is this machine's address towards the server.
	Interface func(local, group netip.Addr) (*multicast.Interface, error)
	// Folder is where an image would go; "" leaves the disk alone.
	Folder string
	// ReadBuffer is the receive buffer to ask for, in bytes; 0 is what a client asks for.
	ReadBuffer int
	// Now is the machine's clock.
	Now func() time.Time
}

// examination is one run of the doctor.
type examination struct {
	Config
	tell    func(Finding)
	ceiling uint64 // bytes/s that the server may send; 0: not known
}

func (e *examination) say(state State, check, format string, args ...any) {
	e.tell(Finding{state, check, fault.Fault{Text: fmt.Sprintf(format, args...)}})
}

func (e *examination) fault(state State, check string, f fault.Fault) {
	e.tell(Finding{state, check, f})
}

// Run looks at everything once and tells each finding as soon as it is there, from the calling goroutine. It takes some seconds. The
// error is ctx's.
func Run(ctx context.Context, cfg Config, tell func(Finding)) error {
	e := &examination{Config: cfg, tell: tell}
	if server, conn := e.reach(ctx); conn != nil {
		defer func() { _ = conn.Close() }()
		e.https(ctx, server)
		e.role()
		e.group(ctx, conn)
	}
	if ctx.Err() == nil {
		e.disk()
	}
	return context.Cause(ctx)
}

// role says whether the bundle's role may have images by multicast.
func (e *examination) role() {
	id := e.Credentials.Identity()
	if id.Role == keyex.WinPE {
		e.say(OK, "role", "bundle %s is of role %s, which may have images by multicast", id.Name, id.Role)
		return
	}
	e.fault(Warn, "role", fault.WrongRole(string(id.Role)))
}
