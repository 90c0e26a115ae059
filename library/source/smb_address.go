package source

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
)

// smbPort is that of SMB over TCP.
const smbPort = "445"

// address is where a file lies on a file server.
type address struct {
	domain, user string
	host, port   string
	share        string
	path         string // with slashes, "" for the share itself
}

// isUNC reports whether a name is one as Windows has them: \\server\share\path, or with slashes.
func isUNC(name string) bool { return strings.HasPrefix(name, `\\`) || strings.HasPrefix(name, "//") }

// parseUNC reads \\server\share\path.
func parseUNC(name string) (address, error) {
	name = strings.ReplaceAll(name, `\`, "/")
	a := address{port: smbPort}
	host, rest, _ := strings.Cut(strings.TrimPrefix(name, "//"), "/")
	a.host = host
	return a, a.place(rest)
}

// parseSMB reads what follows smb:// (draft-crhertel-smb-url): [[domain;]user@]server[:port]/share/path, with %-escapes.
func parseSMB(rest string) (address, error) {
	u, err := url.Parse("smb://" + rest)
	if err != nil {
		return address{}, errors.New("the address can't be read; it looks like smb://user@server/share/os.wim") // what url.Parse says may quote a password
	}
	if u.RawQuery != "" || u.Fragment != "" {
		return address{}, errors.New("an smb:// address has no ? and #; write them as %3F and %23")
	}
	a := address{host: u.Hostname(), port: u.Port()}
	if a.port == "" {
		a.port = smbPort
	}
	if u.User != nil {
		if _, has := u.User.Password(); has {
			return a, errors.New("a password in an address shows on screens and in lists of processes; next: leave it out, and set $WIMCAST_SMB_PASSWORD or type it when asked")
		}
		a.user = u.User.Username()
		if domain, user, ok := strings.Cut(a.user, ";"); ok {
			a.domain, a.user = domain, user
		}
	}
	return a, a.place(strings.TrimPrefix(u.Path, "/"))
}

// place reads share and path.
func (a *address) place(rest string) error {
	a.share, a.path, _ = strings.Cut(rest, "/")
	a.path = strings.Trim(a.path, "/")
	switch {
	case a.host == "":
		return errors.New(`the address names no server; it looks like \\server\share\os.wim`)
	case a.share == "":
		return fmt.Errorf(`the address names no share of %s; it looks like \\%s\share\os.wim`, a.host, a.host)
	}
	for part := range strings.SplitSeq(a.path, "/") {
		if part == ".." || part == "." || strings.Contains(part, `\`) {
			return fmt.Errorf("%q in the path leads elsewhere; write it without", part)
		}
	}
	return nil
}

// as says who to be: what --user says goes before what the address says.
func (a *address) as(user string) {
	if user == "" {
		return
	}
	a.domain, a.user = "", user
	if domain, name, ok := strings.Cut(user, `\`); ok {
		a.domain, a.user = domain, name
	}
}

// server is the server's host and port.
func (a *address) server() string { return net.JoinHostPort(a.host, a.port) }

// who is the user as Windows writes it.
func (a *address) who() string {
	if a.domain != "" {
		return a.domain + `\` + a.user
	}
	return a.user
}

// String is the address as Windows people write it, without a user.
func (a *address) String() string {
	host := a.host
	if a.port != smbPort {
		host = a.server()
	}
	out := `\\` + host + `\` + a.share
	if a.path != "" {
		out += `\` + strings.ReplaceAll(a.path, "/", `\`)
	}
	return out
}
