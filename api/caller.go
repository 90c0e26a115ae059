package api

import (
	"context"
	"fmt"
)

// Caller is who made a request: the holder of a certificate over HTTPS, or a process on
// this machine that opened the socket.
type Caller struct {
	Name    string // of the certificate; on the socket the user's, where the system knows it; on the page who made its link
	Role    string // operator, viewer or worker; who can open the socket is an operator
	Serial  string // of the certificate; "" on the socket, and on the page with a link
	Address string // the other end of the connection; "" on the socket
	UID     int    // of the process; -1 over HTTPS, and where the system doesn't tell
}

// String says who it is in one line, for logs and records.
func (c Caller) String() string {
	switch {
	case c.Serial != "":
		return fmt.Sprintf("%s (%s, serial %s, from %s)", c.Name, c.Role, c.Serial, c.Address)
	case c.Address != "":
		return fmt.Sprintf("%s (%s, on the web page, from %s)", c.Name, c.Role, c.Address)
	case c.UID < 0:
		return "somebody on the admin socket"
	case c.Name != "":
		return fmt.Sprintf("%s (uid %d, on the admin socket)", c.Name, c.UID)
	}
	return fmt.Sprintf("uid %d (on the admin socket)", c.UID)
}

type callerKey struct{}

// WithCaller returns a context that knows who made the request.
func WithCaller(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// CallerOf returns who made the request that a context belongs to; false outside of one.
func CallerOf(ctx context.Context) (Caller, bool) {
	c, ok := ctx.Value(callerKey{}).(Caller)
	return c, ok
}

// RequestHeader is the header of an answer that has the request's id, as the daemon's log and history name it.
const RequestHeader = "X-Request-Id"
