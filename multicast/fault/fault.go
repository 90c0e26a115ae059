// Package fault has the plain sentences for what goes wrong between a
// distribution point and a machine in the room. Each trouble has one: the doctor,
// the screen of a client and the log of the server say the same words.
package fault

// Kind names a trouble: a closed set, for --json and for metrics.
type Kind string

// Fault is a trouble in one plain sentence each for what is wrong and what to do.
type Fault struct {
	Kind Kind
	// Text says what was seen, on what, with its figures: lower case, no period at the end.
	Text string
	// Next says what to do, to a technician who knows cables and switches and not this program.
	Next string
}

// String returns the fault in one line.
func (f Fault) String() string {
	if f.Next == "" {
		return f.Text
	}
	return f.Text + "; next: " + f.Next
}
