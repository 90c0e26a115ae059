package metrics

import (
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"wimcast/multicast/wire"
	"wimcast/session"
)

// collector asks the sources at scrape time.
type collector struct {
	sources Sources
	descs   map[string]*prometheus.Desc

	loss, phase *prometheus.HistogramVec
}

// Every metric's name, labels and help. Names are OPERATING's, settled once.
var help = []struct {
	name, help string
	labels     []string
}{
	{"build_info", "Version of the daemon; always 1.", []string{"version"}},
	{"session_info", "A session; always 1.", []string{"session", "package", "deployment", "mode"}},
	{"session_clients", "Clients of a session by state.", []string{"session", "state"}},
	{"session_progress_ratio", "Share of the image that clients have proven, 0 to 1.", []string{"session", "stat"}},
	{"session_rate_target_bytes_per_second", "What the session's rate law decided, UDP payload.", []string{"session"}},
	{"session_rate_limit_reason", "1 for what limits the session's rate now.", []string{"session", "reason"}},
	{"session_start_deadline_timestamp_seconds", "When a session whose clients wait starts at the latest.", []string{"session"}},
	{"session_last_progress_timestamp_seconds", "When a client last proved a block.", []string{"session"}},
	{"sent_bytes_total", "UDP payload sent to groups.", []string{"package", "kind"}},
	{"sent_packets_total", "Packets sent to groups.", []string{"package", "kind"}},
	{"client_proven_bytes_total", "Bytes of images that ended clients proved, by the path they came on.", []string{"package", "path"}},
	{"nacks_total", "NACKs by what became of them.", []string{"package", "result"}},
	{"client_lost_packets_total", "Packets that clients lost, by where.", []string{"package", "cause"}},
	{"client_results_total", "Clients that ended, by result and path.", []string{"package", "result", "path"}},
	{"unicast_fallbacks_total", "Clients that went unicast, by reason.", []string{"package", "reason"}},
	{"group_silent_alarms_total", "Alarms that many clients of a session can't hear its group.", []string{"package"}},
	{"queue_clients", "Clients that wait for a place, by the limit.", []string{"limit"}},
	{"live_viewers", "Streams of watched sessions that are open.", nil},
	{"unicast_clients", "Clients on unicast.", []string{"state"}},
	{"unicast_sent_bytes_total", "Bytes sent by unicast.", []string{"package"}},
	{"blocks_rejected_total", "Blocks that failed their hash at clients.", []string{"package"}},
	{"group_rejoins_total", "Times that clients left a silent group and joined again.", []string{"package"}},
	{"handshakes_total", "Handshakes by channel (control, https, admin, page) and result.", []string{"channel", "result"}},
	{"dropped_packets_total", "Packets and messages thrown away at the daemon, by reason.", []string{"reason"}},
	{"kernel_dropped_packets_total", "Packets that the kernel threw away at a socket of the daemon as its receive buffer was full.", []string{"socket"}},
	{"interface_up", "1 while an interface that groups go out on is up and has a carrier.", []string{"interface"}},
	{"igmp_querier_last_seen_timestamp_seconds", "When an IGMP querier was last heard on an interface that groups go out on.", []string{"interface"}},
	{"interface_sent_bytes_total", "UDP payload sent to groups, by interface.", []string{"interface"}},
	{"send_errors_total", "Sends to groups that failed.", []string{"interface", "reason"}},
	{"credential_expiry_timestamp_seconds", "When a credential ends.", []string{"kind", "name"}},
	{"config_last_reload_successful", "1 when the latest reload of the configuration was good, 0 when it changed nothing.", nil},
	{"config_last_reload_success_timestamp_seconds", "When the configuration that is in use was read.", nil},
	{"history_records", "Records of the history by kind.", []string{"kind"}},
	{"history_dropped_total", "Records that were lost before they were written.", nil},
	{"history_write_failures_total", "Writes of the history that failed.", nil},
	{"history_oldest_timestamp_seconds", "Start of the oldest session in the history.", nil},
	{"library_packages", "Packages by state.", []string{"state"}},
	{"pin_attempts_total", "PINs that were shown, by what came of it.", []string{"result"}},
	{"page_logins_total", "Links to the web page that were followed, by what came of it.", []string{"result"}},
	{"client_logs_total", "Logs that clients sent, by what became of them.", []string{"result"}},
	{"servicing_schedules", "Schedules of servicing by state.", []string{"state"}},
	{"distribution_packages", "Packages at points by state, as the points last said.", []string{"point", "state"}},
	{"point_last_report_timestamp_seconds", "When a point last said how it is.", []string{"point"}},
	{"pull_bytes_total", "Bytes of packages that came from the registry.", nil},
	{"pull_failures_total", "Failures of asking for assignments and of pulling, by reason.", []string{"reason"}},
	{"pull_limit_bytes_per_second", "What the hours let all pulls take together; 0 while they are closed.", nil},
	{"library_free_bytes", "Bytes free where the library lies.", nil},
	{"library_validations_total", "Looks at stored content by result.", []string{"result"}},
	{"library_oldest_validation_timestamp_seconds", "When the content was validated that was validated longest ago.", nil},
}

