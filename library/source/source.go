// Package source opens what a person names as the source of an image, on the machine where the person is, and hands
// it on as one stream of known size:
//
//   - a WIM or ESD file on this machine;
//   - a folder of installation media, in which sources/install.wim, .esd or .swm is found;
//   - any part of a split WIM: the other parts are found beside it, and all are joined into a temporary file;
//   - an https:// address, which is resumed when the connection breaks;
//   - a file or folder on a file server: \\server\share\path, //server/share/path, smb://user@server/share/path.
//
// A source proves nothing of its content: whoever reads it does. It makes sure that what it hands out is one file from
// beginning to end, of the size that it told; else Read fails, and what was read so far is of no use.
//
// Passwords are asked for by a function of the caller's, used once, and in no name, address or error of this package. On Windows
// a path \\server\share is the system's own business, with the credentials that the system has.
package source

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"wimcast/library/wim"
)

// Errors that this package's errors wrap.
var (
	// ErrNoImage: the folder has no install.wim, .esd or .swm.
	ErrNoImage = errors.New("no installation image in the folder")
	// ErrParts: parts of a split WIM are missing, or don't belong together.
	ErrParts = errors.New("split WIM isn't complete")
	// ErrChanged: the file became another one while it was read.
	ErrChanged = errors.New("the file was changed while it was read")
	// ErrNoSpace: the temporary folder is too small.
	ErrNoSpace = errors.New("no space to join the parts")
	// ErrInsecure: the way would let others change the content unnoticed.
	ErrInsecure = errors.New("not a safe way")
	// ErrUnreachable: the server isn't there, or doesn't answer.
	ErrUnreachable = errors.New("server unreachable")
	// ErrDenied: the server refuses the user, or the user the file.
	ErrDenied = errors.New("access denied")
)

// Options say how to open a source. The zero value works.
type Options struct {
	// Temp is the folder in which the parts of a split set are joined; "" is the system's.
	Temp string
	// Pinned says that the caller holds the whole content against a hash that it knows. Then http:// is good enough, and so is
	// going on with a download that the server puts no name to.
	Pinned bool
	// CACert is a PEM file of the CAs that an https:// server may be certified by; "" are the system's.
	CACert string
	// User is who to be at a file server: "user", "DOMAIN\user" or "user@domain"; "" is the one in the
	// address, or a guest.
	User string
	// Password returns the password of a user at a server. It is called once, and only where there is a user.
	Password func(user, server string) (string, error)
	// Notice is told in words what takes long before there is anything to read; may be nil.
	Notice func(text string)

	backoff time.Duration // of tests: before the first new try of a download
}

// Source is an open source. It is for one goroutine, but for Close and Err.
type Source struct {
	// Name says where it came from, for people and records: the file's name of a local path, the address without
	// credentials and query otherwise.
	Name string
	// Stem is what to call it where it has no better name.
	Stem string
	// Size is how many bytes Read gives in all.
	Size int64
	// Images are those inside, where that is known before reading (not of https:// addresses).
	Images []wim.Image
	// Again is where any machine that gets there can have the same file without a password: the https:// address,
	// or on this machine the file's absolute path. "" where there is no such place.
	Again string

	reader  *bufio.Reader
	left    int64
	err     error
	closers []func() error
}

// readBuffer is how much is asked of a source at once: file servers want large reads, and whoever reads from us
// asks for 32 KiB.
const readBuffer = 1 << 20

// Open opens a source. The caller closes it. The errors wrap the package's, wim's, or fs.ErrNotExist.
func Open(ctx context.Context, name string, o Options) (*Source, error) {
	s, err := open(ctx, name, &o)
	if err != nil {
		return nil, fmt.Errorf("open source: %w", err)
	}
	return s, nil
}

func open(ctx context.Context, name string, o *Options) (*Source, error) {
	scheme, rest, isAddress := strings.Cut(name, "://")
	switch scheme = strings.ToLower(scheme); {
	case isAddress && (scheme == "https" || scheme == "http"):
		u, err := url.Parse(name)
		if err != nil {
			return nil, errors.New("the address can't be read; it looks like https://server/folder/os.wim") // what url.Parse says may quote a password
		}
		return openWeb(ctx, u, o)
	case isAddress && scheme == "smb":
		at, err := parseSMB(rest)
		if err != nil {
			return nil, err
		}
		return openShare(ctx, at, o)
	case isAddress && scheme != "" && strings.Trim(scheme, "abcdefghijklmnopqrstuvwxyz+-.0123456789") == "":
		return nil, fmt.Errorf("%s:// addresses aren't known; name a path, https://server/os.wim, or smb://server/share/os.wim", scheme)
	case runtime.GOOS != "windows" && isUNC(name):
		at, err := parseUNC(name)
		if err != nil {
			return nil, err
		}
		return openShare(ctx, at, o)
	}
	return openLocal(ctx, name, o)
}

