package fleet

import "errors"

// Errors that the package's errors wrap.
var (
	// ErrNotFound: no point or group has that name, or nothing of that package is distributed.
	ErrNotFound = errors.New("no such point or group")
	// ErrExists: a point or group has the name already.
	ErrExists = errors.New("the name is taken")
	// ErrRule: it would contradict how a package may be transferred, or what is distributed.
	ErrRule = errors.New("not allowed")
	// ErrNotReleased: the package isn't in the registry (yet).
	ErrNotReleased = errors.New("it isn't in the registry")
)
