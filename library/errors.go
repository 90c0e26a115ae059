package library

import (
	"errors"
	"fmt"
)

// Errors that the package's errors wrap.
var (
	// ErrNotFound: no package has that name, version or digest.
	ErrNotFound = errors.New("no such package")
	// ErrAmbiguous: a digest names several packages.
	ErrAmbiguous = errors.New("several packages")
	// ErrExists: other content has the name and version already.
	ErrExists = errors.New("package exists")
	// ErrFlags: flags contradict each other.
	ErrFlags = errors.New("flags contradict each other")
	// ErrSplit: the file is one part of a split WIM.
	ErrSplit = errors.New("part of a split WIM")
	// ErrNoIndex: the file has no image of that index.
	ErrNoIndex = errors.New("no such image")
	// ErrHash: the content isn't the one that was asked for.
	ErrHash = errors.New("the source has other content")
	// ErrDiskFull: there is no space left where the library lies.
	ErrDiskFull = errors.New("disk full")
	// ErrFromSite: the package is pulled from a site, which alone changes it.
	ErrFromSite = errors.New("the package comes from the site")
	// ErrOlder: a release is older than what is there.
	ErrOlder = errors.New("older than what is there")
	// ErrIncomplete: blobs of a release are missing.
	ErrIncomplete = errors.New("incomplete")
	// ErrChunk: what came isn't the blob that was to come; it may be asked for again.
	ErrChunk = errors.New("another blob came")
	// ErrInUse: another process has the library open.
	ErrInUse = errors.New("library in use")
)

// DamagedError says that a package's content isn't what was added. The package is out of
// service when it is returned.
type DamagedError struct {
	Reference string
	Reason    string
	Pulled    bool // from a site, and so again when it is damaged
}

// Error implements error.
func (e *DamagedError) Error() string {
	next := "or add the same file again"
	if e.Pulled {
		next = "or wait: what is damaged is pulled again"
	}
	return fmt.Sprintf("package %s is out of service: %s; next: wimcast image verify %q, %s", e.Reference, e.Reason, e.Reference, next)
}