// counters are the names among help that only grow.
func isCounter(name string) bool {
	const suffix = "_total"
	return len(name) > len(suffix) && name[len(name)-len(suffix):] == suffix
}

func newCollector(sources Sources, loss, phase *prometheus.HistogramVec) *collector {
	c := &collector{sources: sources, descs: map[string]*prometheus.Desc{}, loss: loss, phase: phase}
	for _, m := range help {
		c.descs[m.name] = prometheus.NewDesc("wimcast_"+m.name, m.help, m.labels, nil)
	}
	return c
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		out <- d
	}
	c.loss.Describe(out)
	c.phase.Describe(out)
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	put := func(name string, value float64, labels ...string) {
		kind := prometheus.GaugeValue
		if isCounter(name) {
			kind = prometheus.CounterValue
		}
		out <- prometheus.MustNewConstMetric(c.descs[name], kind, value, labels...)
	}
	defer func() { // those of all packages by then
		c.loss.Collect(out)
		c.phase.Collect(out)
	}()
	put("build_info", 1, c.sources.Version)
	if c.sources.Sessions != nil {
		running, ended := c.sources.Sessions()
		for i := range running {
			collectSession(put, &running[i])
		}
		for i := range ended {
			if time.Since(ended[i].Ended) < endedStay {
				collectSession(put, &ended[i])
			}
		}
	}
	if c.sources.Totals != nil {
		packages, dropped := c.sources.Totals()
		for name, t := range packages {
			collectPackage(put, name, &t)
			c.begin(name)
		}
		for reason, n := range dropped {
			put("dropped_packets_total", float64(n), reason)
		}
	}
	if c.sources.KernelDrops != nil {
		for socket, n := range c.sources.KernelDrops() {
			put("kernel_dropped_packets_total", float64(n), socket)
		}
	}
	if c.sources.Handshakes != nil {
		for result, n := range c.sources.Handshakes() {
			put("handshakes_total", float64(n), result[0], result[1])
		}
	}
	if c.sources.Reload != nil {
		good, at := c.sources.Reload()
		value := 0.0
		if good {
			value = 1
		}
		put("config_last_reload_successful", value)
		put("config_last_reload_success_timestamp_seconds", float64(at.UnixMilli())/1000)
	}
	if c.sources.Queue != nil {
		for limit, n := range c.sources.Queue() {
			put("queue_clients", float64(n), limit)
		}
	}
	if c.sources.Viewers != nil {
		put("live_viewers", float64(c.sources.Viewers()))
	}
	if c.sources.Unicast != nil {
		active, queued, sent := c.sources.Unicast()
		put("unicast_clients", float64(active), "active")
		put("unicast_clients", float64(queued), "queued")
		for name, n := range sent {
			put("unicast_sent_bytes_total", float64(n), name)
		}
	}
	if c.sources.PINs != nil {
		for result, n := range c.sources.PINs() {
			put("pin_attempts_total", float64(n), result)
		}
	}
	if c.sources.Page != nil {
		for result, n := range c.sources.Page() {
			put("page_logins_total", float64(n), result)
		}
	}
	if c.sources.Logs != nil {
		for result, n := range c.sources.Logs() {
			put("client_logs_total", float64(n), result)
		}
	}
	if c.sources.Schedules != nil {
		for state, n := range c.sources.Schedules() {
			put("servicing_schedules", float64(n), state)
		}
	}
	if c.sources.Points != nil {
		packages, reported := c.sources.Points()
		for which, n := range packages {
			put("distribution_packages", float64(n), which[0], which[1])
		}
		for point, at := range reported {
			put("point_last_report_timestamp_seconds", float64(at.UnixMilli())/1000, point)
		}
	}
	if c.sources.Pulls != nil {
		bytes, failures := c.sources.Pulls()
		put("pull_bytes_total", float64(bytes))
		for reason, n := range failures {
			put("pull_failures_total", float64(n), reason)
		}
	}
	if c.sources.PullLimit != nil {
		if limit, limited := c.sources.PullLimit(); limited {
			put("pull_limit_bytes_per_second", limit)
		}
	}
	if c.sources.Library != nil {
		states, free := c.sources.Library()
		for state, n := range states {
			put("library_packages", float64(n), state)
		}
		put("library_free_bytes", float64(free))
	}
	if c.sources.Validations != nil {
		for result, n := range c.sources.Validations() {
			put("library_validations_total", float64(n), result)
		}
	}
	if c.sources.OldestValidation != nil {
		if at := c.sources.OldestValidation(); !at.IsZero() {
			put("library_oldest_validation_timestamp_seconds", float64(at.Unix()))
		}
	}
	if c.sources.Expiries != nil {
		for who, at := range c.sources.Expiries() {
			put("credential_expiry_timestamp_seconds", float64(at.Unix()), who[0], who[1])
		}
	}
	if c.sources.History != nil {
		h := c.sources.History()
		for kind, n := range h.Records {
			put("history_records", float64(n), kind)
		}
		put("history_dropped_total", float64(h.Dropped))
		put("history_write_failures_total", float64(h.Failed))
		if !h.Oldest.IsZero() {
			put("history_oldest_timestamp_seconds", float64(h.Oldest.UnixMilli())/1000)
		}
	}
	if c.sources.Queriers != nil {
		for name, at := range c.sources.Queriers() {
			put("igmp_querier_last_seen_timestamp_seconds", float64(at.UnixMilli())/1000, name)
		}
	}
	if c.sources.Interfaces != nil {
		up, sent, failed := c.sources.Interfaces()
		for name, is := range up {
			value := 0.0
			if is {
				value = 1
			}
			put("interface_up", value, name)
		}
		for name, n := range sent {
			put("interface_sent_bytes_total", float64(n), name)
		}
		for where, n := range failed {
			put("send_errors_total", float64(n), where[0], where[1])
		}
	}
}

