package lab

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// namespace is a network namespace held by an open file.
type namespace struct {
	file  *os.File
	inode uint64
}

// newNamespace makes an empty network namespace.
func newNamespace() (*namespace, error) {
	var n *namespace
	err := elsewhere(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make network namespace: %w", err)
		}
		file, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			return fmt.Errorf("make network namespace: %w", err)
		}
		var stat unix.Stat_t
		if err := unix.Fstat(int(file.Fd()), &stat); err != nil {
			_ = file.Close()
			return fmt.Errorf("make network namespace: %w", err)
		}
		n = &namespace{file: file, inode: stat.Ino}
		return nil
	})
	return n, err
}

// path names the namespace for programs that open one by path, as long as this
// process holds it.
func (n *namespace) path() string {
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), n.file.Fd())
}

// do runs fn on a thread inside the namespace.
func (n *namespace) do(fn func() error) error {
	return elsewhere(func() error {
		if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter network namespace: %w", err)
		}
		return fn()
	})
}

// elsewhere runs fn on a thread whose network namespace fn may change, and
// brings the thread back. A thread that can't be brought back is never used
// again: it ends with its goroutine.
func elsewhere(fn func() error) error {
	result := make(chan error, 1)
	go func() {
		// Goexit inside fn (t.FailNow) must not leave the caller waiting.
		err := fmt.Errorf("run in network namespace: the function didn't return")
		defer func() { result <- err }()
		runtime.LockOSThread()
		home, openErr := os.Open("/proc/thread-self/ns/net")
		if openErr != nil {
			runtime.UnlockOSThread()
			err = fmt.Errorf("run in network namespace: %w", openErr)
			return
		}
		defer func() {
			if unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil {
				runtime.UnlockOSThread()
			}
			_ = home.Close()
		}()
		err = fn()
	}()
	return <-result
}