// openLocal opens a file or folder of this machine.
func openLocal(ctx context.Context, name string, o *Options) (*Source, error) {
	absolute, err := filepath.Abs(name)
	if err != nil {
		return nil, err
	}
	dir, base := filepath.Split(absolute)
	if base == "" { // the root of a drive
		base = "."
	}
	s, err := o.openIn(ctx, osFolder(dir), base)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// folder is a place where files lie beside each other. Names are relative, with slashes.
type folder interface {
	stat(name string) (fs.FileInfo, error)
	open(name string) (file, error)
	list(name string) ([]fs.FileInfo, error)
	// local returns where a program of this machine finds the file; false where it can't.
	local(name string) (string, bool)
}

// file is an open file of a folder.
type file interface {
	io.Reader
	io.ReaderAt
	io.Closer
	Stat() (fs.FileInfo, error)
}

// osFolder is a folder of this machine.
type osFolder string

var _ folder = osFolder("")

func (f osFolder) path(name string) string { return filepath.Join(string(f), filepath.FromSlash(name)) }

func (f osFolder) stat(name string) (fs.FileInfo, error) { return os.Stat(f.path(name)) }

func (f osFolder) open(name string) (file, error) { return os.Open(f.path(name)) }

func (f osFolder) list(name string) ([]fs.FileInfo, error) {
	entries, err := os.ReadDir(f.path(name))
	if err != nil {
		return nil, err
	}
	var all []fs.FileInfo
	for _, e := range entries {
		if info, err := os.Stat(f.path(path.Join(name, e.Name()))); err == nil { // what a link leads to
			all = append(all, renamed{info, e.Name()})
		}
	}
	return all, nil
}

func (f osFolder) local(name string) (string, bool) { return f.path(name), true }

// renamed is a file's info under the name that the folder has it by.
type renamed struct {
	fs.FileInfo
	name string
}

func (r renamed) Name() string { return r.name }

// openIn opens a file, or what is found in a folder of installation media.
func (o *Options) openIn(ctx context.Context, f folder, name string) (*Source, error) {
	info, err := f.stat(name)
	if err != nil {
		return nil, err
	}
	shown, stem := path.Base(name), stemOf(path.Base(name))
	if info.IsDir() {
		found, err := findMedia(f, name)
		if err != nil {
			return nil, err
		}
		if stem = path.Base(name); stem == "." { // the root of a drive, or of a share
			shown, stem = found, stemOf(path.Base(found))
		} else {
			shown = path.Join(stem, found)
		}
		name = path.Join(name, found)
	}
	in, whole, err := openWIM(f, name)
	if err != nil {
		return nil, err
	}
	s := &Source{Name: shown, Stem: stem, Size: whole.size, Images: whole.Images}
	if whole.Split() {
		_ = in.Close()
		if err := o.join(ctx, s, f, name, whole.File); err != nil {
			return nil, err
		}
		return s, nil
	}
	if at, ok := f.local(name); ok {
		s.Again = at
	}
	s.from(in)
	return s, nil
}

// stemOf returns a file's name without its extension.
func stemOf(base string) string { return strings.TrimSuffix(base, path.Ext(base)) }

// sized is an open WIM and its size.
type sized struct {
	*wim.File
	size int64
}

// openWIM opens a file and reads its tables, so that what isn't a WIM is refused before anything is copied.
func openWIM(f folder, name string) (in file, whole sized, err error) {
	in, err = f.open(name)
	if err != nil {
		return nil, whole, err
	}
	info, err := in.Stat()
	switch {
	case err != nil:
	case info.IsDir() || !info.Mode().IsRegular():
		err = fmt.Errorf("%s is not a regular file", path.Base(name))
	default:
		whole.size = info.Size()
		whole.File, err = wim.Open(in, whole.size)
	}
	if err != nil {
		_ = in.Close()
		return nil, whole, err
	}
	return in, whole, nil
}

// from makes the source read from a file, which it closes.
func (s *Source) from(in io.ReadCloser) {
	s.reader, s.left = bufio.NewReaderSize(in, readBuffer), s.Size
	s.closers = append(s.closers, in.Close)
}

// Read implements io.Reader. It gives Size bytes or fails.
func (s *Source) Read(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	if s.left == 0 {
		return 0, io.EOF
	}
	n, err := s.reader.Read(p[:min(int64(len(p)), s.left)])
	s.left -= int64(n)
	switch {
	case n > 0 || err == nil:
		return n, nil
	case errors.Is(err, io.EOF):
		err = fmt.Errorf("%w: it ended after %d of %d bytes; next: add it again", ErrChanged, s.Size-s.left, s.Size)
	}
	s.err = fmt.Errorf("read %s: %w", s.Name, err)
	return 0, s.err
}

// Err returns what Read failed with; nil where it didn't. It is for when Read has ended.
func (s *Source) Err() error { return s.err }

// Close closes what was opened, and removes what was made for it.
func (s *Source) Close() error {
	var errs []error
	for _, c := range slices.Backward(s.closers) {
		errs = append(errs, c())
	}
	s.closers = nil
	return errors.Join(errs...)
}

func (o *Options) notice(format string, args ...any) {
	if o.Notice != nil {
		o.Notice(fmt.Sprintf(format, args...))
	}
}
