package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"
)

// pipe returns a log that goes into a pipe, and what was written there once the pipe is closed.
func pipe(t *testing.T, stream func(*syscall.Stat_t) string) (*logs, func() string) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	var stat syscall.Stat_t
	if err := syscall.Fstat(int(w.Fd()), &stat); err != nil {
		t.Fatal(err)
	}
	t.Setenv("JOURNAL_STREAM", stream(&stat))
	var text []byte
	var reading sync.WaitGroup
	reading.Go(func() { text, _ = io.ReadAll(r) })
	return newLogs(w, "debug"), func() string {
		_ = w.Close()
		reading.Wait()
		_ = r.Close()
		return string(text)
	}
}

func TestJournalGetsPriorities(t *testing.T) {
	own := func(s *syscall.Stat_t) string { return fmt.Sprintf("%d:%d", s.Dev, s.Ino) }
	say := func(l *logs) {
		l.log.Debug("a")
		l.log.Info("b")
		l.log.Warn("c")
		l.log.Error("d", zap.Error(errors.New("two\nlines")))
		l.log.With(zap.String("session", "s7")).Info("e")
	}
	l, done := pipe(t, own)
	say(l)
	var priorities strings.Builder
	for line := range strings.Lines(done()) {
		rest, ok := strings.CutPrefix(line, "<")
		var entry map[string]any
		if !ok || json.Unmarshal([]byte(rest[2:]), &entry) != nil {
			t.Fatalf("line %q", line)
		}
		priorities.WriteString(rest[:1])
	}
	if priorities.String() != "76436" {
		t.Errorf("priorities %s", priorities.String())
	}
	for says, stream := range map[string]func(*syscall.Stat_t) string{
		"another stream": func(s *syscall.Stat_t) string { return fmt.Sprintf("%d:%d", s.Dev, s.Ino+1) },
		"none":           func(*syscall.Stat_t) string { return "" },
	} {
		l, done := pipe(t, stream)
		say(l)
		if text := done(); strings.HasPrefix(text, "<") || strings.Count(text, "\n") != 5 {
			t.Errorf("%s: %q", says, text)
		}
	}
}

// TestBadConfigurationInTheJournal: it is there before the log is, and has its priority on every line.
func TestBadConfigurationInTheJournal(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	var stat syscall.Stat_t
	if err := syscall.Fstat(int(w.Fd()), &stat); err != nil {
		t.Fatal(err)
	}
	t.Setenv("JOURNAL_STREAM", fmt.Sprintf("%d:%d", stat.Dev, stat.Ino))
	sayWrong(w, errors.New("one\ntwo"))
	_ = w.Close()
	if text, _ := io.ReadAll(r); string(text) != "<3>wimcastd: one\n<3>two\n" {
		t.Errorf("%q", text)
	}
}

// hostile is what a machine may call itself.
const hostile = "pc1\n<0>{\"msg\":\"forged\"}\r\x1b[2J\u009b31m\u202eevil\u2028\u007f\xff\"\\"

// TestHostileValues: they forge no line, steer no terminal, and come out of the line as they went in.
func TestHostileValues(t *testing.T) {
	var out bytes.Buffer
	l := newLogs(&out, "info")
	l.log.With(zap.String("client", hostile)).Info("client joined", zap.Error(errors.New(hostile)), zap.Strings("all", []string{hostile}))
	line := out.String()
	if strings.Count(line, "\n") != 1 || !strings.HasSuffix(line, "}\n") {
		t.Errorf("not one line: %q", line)
	}
	for _, r := range strings.TrimSuffix(line, "\n") {
		if r < ' ' || harms(r) {
			t.Errorf("%U stands in the line", r)
		}
	}
	var entry struct{ Msg, Client string }
	if err := json.Unmarshal([]byte(line), &entry); err != nil || entry.Msg != "client joined" || entry.Client != strings.ToValidUTF8(hostile, "\ufffd") {
		t.Errorf("%v: %+v", err, entry)
	}
}

