package rig

import (
	"bytes"
	"sync"
)

// Output collects what a program writes. The zero value is empty. Safe for concurrent use.
type Output struct {
	mu   sync.Mutex
	b    bytes.Buffer
	wake chan struct{}
}

// Write implements io.Writer.
func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n, err := o.b.Write(p)
	if o.wake != nil {
		close(o.wake)
		o.wake = nil
	}
	return n, err
}

// Len is how many bytes there are so far.
func (o *Output) Len() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Len()
}

// From returns what came behind the first n bytes.
func (o *Output) From(n int) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.b.Bytes()[n:])
}

// Changed returns a channel that is closed when more comes; who calls it before a look misses nothing.
func (o *Output) Changed() <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.wake == nil {
		o.wake = make(chan struct{})
	}
	return o.wake
}
