package apply

import (
	"os/exec"
	"unsafe"

	"golang.org/x/sys/windows"
)

// family is DISM with all that it starts: DismHost.exe does much of the work, and would go on without it.
type family struct {
	cmd *exec.Cmd
	job windows.Handle // 0: it could not be had, and everybody ends alone
}

func prepare(cmd *exec.Cmd) *family { return &family{cmd: cmd} }

// started puts the program into a job that ends with this program, however that ends. What it starts is in it too.
func (f *family) started() {
	job, err := windows.CreateJobObject(nil, nil)
	if err != nil {
		return
	}
	err = limit(job, windows.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE)
	var process windows.Handle
	if err == nil {
		process, err = windows.OpenProcess(windows.PROCESS_SET_QUOTA|windows.PROCESS_TERMINATE, false, uint32(f.cmd.Process.Pid))
	}
	if err == nil {
		err = windows.AssignProcessToJobObject(job, process)
		_ = windows.CloseHandle(process)
	}
	if err != nil {
		_ = windows.CloseHandle(job)
		return
	}
	f.job = job
}

func limit(job windows.Handle, flags uint32) error {
	info := windows.JOBOBJECT_EXTENDED_LIMIT_INFORMATION{BasicLimitInformation: windows.JOBOBJECT_BASIC_LIMIT_INFORMATION{LimitFlags: flags}}
	_, err := windows.SetInformationJobObject(job, windows.JobObjectExtendedLimitInformation, uintptr(unsafe.Pointer(&info)), uint32(unsafe.Sizeof(info)))
	return err
}

// ended ends what the program left running if it was killed itself. After a good end that may tidy up in peace.
func (f *family) ended(killed bool) {
	if f.job == 0 {
		return
	}
	if !killed {
		_ = limit(f.job, 0)
	}
	_ = windows.CloseHandle(f.job)
}
