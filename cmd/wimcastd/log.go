package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	stdlog "log"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/term"
)

// logs is the daemon's log: who writes it, how much of it there is, and what of it is kept in memory.
type logs struct {
	log    *zap.Logger
	level  zap.AtomicLevel
	recent *logRing

	mu   sync.Mutex
	less map[string]uint64 // lines that were left out since it was last told, by message
}

// newLogs returns a log that goes to w: readable lines on a terminal, JSON elsewhere, with priorities where w is the journal.
func newLogs(w io.Writer, level string) *logs {
	l := &logs{level: zap.NewAtomicLevel(), recent: newLogRing(), less: map[string]uint64{}}
	_ = l.level.UnmarshalText([]byte(level)) // checked with the config
	cfg := zap.NewProductionEncoderConfig()
	cfg.TimeKey, cfg.EncodeTime, cfg.EncodeDuration = "time", zapcore.RFC3339NanoTimeEncoder, zapcore.StringDurationEncoder
	core := &lineCore{LevelEnabler: l.level, json: zapcore.NewJSONEncoder(cfg), out: zapcore.Lock(zapcore.AddSync(w)), recent: l.recent, journal: isJournal(w)}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		cfg.EncodeTime = zapcore.TimeEncoderOfLayout(time.TimeOnly)
		cfg.EncodeLevel = zapcore.CapitalColorLevelEncoder
		core.console = zapcore.NewConsoleEncoder(cfg)
	}
	l.log = zap.New(newBoundedCore(core, l.leftOut))
	return l
}

// leftOut counts a line that was left out.
func (l *logs) leftOut(message string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.less[message]++
}

// tellEvery is how often the log says what was left out of it.
const tellEvery = time.Minute

// run says now and then what was left out, until ctx ends.
func (l *logs) run(ctx context.Context, ticks <-chan time.Time) {
	for {
		select {
		case <-ctx.Done():
			l.tell()
			return
		case <-ticks:
			l.tell()
		}
	}
}

func (l *logs) tell() {
	l.mu.Lock()
	less := l.less
	l.less = map[string]uint64{}
	l.mu.Unlock()
	for _, message := range slices.Sorted(maps.Keys(less)) {
		l.log.Warn("lines were left out of the log: too many of one kind", zap.String("kind", message), zap.Uint64("lines", less[message]))
	}
}

// isJournal reports whether w is a stream to the journal: systemd says which one in $JOURNAL_STREAM, as device and inode (systemd.exec(5)).
func isJournal(w io.Writer) bool {
	f, ok := w.(*os.File)
	stream := os.Getenv("JOURNAL_STREAM")
	if !ok || stream == "" {
		return false
	}
	info, err := f.Stat()
	if err != nil {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && stream == fmt.Sprintf("%d:%d", stat.Dev, stat.Ino)
}

// sayWrong writes an error of a program that has no log yet, for the journal at the priority of one, line by line.
func sayWrong(w io.Writer, err error) {
	text := "wimcastd: " + err.Error()
	if isJournal(w) {
		text = string(priority(zapcore.ErrorLevel)) + strings.ReplaceAll(text, "\n", "\n"+string(priority(zapcore.ErrorLevel)))
	}
	_, _ = fmt.Fprintln(w, text)
}

// foreignLog takes what others write as lines of text, HTTP servers above all, into the log.
type foreignLog struct {
	log    *zap.Logger
	server string // whose lines
}

// newForeignLog returns a logger for those who write text.
func newForeignLog(log *zap.Logger, server string) *stdlog.Logger {
	return stdlog.New(&foreignLog{log, server}, "", 0)
}

// Write implements io.Writer: it gets a message at a time.
func (f *foreignLog) Write(p []byte) (int, error) {
	text := zap.String("text", string(bytes.TrimSpace(p)))
	if bytes.Contains(p, []byte("panic")) {
		f.log.Error("a request broke the daemon's code", zap.String("server", f.server), text)
	} else {
		f.log.Info("connection failed", zap.String("server", f.server), text)
	}
	return len(p), nil
}