// TestLongLines: the journal would break them.
func TestLongLines(t *testing.T) {
	var out bytes.Buffer
	l := newLogs(&out, "info")
	many := make([]string, 5000)
	for i := range many {
		many[i] = "pc-with-a-name"
	}
	l.log.With(zap.String("session", "s7")).Info("bundle revoked", zap.Strings("evicted", many), zap.String("text", strings.Repeat("ä", 50_000)), zap.Int("n", 3))
	var entry struct {
		Session string
		N       int
		Cut     bool
		Evicted string
		Text    string
	}
	if err := json.Unmarshal(out.Bytes(), &entry); err != nil || out.Len() > mostLine {
		t.Fatalf("%d bytes, %v", out.Len(), err)
	}
	if entry.Session != "s7" || entry.N != 3 || !entry.Cut || !strings.HasPrefix(entry.Evicted, "[pc-with-a-name ") || strings.Trim(entry.Text, "ä") != "" || len(entry.Text) != mostValue {
		t.Errorf("%.300q", out.String())
	}
}

// TestWhatIsLeftOut: of strangers nearly all, of a room and of operators nothing.
func TestWhatIsLeftOut(t *testing.T) {
	var out bytes.Buffer
	l := newLogs(&out, "info")
	for range 500 {
		l.log.With(zap.String("session", "s1")).Info("client joined")
		l.log.Info("session started")
	}
	for range 50_000 {
		l.log.Warn("client refused")
		l.log.Info("join refused")
	}
	for range 20_000 {
		l.log.Info("PIN set")
	}
	l.tell()
	l.tell() // what was told is told once
	lines := map[string]int{}
	told := map[string]uint64{}
	for line := range strings.Lines(out.String()) {
		var entry struct {
			Msg, Kind string
			Lines     uint64
		}
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatal(err)
		}
		lines[entry.Msg]++
		if entry.Kind != "" {
			told[entry.Kind] += entry.Lines
		}
	}
	if lines["client joined"] != 500 || lines["session started"] != 500 || lines["PIN set"] != 20_000 {
		t.Errorf("lines: %v", lines)
	}
	if n := lines["client refused"]; n < 10 || n > 200 { // a second or two may have passed
		t.Errorf("%d lines of strangers", n)
	}
	if n := lines["join refused"]; n < clientFirst || n > clientFirst+50_000/clientThen {
		t.Errorf("%d lines of clients", n)
	}
	for _, message := range []string{"client refused", "join refused"} {
		if n := uint64(lines[message]) + told[message]; n != 50_000 {
			t.Errorf("%s: %d are accounted for", message, n)
		}
	}
	b := bound{every: time.Second, first: 2, then: 10}
	now := time.Unix(0, 0)
	var got strings.Builder
	for i := range 24 {
		if i == 22 {
			now = now.Add(time.Second)
		}
		if b.lets(now) {
			got.WriteString(fmt.Sprint(i, " "))
		}
	}
	if got.String() != "0 1 11 21 22 23 " {
		t.Errorf("let through: %s", got.String())
	}
}

func TestRecentLines(t *testing.T) {
	r := newLogRing()
	line := bytes.Repeat([]byte("x"), 1000)
	for i := range 10_000 {
		copy(line, fmt.Sprintf("%08d", i))
		r.put(line)
	}
	lines, gone := r.all()
	size := 0
	for i, l := range lines {
		size += len(l)
		if want := fmt.Sprintf("%08d", int(gone)+i); string(l[:8]) != want {
			t.Fatalf("line %d is %s, want %s", i, l[:8], want)
		}
	}
	if size > mostRecent || size < mostRecent-2000 || int(gone)+len(lines) != 10_000 {
		t.Errorf("%d bytes, %d lines, %d gone", size, len(lines), gone)
	}
	if held := cap(r.lines); held > 3*len(lines) {
		t.Errorf("room for %d lines is held for %d", held, len(lines))
	}
}

func TestTextOfOthers(t *testing.T) {
	var out bytes.Buffer
	l := newLogs(&out, "info")
	foreign := newForeignLog(l.log, "admin")
	foreign.Print("http: TLS handshake error from 10.0.0.1:5: EOF")
	foreign.Print("http: panic serving 10.0.0.1:5: oh\ngoroutine 1 [running]:\n")
	got := out.String()
	if strings.Count(got, "\n") != 2 || !strings.Contains(got, `"level":"info"`) || !strings.Contains(got, `"msg":"connection failed","server":"admin","text":"http: TLS`) ||
		!strings.Contains(got, `"level":"error"`) || !strings.Contains(got, `"msg":"a request broke the daemon's code"`) {
		t.Error(got)
	}
}
