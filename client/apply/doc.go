// Package apply puts an image of a WIM onto a volume that is there: on Windows by DISM, elsewhere by wimlib-imagex. It erases and
// partitions nothing.
//
// A Target is the volume or folder. It is looked at before anything is received: is it there, is it empty, is there room. In it
// lies the work folder, TARGET/wimcast, with all that is needed on the way: the WIM where no other place was named, DISM's scratch folder and
// log, and applying.json while an image is being applied. Whoever finds that file knows that the target is half applied, of what, and that
// applying the same again is no harm.
//
// The package doesn't receive and doesn't prove: the caller does, and sees to it that nobody changes the file meanwhile. It doesn't
// log and print; how far it is goes to Job.Progress.
package apply

import "errors"

// What errors of this package match, for exit codes.
var (
	// ErrIndex: the image that is asked for isn't in the WIM, or none is named and there are several.
	ErrIndex = errors.New("index")
	// ErrTarget: the target can't take the image. Nothing was changed there.
	ErrTarget = errors.New("target")
	// ErrFailed: the image couldn't be applied, or not whole.
	ErrFailed = errors.New("apply failed")
)

// failure is an error that matches one of the above, and doesn't repeat its words.
type failure struct {
	kind error
	text string
	err  error // may be nil
}

func (f *failure) Error() string { return f.text }

// Is makes errors.Is match the kind.
func (f *failure) Is(target error) bool { return target == f.kind }

// Unwrap returns the cause.
func (f *failure) Unwrap() error { return f.err }
