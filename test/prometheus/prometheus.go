//go:build linux

// Package prometheus runs a real Prometheus for tests: Debian's, on a free port, with its data in a
// folder of the caller's. It scrapes daemons wherever they run, with any alert rules, and is asked over its HTTP API.
//
//	p := prometheus.ForTest(t, prometheus.Options{Rules: []string{"../deploy/prometheus/wimcast.rules.yml"}})
//	err := p.SetTargets(prometheus.Target{URL: daemon.Metrics(), Instance: "room", At: daemon.Place})
//	err = p.AwaitUp(ctx, "room")
//	samples, err := p.Query(ctx, `sum by(instance) (wimcast_session_clients)`)
package prometheus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"wimcast/test/rig"
)

// program is the server's, promtool what judges its files.
const (
	program  = "prometheus"
	promtool = "promtool"
)

// Job is what the targets' label job says, as in deploy/prometheus/wimcast.scrape.yml.
const Job = "wimcast"

const (
	// readyWithin bounds a server's start, which takes a tenth of a second where nothing else runs.
	readyWithin = time.Minute
	// often is how often it scrapes and judges where nobody says else: tests don't wait a quarter of a minute.
	often = time.Second
)

// ErrMissing says that Prometheus isn't installed here.
var ErrMissing = errors.New(program + " is missing: install " + program + " (make setup-check does)")

// Options say what a server is like. The zero value scrapes each second and has no rules.
type Options struct {
	// Every is how often it scrapes and evaluates rules; at least 100 ms. 0 means 1 s.
	Every time.Duration
	// Rules are files of rules.
	Rules []string
}

// Target is a daemon to scrape.
type Target struct {
	// URL is where it serves its metrics, as rig.Daemon.Metrics has it.
	URL string
	// Instance is the target's label instance; "" is the URL's host and port.
	Instance string
	// At is the place that the URL is of; nil is this machine's loopback. On a host of the lab the way there is forwarded from loopback.
	At rig.Place
	// Labels are more labels of the target.
	Labels map[string]string
}

// Server is a running Prometheus.
type Server struct {
	// URL is where its API is: http://127.0.0.1:PORT.
	URL string

	dir    string
	every  time.Duration
	cmd    *exec.Cmd
	exited chan struct{}
	tail   rig.Tail // of what it wrote

	mu       sync.Mutex
	forwards map[string]*forward
}

