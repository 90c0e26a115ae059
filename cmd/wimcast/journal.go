package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"wimcast/crypto/keyex"
	"wimcast/multicast/wire"
	"wimcast/unicast/clientlog"
)

// journal keeps what a client told, as lines of `get --json`, for the distribution point: at most clientlog.MaxLog bytes,
// the latest. A nil journal keeps nothing. Safe for concurrent use.
type journal struct {
	mu    sync.Mutex
	lines [][]byte
	size  int
}

func (j *journal) add(e getEvent) {
	if j == nil {
		return
	}
	e.Time = time.Now().UTC()
	line, err := json.Marshal(e)
	if err != nil {
		panic("wimcast: " + err.Error())
	}
	line = append(line, '\n')
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, line)
	for j.size += len(line); j.size > clientlog.MaxLog; j.lines = j.lines[1:] {
		j.size -= len(j.lines[0])
	}
}

func (j *journal) text() []byte {
	j.mu.Lock()
	defer j.mu.Unlock()
	return bytes.Join(j.lines, nil)
}

// eventLog tells in `get --json` what became of the log.
const eventLog = "log"

// shareLog sends the client's log to the distribution point when the get failed, or always or never where it was told
// so. That never changes how the get ends, and takes clientlog.SendTimeout at most.
func (g *getCommand) shareLog(ctx context.Context, screen *screen, result *outcome, ended error) {
	asked := g.SendLog != nil && *g.SendLog
	refused := g.SendLog != nil && !*g.SendLog
	interrupted := ctx.Err() != nil || errors.Is(ended, errStopped) || errors.Is(ended, context.Canceled) // whoever did that wants to be off
	if result.ways == nil || refused || !asked && (ended == nil || interrupted) {
		return
	}
	files := []clientlog.File{{Name: clientlog.OwnLog, Data: screen.journal.text()}}
	for _, name := range result.Logs {
		text, err := readTail(name, clientlog.MaxExtra)
		if err != nil {
			screen.event("notice", fmt.Sprintf("a log can't be sent with the others: %v", err))
			continue
		}
		files = append(files, clientlog.File{Name: filepath.Base(name), Data: text})
	}
	report := reportOf(thisMachine(g.Name), result.Package, ended)
	id, err := clientlog.Send(context.WithoutCancel(ctx), result.ways.answering(), keyex.ClientTLS(result.ways.credentials), report, files)
	if err != nil {
		screen.event(eventLog, "the log couldn't be sent to the distribution point: "+clientlog.Harmless(strings.ReplaceAll(err.Error(), "\n", "; ")))
		return
	}
	screen.event(eventLog, fmt.Sprintf("the log is at the distribution point; there: wimcast client log %s", id))
}

// reportOf says of this machine, and of a get that ended, what stands beside its logs.
func reportOf(m wire.Machine, pkg string, ended error) clientlog.Report {
	r := clientlog.Report{
		Machine: m.Host, Serial: m.Serial, MACs: m.MACs, Version: version, System: runtime.GOOS + "/" + runtime.GOARCH,
		Package: pkg, ExitCode: exitCode(ended), Sent: time.Now().UTC(),
	}
	if m.UUID != [16]byte{} {
		r.UUID = fmt.Sprintf("%x-%x-%x-%x-%x", m.UUID[:4], m.UUID[4:6], m.UUID[6:8], m.UUID[8:10], m.UUID[10:])
	}
	if ended != nil {
		r.Error = ended.Error()
	}
	return r
}

// readTail reads the end of a file, at most limit bytes.
func readTail(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, &os.PathError{Op: "read", Path: name, Err: errors.New("not a file")}
	}
	// One byte more, so that Tail sees that it is cut and begins with a whole line.
	if over := info.Size() - limit - 1; over > 0 {
		if _, err := f.Seek(over, io.SeekStart); err != nil {
			return nil, err
		}
	}
	return io.ReadAll(io.LimitReader(f, limit+1))
}

// answering returns the servers, the one that answered last first.
func (r *reacher) answering() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var servers []string
	for _, way := range r.order() {
		servers = append(servers, way.Server)
	}
	if r.server.IsValid() {
		servers = append([]string{r.server.String()}, servers...)
	}
	return servers
}
