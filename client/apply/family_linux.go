package apply

import (
	"os/exec"
	"syscall"
)

// family is DISM with all that it starts.
type family struct{ cmd *exec.Cmd }

// prepare has the program, and what it starts, end with its group, and itself with this program however that ends. The caller's goroutine keeps its
// thread until the program has ended: the kernel goes by the thread.
func prepare(cmd *exec.Cmd) *family {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	return &family{cmd}
}

// started is called once the program runs.
func (*family) started() {}

// ended is called once the program has ended; killed says that it was to.
func (*family) ended(bool) {}