// begin has a package's histograms there before their first value, as its counters are: otherwise that value, and
// all that came with it before a scrape, would be no increase.
func (c *collector) begin(name string) {
	c.loss.WithLabelValues(name)
	for _, phase := range phases {
		c.phase.WithLabelValues(name, phase)
	}
}

type putter func(name string, value float64, labels ...string)

func collectSession(put putter, s *session.SessionInfo) {
	put("session_info", 1, s.ID, s.Package, s.Deployment, s.Mode.String())
	byState := map[session.ClientState]int{}
	var progress []float64
	for _, c := range s.Clients {
		byState[c.State]++
		switch c.State {
		case session.ClientReceiving, session.ClientUnicast, session.ClientProven:
			progress = append(progress, c.Progress)
		}
	}
	for _, state := range []session.ClientState{
		session.ClientWaiting, session.ClientReceiving, session.ClientDemoted, session.ClientUnicast, session.ClientProven, session.ClientFailed,
	} {
		put("session_clients", float64(byState[state]), s.ID, string(state))
	}
	if len(progress) > 0 {
		slices.Sort(progress)
		put("session_progress_ratio", progress[0], s.ID, "min")
		put("session_progress_ratio", progress[len(progress)/2], s.ID, "median")
		put("session_progress_ratio", progress[len(progress)-1], s.ID, "max")
	}
	put("session_rate_target_bytes_per_second", s.Rate, s.ID)
	for _, reason := range session.RateReasons {
		value := 0.0
		if reason == s.RateReason && s.State == wire.Casting {
			value = 1
		}
		put("session_rate_limit_reason", value, s.ID, string(reason))
	}
	if !s.Deadline.IsZero() {
		put("session_start_deadline_timestamp_seconds", float64(s.Deadline.UnixMilli())/1000, s.ID)
	}
	put("session_last_progress_timestamp_seconds", float64(s.Progress.UnixMilli())/1000, s.ID)
}

func collectPackage(put putter, name string, t *session.PackageTotals) {
	for _, kind := range []struct {
		kind           string
		packets, bytes uint64
	}{
		{"source", t.Sent.SourcePackets, t.Sent.SourceBytes},
		{"parity", t.Sent.ParityPackets, t.Sent.ParityBytes},
		{"manifest", t.Sent.ManifestPackets, t.Sent.ManifestBytes},
		{"control", t.Sent.ControlPackets, t.Sent.ControlBytes},
	} {
		put("sent_packets_total", float64(kind.packets), name, kind.kind)
		put("sent_bytes_total", float64(kind.bytes), name, kind.kind)
	}
	put("client_proven_bytes_total", float64(t.ProvenMulticast), name, "multicast")
	put("client_proven_bytes_total", float64(t.ProvenUnicast), name, "unicast")
	put("client_proven_bytes_total", float64(t.ProvenSeed), name, "seed")
	put("nacks_total", float64(t.NACKs.Served), name, "served")
	put("nacks_total", float64(t.NACKs.Merged), name, "merged")
	put("nacks_total", float64(t.NACKs.Limited), name, "limited")
	put("client_lost_packets_total", float64(t.LostNetwork), name, "network")
	put("client_lost_packets_total", float64(t.LostReceiveBuffer), name, "receive_buffer")
	put("client_lost_packets_total", float64(t.LostDisk), name, "disk")
	// All of them from the start: what first appears with a value above 0 has no increase that Prometheus could see.
	for _, result := range session.Results() {
		for _, path := range session.Paths() {
			put("client_results_total", float64(t.Results[[2]string{result, path}]), name, result, path)
		}
	}
	for _, reason := range wire.Reasons() {
		put("unicast_fallbacks_total", float64(t.Fallbacks[reason.String()]), name, reason.String())
	}
	put("group_silent_alarms_total", float64(t.SilentAlarms), name)
	put("blocks_rejected_total", float64(t.Rejected), name)
	put("group_rejoins_total", float64(t.Rejoins), name)
}
