package source

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cloudsoda/go-smb2"
)

// share is a share of a file server. It implements folder from the share's root.
type share struct {
	at      address
	conn    *watchedConn
	session *smb2.Session
	share   *smb2.Share
}

var _ folder = (*share)(nil)

// openShare opens a file or folder of a file server.
func openShare(ctx context.Context, at address, o *Options) (*Source, error) {
	at.as(o.User)
	password := ""
	if at.user != "" {
		if o.Password == nil {
			return nil, fmt.Errorf("%s: a password is needed for %s", at.String(), at.who())
		}
		var err error
		if password, err = o.Password(at.who(), at.host); err != nil {
			return nil, fmt.Errorf("%s: %w", at.String(), err)
		}
	}
	f, err := dialShare(ctx, at, password)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", at.String(), err)
	}
	stop := context.AfterFunc(ctx, func() { _ = f.conn.Close() })
	leave := func() error { stop(); return f.close() }
	name := at.path
	if name == "" {
		name = "."
	}
	s, err := o.openIn(ctx, f, name)
	if err != nil {
		_ = leave()
		return nil, fmt.Errorf("%s: %w", at.String(), err)
	}
	// Where a folder was named, the image that was found in it.
	found := at
	if base := path.Base(name); name != "." && s.Name != base {
		found.path = path.Join(at.path, strings.TrimPrefix(s.Name, base+"/"))
	} else if name == "." {
		found.path = s.Name
		if s.Stem == "install" {
			s.Stem = at.share
		}
	}
	s.Name = found.String()
	s.closers = append([]func() error{leave}, s.closers...)
	return s, nil
}

// dialShare connects, says who we are, and opens the share. Who is somebody wants signed messages; who is nobody tries to be
// nobody first, then the guest.
func dialShare(ctx context.Context, at address, password string) (*share, error) {
	if at.user != "" {
		return dialAs(ctx, at, &smb2.NTLMInitiator{User: at.user, Password: password, Domain: at.domain}, true)
	}
	f, err := dialAs(ctx, at, &smb2.NTLMInitiator{}, false)
	if err != nil && errors.Is(err, ErrDenied) {
		if as, again := dialAs(ctx, at, &smb2.NTLMInitiator{User: "Guest"}, false); again == nil {
			return as, nil
		}
		err = fmt.Errorf("%w; the server lets no guest in: name a user with --user", err)
	}
	return f, err
}

func dialAs(ctx context.Context, at address, who *smb2.NTLMInitiator, signed bool) (_ *share, err error) {
	ctx, cancel := context.WithTimeout(ctx, stallTime)
	defer cancel()
	raw, err := (&net.Dialer{Timeout: dialTime}).DialContext(ctx, "tcp", at.server())
	if err != nil {
		return nil, reachable(err)
	}
	f := &share{at: at, conn: &watchedConn{Conn: raw}}
	defer func() {
		if err != nil {
			_ = f.close()
			_ = raw.Close()
		}
	}()
	dialer := &smb2.Dialer{Negotiator: smb2.Negotiator{RequireMessageSigning: signed}, Initiator: who}
	if f.session, err = dialer.DialConn(ctx, f.conn, at.host); err != nil {
		return nil, f.plain(err)
	}
	// A server that doesn't know the user may let it in as a guest, and then nothing is signed: anybody on the way could have said
	// so in its place.
	if signed && f.conn.guest.Load() {
		return nil, fmt.Errorf("%w: the server doesn't know %s and takes it for a guest, whose messages aren't signed; next: another --user, or none if a guest may read it", ErrDenied, at.who())
	}
	if f.share, err = f.session.WithContext(ctx).Mount(at.share); err != nil {
		return nil, f.plain(err)
	}
	return f, nil
}

// close takes leave of the server, which may be gone.
func (f *share) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), dialTime)
	defer cancel()
	if f.share != nil {
		_ = f.share.WithContext(ctx).Umount()
	}
	if f.session != nil {
		_ = f.session.WithContext(ctx).Logoff()
	}
	_ = f.conn.Close()
	return nil
}

