package source

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"testing"
	"testing/iotest"
)

func TestAddresses(t *testing.T) {
	for name, want := range map[string]struct{ who, server, share, path, shown string }{
		`\\fs1\img\w11\os.wim`:                   {"", "fs1:445", "img", "w11/os.wim", `\\fs1\img\w11\os.wim`},
		"//fs1.example.net/img$/os.wim":          {"", "fs1.example.net:445", "img$", "os.wim", `\\fs1.example.net\img$\os.wim`},
		`\\fs1\img`:                              {"", "fs1:445", "img", "", `\\fs1\img`},
		`\\fs1\img\`:                             {"", "fs1:445", "img", "", `\\fs1\img`},
		"smb://fs1/img/a%20b.wim":                {"", "fs1:445", "img", "a b.wim", `\\fs1\img\a b.wim`},
		"smb://ann@fs1:4445/img/os.wim":          {"ann", "fs1:4445", "img", "os.wim", `\\fs1:4445\img\os.wim`},
		"smb://LAB;ann@fs1/img/os.wim":           {`LAB\ann`, "fs1:445", "img", "os.wim", `\\fs1\img\os.wim`},
		"smb://ann%40lab.example@fs1/img/os.wim": {"ann@lab.example", "fs1:445", "img", "os.wim", `\\fs1\img\os.wim`},
		"smb://[fd00::1]/img/os.wim":             {"", "[fd00::1]:445", "img", "os.wim", `\\fd00::1\img\os.wim`},
	} {
		var a address
		var err error
		if rest, ok := strings.CutPrefix(name, "smb://"); ok {
			a, err = parseSMB(rest)
		} else {
			a, err = parseUNC(name)
		}
		if err != nil || a.who() != want.who || a.server() != want.server || a.share != want.share || a.path != want.path || a.String() != want.shown {
			t.Errorf("%s: %+v, %v", name, a, err)
		}
		a.as(`DOM\eve`)
		if a.domain != "DOM" || a.user != "eve" {
			t.Errorf("%s as another: %+v", name, a)
		}
	}
	for _, name := range []string{`\\`, `\\fs1`, `\\fs1\`, `\\\img\a`, `\\fs1\img\..\a`, "smb://", "smb:///img/a", "smb://fs1", "smb://ann:hunter2@fs1/img/a", "smb://fs1/img/a?b", "smb://fs1/img/a%5Cb", "smb://ann:hunter2@fs1:x/img/a"} {
		if _, err := Open(t.Context(), name, Options{}); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestPasswordIsAsked where there is a user, and nowhere else.
func TestPasswordIsAsked(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	_ = l.Close() // nobody is there
	asked := 0
	ask := func(user, server string) (string, error) {
		if asked++; user != `LAB\ann` || server != "127.0.0.1" {
			t.Errorf("asked for %s at %s", user, server)
		}
		return "hunter2", nil
	}
	for user, want := range map[string]int{"": 0, `LAB\ann`: 1} {
		asked = 0
		_, err := Open(t.Context(), "smb://127.0.0.1:"+port+"/img/os.wim", Options{User: user, Password: ask})
		if err == nil || !strings.Contains(err.Error(), "server unreachable") || strings.Contains(err.Error(), "hunter2") || asked != want {
			t.Errorf("as %q: asked %d times, %v", user, asked, err)
		}
	}
	if _, err := Open(t.Context(), "smb://ann@127.0.0.1/img/os.wim", Options{}); err == nil || !strings.Contains(err.Error(), "password is needed") {
		t.Errorf("nobody to ask: %v", err)
	}
}

// TestGuestWatch finds the flag wherever messages are cut, and sees it nowhere else.
func TestGuestWatch(t *testing.T) {
	frame := func(m []byte) []byte {
		return append(binary.BigEndian.AppendUint32(nil, uint32(len(m))), m...)
	}
	answer := func(command, flags uint16, length int) []byte {
		m := make([]byte, length)
		copy(m, "\xfeSMB")
		binary.LittleEndian.PutUint16(m[12:], command)
		binary.LittleEndian.PutUint16(m[66:], flags)
		return frame(m)
	}
	other := bytes.Join([][]byte{
		answer(0, 1, 300), answer(1, 0, 72), answer(8, 3, 100_000), frame(nil), frame([]byte("short")), frame(bytes.Repeat([]byte{1}, 68)), answer(1, 4, 68),
		frame(append([]byte("\xfdSMB"), bytes.Repeat([]byte{1, 0}, 50)...)),
	}, nil)
	for flags, want := range map[uint16]bool{0: false, 1: true, 2: true, 3: true, 4: false} {
		stream := append(bytes.Clone(other), answer(1, flags, 200)...)
		stream = append(stream, other...)
		for name, r := range map[string]io.Reader{
			"whole": bytes.NewReader(stream), "bytes": iotest.OneByteReader(bytes.NewReader(stream)), "halves": iotest.HalfReader(bytes.NewReader(stream)),
		} {
			var w guestWatch
			got := false
			for buf := make([]byte, 5000); ; {
				n, err := r.Read(buf)
				got = w.take(buf[:n]) || got
				if err != nil {
					break
				}
			}
			if got != want {
				t.Errorf("flags %d, %s: %v", flags, name, got)
			}
		}
	}
}

// TestNotAFileServer: whatever answers at the port, the error says so in words.
func TestNotAFileServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, "SSH-2.0-none\r\n")
			_ = c.Close()
		}
	}()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	if _, err := Open(t.Context(), "smb://127.0.0.1:"+port+"/img/os.wim", Options{}); err == nil || !strings.Contains(err.Error(), "server unreachable") {
		t.Errorf("%v", err)
	}
}
