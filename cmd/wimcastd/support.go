package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"

	"wimcast/api"
	"wimcast/api/handler"
	"wimcast/api/support"
)

// support is what the daemon knows of itself and its machine for those who have to help.
func (d *distributionPoint) support() handler.Support {
	return handler.Support{Parts: d.supportParts, Secrets: d.secrets}
}

func (d *distributionPoint) supportParts(q api.SupportRequest) []support.Part {
	return append([]support.Part{
		support.JSON("daemon.json", "the daemon's version and build, how long it runs, its memory", d.aboutSelf),
		{Name: "config.toml", About: "the configuration as it counts; names of files of credentials are left out", Make: func(_ context.Context, w io.Writer) error {
			return writeConfig(w, *d.config())
		}},
		{Name: "metrics.txt", About: "one scrape of the metrics", Make: d.scrapeOwn},
		{Name: "log.jsonl", About: "the latest lines of the daemon's log, since its start at most", Make: func(_ context.Context, w io.Writer) error {
			return d.writeRecent(w, q.Since, q.Session)
		}},
		{Name: "goroutines.txt", About: "what the daemon's code is doing; without arguments of calls, which may be keys", Make: func(_ context.Context, w io.Writer) error {
			return pprof.Lookup("goroutine").WriteTo(w, 1)
		}},
	}, machineParts(d.cfg.State)...)
}

// aboutSelf is the daemon as a program.
func (d *distributionPoint) aboutSelf(context.Context) (any, error) {
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	open, _ := os.ReadDir("/proc/self/fd")
	build, _ := debug.ReadBuildInfo()
	modules := map[string]string{}
	if build != nil {
		for _, m := range build.Deps {
			modules[m.Path] = m.Version
		}
	}
	host, _ := os.Hostname()
	return map[string]any{
		"version": version, "go": runtime.Version(), "system": runtime.GOOS + "/" + runtime.GOARCH, "modules": modules, "host": host, "started": d.started, "now": time.Now(),
		"uptime_seconds": time.Since(d.started).Seconds(), "processors": runtime.NumCPU(), "processors_used": runtime.GOMAXPROCS(0), "goroutines": runtime.NumGoroutine(), "open_files": len(open),
		"heap_bytes": memory.HeapAlloc, "heap_of_system_bytes": memory.HeapSys, "of_system_bytes": memory.Sys, "collections": memory.NumGC, "collection_pause_seconds": float64(memory.PauseTotalNs) / 1e9,
	}, nil
}

// hidden stands for the name of a file that holds a credential.
const hidden = "(set; left out)"

// writeConfig writes the configuration as it counts, defaults included, without saying where credentials are.
func writeConfig(w io.Writer, c config) error {
	for _, file := range []*string{&c.PKI.Key, &c.PKI.Certificate, &c.Point.Bundle, &c.Registry.Credentials} {
		if *file != "" {
			*file = hidden
		}
	}
	text, err := toml.Marshal(c)
	if err != nil {
		return err
	}
	_, err = w.Write(text)
	return err
}

// scrapeOwn asks the metrics without the network: they may not be served at all.
func (d *distributionPoint) scrapeOwn(ctx context.Context, w io.Writer) error {
	ask, err := http.NewRequestWithContext(ctx, http.MethodGet, "/metrics", http.NoBody)
	if err != nil {
		return err
	}
	answer := &answerTo{http.Header{}, w, nil}
	d.metrics.Handler().ServeHTTP(answer, ask)
	return answer.err
}

// answerTo is an answer that goes to a writer.
type answerTo struct {
	header http.Header
	w      io.Writer
	err    error // the first of writing
}

// Header implements http.ResponseWriter.
func (p *answerTo) Header() http.Header { return p.header }

// WriteHeader implements http.ResponseWriter.
func (p *answerTo) WriteHeader(status int) {
	if status != http.StatusOK {
		p.err = fmt.Errorf("the metrics answer %s", http.StatusText(status))
	}
}

// Write implements http.ResponseWriter.
func (p *answerTo) Write(b []byte) (int, error) {
	n, err := p.w.Write(b)
	if p.err == nil {
		p.err = err
	}
	return n, err
}

// writeRecent writes lines of the log from a time on, without those of other sessions where one is named.
func (d *distributionPoint) writeRecent(w io.Writer, since time.Time, session string) error {
	if d.recent == nil {
		return fmt.Errorf("the log isn't kept")
	}
	lines, gone := d.recent.all()
	if gone > 0 {
		if _, err := fmt.Fprintf(w, "{\"note\":\"%d older lines aren't kept in memory any more; the journal may have them\"}\n", gone); err != nil {
			return err
		}
	}
	for _, line := range lines {
		var entry struct {
			Time    time.Time `json:"time"`
			Session string    `json:"session"`
		}
		if json.Unmarshal(line, &entry) == nil && (entry.Time.Before(since) || session != "" && entry.Session != "" && entry.Session != session) {
			continue
		}
		if _, err := w.Write(line); err != nil {
			return err
		}
	}
	return nil
}

// secretName matches variables and keys that hold secrets.
var secretName = regexp.MustCompile(`(?i)pass|token|secret|credential|apikey|api_key|private|\bpin\b|_pin$|auth`)

// quoted matches strings of TOML and JSON, and a key before them.
var quoted = regexp.MustCompile(`(?m)["']?([A-Za-z_-]+)["']?\s*[:=]\s*["']([^"'\n]{6,})["']`)

// secrets are the values that this daemon was given and that are nobody's business, for a bundle to be searched for: of its credential files,
// of files of keys, and of variables of its environment that are called so. None is kept.
func (d *distributionPoint) secrets() []string {
	var out []string
	c := d.config()
	for _, name := range []string{credentialFile(c.Registry.Credentials), credentialFile(c.Point.Bundle), c.PKI.Key, filepath.Join(d.cfg.State, firstBundle)} {
		if name == "" {
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			continue // what the daemon can't read it can't have told
		}
		for _, match := range quoted.FindAllSubmatch(text, -1) {
			if key := strings.ToLower(string(match[1])); secretName.MatchString(key) {
				out = append(out, string(match[2]))
				if pair, err := base64.StdEncoding.DecodeString(string(match[2])); key == "auth" && err == nil { // of a docker config.json
					_, password, _ := strings.Cut(string(pair), ":")
					out = append(out, password)
				}
			}
		}
		out = append(out, keyLines(text)...)
	}
	for _, pair := range os.Environ() {
		if name, value, _ := strings.Cut(pair, "="); secretName.MatchString(name) && !filepath.IsAbs(value) {
			out = append(out, value)
		}
	}
	return out
}

// keyLines are the lines of private keys in a file in PEM.
func keyLines(text []byte) (lines []string) {
	inside := false
	for line := range bytes.Lines(text) {
		line = bytes.TrimSpace(line)
		switch {
		case bytes.HasPrefix(line, []byte("-----BEGIN ")):
			inside = bytes.Contains(line, []byte("PRIVATE KEY"))
		case bytes.HasPrefix(line, []byte("-----END ")):
			inside = false
		case inside:
			lines = append(lines, string(line))
		}
	}
	return lines
}
