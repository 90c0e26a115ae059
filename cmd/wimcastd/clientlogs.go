package main

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"wimcast/crypto/keyex"
	"wimcast/unicast/clientlog"
)

// clientLogsDir is where logs of clients are kept, in the state directory.
const clientLogsDir = "logs"

// leastLogs is the least that logs of clients may take together, in bytes: two of the largest.
const leastLogs = 32 << 20

// logsConfig is about the logs that clients send.
type logsConfig struct {
	Keep age  `toml:"keep"` // since they came; 0: for ever
	Max  size `toml:"max"`  // of all together; 0: none is taken
}

func defaultLogs() logsConfig { return logsConfig{Keep: age(30 * 24 * time.Hour), Max: 256 << 20} }

func (l *logsConfig) check(bad func(key, format string, args ...any)) {
	if l.Keep > 0 && l.Keep < age(leastKept) {
		bad("logs.keep", "%v is less than %v; \"0\" keeps for ever, logs.max = \"0\" takes none", time.Duration(l.Keep), leastKept)
	}
	if l.Max != 0 && l.Max < leastLogs {
		bad("logs.max", "%d bytes are less than \"32MiB\", which two long logs need; \"0\" takes none", int64(l.Max))
	}
}

// size reads "256MiB" or "1 GB" and holds bytes.
type size int64

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *size) UnmarshalText(text []byte) error {
	t := strings.TrimSpace(string(text))
	number := strings.TrimRight(t, "kKMGTiB ")
	unit, known := map[string]float64{
		"": 1, "B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40,
	}[strings.TrimSpace(t[len(number):])]
	n, err := strconv.ParseFloat(number, 64)
	if err != nil || !known || !(n >= 0) || n*unit > 1e15 || n != 0 && unit == 1 && t == number {
		return fmt.Errorf("%q is not a size such as \"256MiB\" or \"1 GB\"", text)
	}
	*s = size(n * unit)
	return nil
}

// openClientLogs opens what takes and keeps logs of clients. Where that fails the daemon goes on without: a log isn't worth
// an outage.
func (d *distributionPoint) openClientLogs() {
	cfg := d.cfg.Logs
	store, err := clientlog.Open(filepath.Join(d.cfg.State, clientLogsDir), time.Duration(cfg.Keep), int64(cfg.Max))
	if err != nil {
		d.log.Error("no logs of clients are taken until the daemon starts again", zap.Error(err))
		return
	}
	d.clientLogs = store
	d.clientLog = clientlog.NewServer(clientlog.ServerConfig{
		Store: store,
		Judge: func(r *http.Request) (keyex.Identity, error) { return d.trust.Judge(r.TLS, joiningRoles()...) },
		Stored: func(e clientlog.Entry) {
			d.log.Info("client log received", zap.String("log", e.ID), zap.String("client", e.Report.Machine), zap.String("certificate", e.Certificate),
				zap.String("from", e.Address), zap.Int("exit_code", e.Report.ExitCode), zap.String("error", e.Report.Error))
		},
		Refused: func(from string, result clientlog.Result, err error) {
			d.log.Warn("client log not taken", zap.String("from", from), zap.String("result", string(result)), zap.Error(err))
		},
	})
}

// takesLogs is what answers on the unicast port; nil where nothing does.
func (d *distributionPoint) takesLogs() http.Handler {
	if d.clientLog == nil {
		return nil
	}
	return d.clientLog
}

// logCounts counts logs of clients by what became of them.
func (d *distributionPoint) logCounts() map[string]uint64 {
	out := map[string]uint64{}
	for _, r := range clientlog.Results() {
		out[string(r)] = 0
	}
	if d.clientLog == nil {
		return out
	}
	for r, n := range d.clientLog.Counts() {
		out[string(r)] = n
	}
	return out
}

// expireLogs removes logs of clients that were kept long enough.
func (d *distributionPoint) expireLogs() {
	if d.clientLogs == nil {
		return
	}
	if err := d.clientLogs.Expire(time.Now()); err != nil {
		d.log.Warn("old logs of clients can't be removed", zap.Error(err))
	}
}