// ForTest starts a server that ends with the test, or skips the test where none is installed.
func ForTest(t testing.TB, o Options) *Server {
	t.Helper()
	s, err := Start(t.Context(), t.TempDir(), o)
	if errors.Is(err, ErrMissing) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

// Promtool runs promtool and returns what it wrote, both outputs together.
func Promtool(ctx context.Context, stdin io.Reader, args ...string) (string, error) {
	if _, err := exec.LookPath(promtool); err != nil {
		return "", ErrMissing
	}
	cmd := exec.CommandContext(ctx, promtool, args...)
	cmd.Stdin = stdin
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("promtool %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return string(out), err
}

// Start starts a server with everything it has in dir, and waits until it is ready. It ends with ctx or Stop.
func Start(ctx context.Context, dir string, o Options) (*Server, error) {
	if _, err := exec.LookPath(program); err != nil {
		return nil, ErrMissing
	}
	if o.Every == 0 {
		o.Every = often
	}
	s := &Server{dir: dir, every: o.Every, exited: make(chan struct{}), forwards: map[string]*forward{}}
	config := filepath.Join(dir, "prometheus.yml")
	text, err := s.config(o)
	if err != nil {
		return nil, fmt.Errorf("start prometheus: %w", err)
	}
	if err := os.WriteFile(config, text, 0o600); err != nil {
		return nil, err
	}
	if err := s.SetTargets(); err != nil {
		return nil, err
	}
	s.cmd = rig.Loopback("prometheus").Command(ctx, program, "--config.file="+config, "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address=127.0.0.1:0", "--scrape.discovery-reload-interval=100ms", "--storage.tsdb.retention.time=1d")
	log, err := s.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start prometheus: %w", err)
	}
	ready := make(chan string, 1)
	go func() {
		s.follow(log, ready)
		_ = s.cmd.Wait()
		close(s.exited)
	}()
	select {
	case address := <-ready:
		s.URL = "http://" + address
		return s, nil
	case <-s.exited:
		return nil, fmt.Errorf("start prometheus: it ended: %s", s.Log())
	case <-time.After(readyWithin):
		s.Stop()
		return nil, fmt.Errorf("start prometheus: not ready in %v: %s", readyWithin, s.Log())
	}
}

// config is the server's configuration. JSON is YAML.
func (s *Server) config(o Options) ([]byte, error) {
	var rules []string
	for _, name := range o.Rules {
		whole, err := filepath.Abs(name)
		if err != nil {
			return nil, err
		}
		if _, err := os.Stat(whole); err != nil { // Prometheus takes a missing file for a pattern that matches nothing
			return nil, err
		}
		rules = append(rules, whole)
	}
	every := fmt.Sprintf("%dms", o.Every.Milliseconds())
	return json.Marshal(map[string]any{
		"global":     map[string]string{"scrape_interval": every, "scrape_timeout": every, "evaluation_interval": every},
		"rule_files": rules,
		"scrape_configs": []any{map[string]any{
			"job_name":        Job,
			"file_sd_configs": []any{map[string]any{"files": []string{s.targetsFile()}}},
		}},
	})
}

func (s *Server) targetsFile() string { return filepath.Join(s.dir, "targets.json") }

// SetTargets replaces what is scraped. The server sees it within 5 s, by itself.
func (s *Server) SetTargets(targets ...Target) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := []any{} // not null
	for _, t := range targets {
		at, err := url.Parse(t.URL)
		if err != nil {
			return fmt.Errorf("set targets: %w", err)
		}
		labels := map[string]string{"instance": at.Host, "__metrics_path__": at.Path}
		if t.Instance != "" {
			labels["instance"] = t.Instance
		}
		maps.Copy(labels, t.Labels)
		address := at.Host
		if inside, is := t.At.(inside); is {
			f, known := s.forwards[labels["instance"]]
			if !known {
				if f, err = newForward(); err != nil {
					return fmt.Errorf("set targets: %w", err)
				}
				s.forwards[labels["instance"]] = f
			}
			f.lead(inside, at.Host)
			address = f.address()
		}
		list = append(list, map[string]any{"targets": []string{address}, "labels": labels})
	}
	text, err := json.Marshal(list)
	if err != nil {
		return fmt.Errorf("set targets: %w", err)
	}
	name := s.targetsFile()
	if err := os.WriteFile(name+".new", text, 0o600); err != nil {
		return fmt.Errorf("set targets: %w", err)
	}
	return os.Rename(name+".new", name) // never read half-written
}

// follow reads what the server writes, and tells once where it listens when it is ready.
func (s *Server) follow(log io.Reader, ready chan<- string) {
	address := ""
	s.tail.Follow(log, func(text string) {
		if _, at, found := strings.Cut(text, `msg="Listening on" address=`); found {
			address, _, _ = strings.Cut(at, " ")
		}
		if strings.Contains(text, "ready to receive web requests") {
			select {
			case ready <- address:
			default:
			}
		}
	})
}

// Log returns the end of what the server wrote.
func (s *Server) Log() string { return s.tail.String() }

// Stop ends the server, and the ways to its targets. It may be called twice.
func (s *Server) Stop() {
	_ = s.cmd.Cancel() // its process group
	<-s.exited
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.forwards {
		f.close()
	}
}

// get asks the API and decodes the answer's data.
func (s *Server) get(ctx context.Context, path string, query url.Values, data any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/api/v1/"+path+"?"+query.Encode(), http.NoBody)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("ask prometheus: %s: %w", path, err)
	}
	defer answer.Body.Close()
	var envelope struct {
		Status string          `json:"status"`
		Error  string          `json:"error"`
		Data   json.RawMessage `json:"data"`
	}
	if err := json.NewDecoder(answer.Body).Decode(&envelope); err != nil {
		return fmt.Errorf("ask prometheus: %s: %s: %w", path, answer.Status, err)
	}
	if envelope.Status != "success" {
		return fmt.Errorf("ask prometheus: %s: %s", path, envelope.Error)
	}
	return json.Unmarshal(envelope.Data, data)
}