func (f *share) path(name string) string {
	if name == "." {
		return ""
	}
	return strings.ReplaceAll(name, "/", `\`)
}

// within runs f with a bound on how long the server may keep silent.
func (f *share) within(do func(*smb2.Share) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), stallTime)
	defer cancel()
	return f.plain(do(f.share.WithContext(ctx)))
}

func (f *share) stat(name string) (info fs.FileInfo, err error) {
	err = f.within(func(s *smb2.Share) error {
		info, err = s.Stat(f.path(name))
		return err
	})
	return info, err
}

func (f *share) list(name string) (all []fs.FileInfo, err error) {
	err = f.within(func(s *smb2.Share) error {
		all, err = s.ReadDir(f.path(name))
		return err
	})
	return all, err
}

func (f *share) local(string) (string, bool) { return "", false }

func (f *share) open(name string) (file, error) {
	// The file keeps the context that it was opened with: this one doesn't end, and shareFile bounds each read.
	in, err := f.share.WithContext(context.Background()).Open(f.path(name))
	if err != nil {
		return nil, f.plain(err)
	}
	return &shareFile{File: in, share: f}, nil
}

// shareFile is an open file of a share.
type shareFile struct {
	*smb2.File
	share *share
}

// bounded runs a read; a server that stays silent loses the connection.
func (f *shareFile) bounded(read func() (int, error)) (int, error) {
	stall := time.AfterFunc(stallTime, func() { _ = f.share.conn.Close() })
	n, err := read()
	if !stall.Stop() && err != nil {
		err = fmt.Errorf("%w: it sent nothing for %v", ErrUnreachable, stallTime)
	}
	return n, f.share.plain(err)
}

// Read implements io.Reader.
func (f *shareFile) Read(p []byte) (int, error) {
	return f.bounded(func() (int, error) { return f.File.Read(p) })
}

// ReadAt implements io.ReaderAt.
func (f *shareFile) ReadAt(p []byte, off int64) (int, error) {
	return f.bounded(func() (int, error) { return f.File.ReadAt(p, off) })
}

// NTSTATUS codes that have words of their own ([MS-ERREF], section 2.3.1).
const (
	statusWrongPassword      = 0xC000006A
	statusLogonFailure       = 0xC000006D
	statusAccountRestriction = 0xC000006E
	statusLogonHours         = 0xC000006F
	statusPasswordExpired    = 0xC0000071
	statusAccountDisabled    = 0xC0000072
	statusNoSuchUser         = 0xC0000064
	statusLogonType          = 0xC000015B
	statusAccountExpired     = 0xC0000193
	statusMustChange         = 0xC0000224
	statusLockedOut          = 0xC0000234
	statusBadNetworkName     = 0xC00000CC
	statusNameInvalid        = 0xC0000033
	statusPathSyntax         = 0xC000003B
	statusNotADirectory      = 0xC0000103
	statusSharingViolation   = 0xC0000043
	statusPathNotCovered     = 0xC0000257
	statusNotSupported       = 0xC00000BB
	statusInsufficient       = 0xC000009A
)

// plain says in plain words what went wrong at the server.
func (f *share) plain(err error) error {
	if err == nil {
		return nil
	}
	who := f.at.who()
	if who == "" {
		who = "a guest"
	}
	if e, ok := errors.AsType[*smb2.ResponseError](err); ok {
		switch e.Code {
		case statusLogonFailure, statusWrongPassword, statusNoSuchUser:
			return fmt.Errorf("%w: wrong user or password for %s", ErrDenied, who)
		case statusPasswordExpired, statusMustChange:
			return fmt.Errorf("%w: the password of %s has expired and must be changed first", ErrDenied, who)
		case statusAccountDisabled, statusLockedOut, statusAccountExpired:
			return fmt.Errorf("%w: the account of %s is disabled, locked or expired", ErrDenied, who)
		case statusAccountRestriction, statusLogonHours, statusLogonType:
			return fmt.Errorf("%w: %s may not log on there in this way, or not now", ErrDenied, who)
		case statusBadNetworkName:
			return fmt.Errorf("%w: the server has no share %q", fs.ErrNotExist, f.at.share)
		case statusNameInvalid, statusPathSyntax, statusNotADirectory:
			return fmt.Errorf("%w: the share has no such file", fs.ErrNotExist)
		case statusSharingViolation:
			return errors.New("another program has the file open and lets nobody read it meanwhile; next: close it there, and add it again")
		case statusPathNotCovered:
			return errors.New("the path leads to another server (DFS), which isn't followed; next: name that server")
		case statusNotSupported:
			return errors.New("the server doesn't support what is needed; it needs SMB 2 or later")
		case statusInsufficient:
			return errors.New("the server is out of resources; next: add it again later")
		}
		return fmt.Errorf("the server answered: %w", err)
	}
	_, isTransport := errors.AsType[*smb2.TransportError](err)
	_, isInvalid := errors.AsType[*smb2.InvalidResponseError](err)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: the share has no such file", fs.ErrNotExist)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: %s may not read it", ErrDenied, who)
	case errors.Is(err, ErrUnreachable), errors.Is(err, ErrDenied):
		return err
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("%w: it doesn't answer in %v", ErrUnreachable, stallTime)
	case errors.Is(err, context.Canceled):
		return err
	case isTransport, errors.Is(err, net.ErrClosed):
		return fmt.Errorf("%w: the connection broke: %w; next: add it again", ErrUnreachable, err)
	case isInvalid && strings.Contains(err.Error(), "doesn't support signing"):
		return fmt.Errorf("%w: the server wants signed messages, which a guest can't give; next: name a user with --user", ErrDenied)
	case isInvalid && f.session == nil:
		return fmt.Errorf("%w: what answers there isn't a file server that speaks SMB 2 or later (%w)", ErrUnreachable, err)
	}
	return err
}

// watchedConn sees in the messages that go by whether the server takes us for a guest, which the library doesn't tell.
type watchedConn struct {
	net.Conn
	guest atomic.Bool
	watch guestWatch
}

// Read implements net.Conn.
func (c *watchedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.watch.take(p[:n]) {
		c.guest.Store(true)
	}
	return n, err
}
