// Package metrics turns snapshots of the daemon into Prometheus metrics. It is
// the one importer of client_golang. Nothing is counted here but what has no
// snapshot (durations and loss of clients that ended): collectors ask at scrape time, on a
// registry of their own. docs/metrics.md lists every name; a test holds it
// against a live scrape.
package metrics

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"wimcast/session"
)

// endedStay is how long an ended session's gauges stay: long enough to be scraped.
const endedStay = 10 * time.Minute

// Sources are where the numbers come from. Each function is called at scrape
// time, from any goroutine; nil ones are left out.
type Sources struct {
	Version  string
	Sessions func() (running, ended []session.SessionInfo)
	Totals   func() (packages map[string]session.PackageTotals, dropped map[string]uint64)
	// KernelDrops counts packets that the kernel threw away, by socket.
	KernelDrops func() map[string]uint64
	// Handshakes counts handshakes by channel (control, https) and result.
	Handshakes func() map[[2]string]uint64
	// Unicast returns clients on unicast and waiting for it, and bytes sent by package.
	Unicast func() (active, queued int, sent map[string]uint64)
	// Library returns packages by state, and the bytes free.
	Library func() (states map[string]int, free uint64)
	// Validations counts looks at stored content by what came of them.
	Validations func() map[string]uint64
	// OldestValidation is when the content was looked at that was looked at longest ago; zero without one.
	OldestValidation func() time.Time
	// Expiries returns when credentials end, by kind and name.
	Expiries func() map[[2]string]time.Time
	// Reload says whether the latest reload of the configuration was good, and when the latest good one was.
	Reload func() (good bool, at time.Time)
	// Queue counts clients that wait for a place, by limit.
	Queue func() map[string]int
	// Viewers counts those who watch a session.
	Viewers func() int
	// Points counts packages at points by point and state, and says when each point last reported; without those that never did.
	Points func() (packages map[[2]string]int, reported map[string]time.Time)
	// Pulls returns what came from the registry in bytes, and failures of pulls by reason; at a point only.
	Pulls func() (bytes uint64, failures map[string]uint64)
	// PullLimit is what all pulls may take together now, in bytes/s, 0 while the hours are closed; false where there is no limit.
	PullLimit func() (limit float64, limited bool)
	// Schedules counts schedules of servicing by state.
	Schedules func() map[string]int
	// Page counts links to the web page that were followed, by what came of it.
	Page func() map[string]uint64
	// PINs counts PINs that were shown, by what came of it.
	PINs func() map[string]uint64
	// Logs counts logs that clients sent, by what became of them.
	Logs func() map[string]uint64
	// History returns the numbers of the record.
	History func() HistoryNumbers
	// Queriers returns when an IGMP querier was last heard, by interface; without those where none was.
	Queriers func() map[string]time.Time
	// Interfaces returns those that groups go out on: whether they are up, bytes sent, and failed sends by interface and reason.
	Interfaces func() (up map[string]bool, sent map[string]uint64, failed map[[2]string]uint64)
}

// HistoryNumbers are what the record says of itself.
type HistoryNumbers struct {
	Records         map[string]int64 // by kind: session, client, action
	Oldest          time.Time        // start of the oldest session; zero without one
	Dropped, Failed uint64           // records lost; writes that failed and were tried again
}

// Metrics is the registry with its collectors. It is an Observer of a
// session.Server. Safe for concurrent use.
type Metrics struct {
	registry *prometheus.Registry
	loss     *prometheus.HistogramVec
	phase    *prometheus.HistogramVec
}

var _ session.Observer = (*Metrics)(nil)

// New returns the daemon's metrics.
func New(sources Sources) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		loss: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "wimcast_client_loss_ratio", Help: "Share of packets that a client lost over its whole session, 0 to 1.",
			Buckets: []float64{0, 0.0001, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1},
		}, []string{"package"}),
		phase: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "wimcast_client_phase_duration_seconds", Help: "Time that a client spent in a phase.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 13),
		}, []string{"package", "phase"}),
	}
	m.registry.MustRegister(newCollector(sources, m.loss, m.phase), collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Handler serves the metrics in Prometheus' text format.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// phases of a client, in their order.
var phases = []string{"wait", "receive", "apply"}

// ClientEnded implements session.Observer.
func (m *Metrics) ClientEnded(s session.SessionInfo, c session.ClientInfo) {
	if packets := c.Opened + c.Lost; packets > 0 {
		m.loss.WithLabelValues(s.Package).Observe(float64(c.Lost) / float64(packets))
	}
	if c.State == session.ClientProven {
		m.phase.WithLabelValues(s.Package, "wait").Observe(c.Began.Sub(c.Joined).Seconds())
		m.phase.WithLabelValues(s.Package, "receive").Observe(c.Ended.Sub(c.Began).Seconds())
	}
}

// ClientApplied implements session.Observer.
func (m *Metrics) ClientApplied(a session.Applied) {
	if !a.Failed {
		m.phase.WithLabelValues(a.Package, "apply").Observe(a.Took.Seconds())
	}
}

// SessionEnded implements session.Observer.
func (m *Metrics) SessionEnded(session.SessionInfo) {}
