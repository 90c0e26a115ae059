package metrics

import (
	"bytes"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"wimcast/api"
	"wimcast/crypto"
	"wimcast/crypto/keyex"
	"wimcast/multicast"
	"wimcast/multicast/wire"
	"wimcast/session"
	"wimcast/unicast/clientlog"
)

// scrape asks for the metrics as Prometheus does, and returns the text and ours of it by name.
func scrape(t *testing.T, m *Metrics) (text []byte, ours map[string]*dto.MetricFamily) {
	t.Helper()
	answer := httptest.NewRecorder()
	m.Handler().ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	if answer.Code != http.StatusOK {
		t.Fatalf("scrape: status %d: %s", answer.Code, answer.Body)
	}
	text = answer.Body.Bytes()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(text))
	if err != nil {
		t.Fatalf("scrape: %v in\n%s", err, text)
	}
	for name := range families {
		switch {
		case strings.HasPrefix(name, "wimcast_"):
		case strings.HasPrefix(name, "go_"), strings.HasPrefix(name, "process_"):
			delete(families, name)
		default:
			t.Errorf("%s has a prefix of nobody's", name)
		}
	}
	return text, families
}

// running is a session in which every state of a client occurs, three of them with progress.
func running() session.SessionInfo {
	s := session.SessionInfo{
		ID: "s7", Package: "w11@2026.11", Deployment: "lab12", Mode: crypto.Encrypted, State: wire.Casting, Started: time.Now(), Progress: time.UnixMilli(1_700_000_000_250),
		Rate: 25e6, RateReason: session.RateLoss, Deadline: time.UnixMilli(1_700_000_100_500),
	}
	for i, state := range []session.ClientState{
		session.ClientWaiting, session.ClientReceiving, session.ClientReceiving, session.ClientUnicast, session.ClientFailed, session.ClientEvicted,
	} {
		s.Clients = append(s.Clients, session.ClientInfo{Number: uint32(i + 1), State: state, Progress: float64(i) / 4})
	}
	return s
}

// full returns sources in which everything occurs that the daemon's parts can say.
func full(t *testing.T) Sources {
	t.Helper()
	server := session.NewServer(session.ServerConfig{})
	t.Cleanup(server.Close)
	totals := session.PackageTotals{
		Sent:            session.SentTotals{SourcePackets: 1, ParityPackets: 2, ManifestPackets: 3, ControlPackets: 4, SourceBytes: 10, ParityBytes: 20, ManifestBytes: 30, ControlBytes: 40},
		NACKs:           session.NACKTotals{Served: 5, Merged: 6, Limited: 7},
		ProvenMulticast: 100, ProvenUnicast: 200, ProvenSeed: 300, LostNetwork: 11, LostReceiveBuffer: 12, LostDisk: 13, Rejected: 14, Rejoins: 15,
		Results: map[[2]string]uint64{}, Fallbacks: map[string]uint64{},
	}
	for _, path := range []string{"multicast", "unicast", "seed"} {
		for _, state := range []session.ClientState{session.ClientProven, session.ClientFailed, session.ClientLeft, session.ClientLost, session.ClientEvicted, session.ClientDropped} {
			totals.Results[[2]string{string(state), path}] = 1
		}
		totals.Results[[2]string{"applied", path}], totals.Results[[2]string{"apply_failed", path}] = 1, 1
	}
	for reason := wire.GroupSilent; !strings.HasPrefix(reason.String(), "reason("); reason++ { // all that have a word
		totals.Fallbacks[reason.String()] = 1
	}
	return Sources{
		Version:  "1.2.3",
		Sessions: func() (now, ended []session.SessionInfo) { return []session.SessionInfo{running()}, nil },
		Totals: func() (map[string]session.PackageTotals, map[string]uint64) {
			_, dropped := server.Totals() // all of the session's reasons, each 0
			for _, reason := range keyex.Drops() {
				dropped["control_"+string(reason)] = 1
			}
			return map[string]session.PackageTotals{"w11@2026.11": totals}, dropped
		},
		Handshakes: func() map[[2]string]uint64 {
			out := map[[2]string]uint64{}
			for _, reason := range keyex.Reasons() {
				for i, channel := range []string{"control", "https", "admin", "page"} {
					out[[2]string{channel, string(reason)}] = uint64(i + 1)
				}
			}
			return out
		},
		Points: func() (map[[2]string]int, map[string]time.Time) {
			packages := map[[2]string]int{}
			for i, state := range api.PackageStates() {
				packages[[2]string{"north", state}] = i
			}
			return packages, map[string]time.Time{"north": time.Unix(1_700_000_000, 500e6)}
		},
		Pulls:     func() (uint64, map[string]uint64) { return 77, map[string]uint64{"unavailable": 3} },
		PullLimit: func() (float64, bool) { return 2e6, true },
		Schedules: func() map[string]int {
			return map[string]int{"waiting": 1, "in_process": 1, "successful": 1, "failed": 1, "cancelled": 1}
		},
		Page: func() map[string]uint64 {
			return map[string]uint64{"accepted": 1, "refused": 1, "limited": 1}
		},
		PINs: func() map[string]uint64 {
			return map[string]uint64{"right": 1, "wrong": 1, "limited": 1, "closed": 1, "pass": 1}
		},
		Logs: func() map[string]uint64 {
			out := map[string]uint64{}
			for _, r := range clientlog.Results() {
				out[string(r)] = 1
			}
			return out
		},
		KernelDrops: func() map[string]uint64 { return map[string]uint64{"control": 21, "igmp": 22} },
		Reload:      func() (bool, time.Time) { return true, time.Unix(1_700_000_000, 0) },
		Queue: func() map[string]int {
			out := map[string]int{}
			for _, limit := range session.QueueLimits() {
				out[limit] = 1
			}
			return out
		},
		Viewers: func() int { return 1 },
		Unicast: func() (active, queued int, sent map[string]uint64) { return 1, 2, map[string]uint64{"w11@2026.11": 3} },
		Library: func() (map[string]int, uint64) {
			return map[string]int{"in_service": 1, "out_of_service": 0}, 1 << 40
		},
		Validations: func() map[string]uint64 {
			return map[string]uint64{"matches": 5, "damaged": 1, "refilled": 1, "not_mended": 0, "unreadable": 0}
		},
		OldestValidation: func() time.Time { return time.Unix(1_700_000_000, 0) },
		Expiries: func() map[[2]string]time.Time {
			return map[[2]string]time.Time{{"server", "wimcast.internal"}: time.Unix(1_800_000_000, 0), {"ca", "ca"}: time.Unix(1_900_000_000, 0), {"bundle", "room"}: time.Unix(1_850_000_000, 0), {"point", "north"}: time.Unix(1_860_000_000, 0)}
		},
		History: func() HistoryNumbers {
			return HistoryNumbers{Records: map[string]int64{"session": 3, "client": 2, "action": 1}, Oldest: time.Unix(1_700_000_000, 0), Dropped: 4, Failed: 5}
		},
		Queriers: func() map[string]time.Time { return map[string]time.Time{"eth0": time.Unix(1_700_000_000, 0)} },
		Interfaces: func() (map[string]bool, map[string]uint64, map[[2]string]uint64) {
			out := map[[2]string]uint64{}
			for _, reason := range []multicast.SendReason{
				multicast.SendNoBuffer, multicast.SendLost, multicast.SendBlocked, multicast.SendTooLarge, multicast.SendOffload,
				multicast.SendRetried, multicast.SendNetwork,
			} {
				out[[2]string{"eth0", string(reason)}] = 1
			}
			return map[string]bool{"eth0": true}, map[string]uint64{"eth0": 1}, out
		},
	}
}

// fullMetrics are metrics of full sources, one client having ended.
func fullMetrics(t *testing.T) *Metrics {
	t.Helper()
	m := New(full(t))
	joined := time.Unix(1_700_000_000, 0)
	m.ClientEnded(running(), session.ClientInfo{State: session.ClientProven, Joined: joined, Began: joined.Add(30 * time.Second), Ended: joined.Add(90 * time.Second), Opened: 990, Lost: 10})
	m.ClientApplied(session.Applied{Package: "w11@2026.11", Took: 200 * time.Second})
	m.ClientApplied(session.Applied{Package: "w11@2026.11", Took: 7 * time.Second, Failed: true})
	return m
}

// documented is a row of the table in docs/metrics.md.
type documented struct {
	kind   string
	labels map[string][]string // the values where the row lists all of them, else nil
}

var (
	row       = regexp.MustCompile("^\\| `(wimcast_[a-z_]+)` \\| (counter|gauge|histogram) \\| ([^|]*) \\| [^|]+ \\|$")
	rowLabels = regexp.MustCompile("`([a-z_]+)`(?: \\(([a-z_0-9, ]+)\\))?")
)

// readDocs reads the table of docs/metrics.md.
func readDocs(t *testing.T) map[string]documented {
	t.Helper()
	text, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	table := map[string]documented{}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		found := row.FindStringSubmatch(line)
		if found == nil {
			if strings.HasPrefix(line, "| `wimcast_") {
				t.Errorf("docs/metrics.md: not a row of the table: %s", line)
			}
			continue
		}
		d := documented{kind: found[2], labels: map[string][]string{}}
		for _, label := range rowLabels.FindAllStringSubmatch(found[3], -1) {
			var values []string
			if label[2] != "" {
				values = strings.Split(label[2], ", ")
				slices.Sort(values)
			}
			d.labels[label[1]] = values
		}
		if _, twice := table[found[1]]; twice {
			t.Errorf("docs/metrics.md: %s has two rows", found[1])
		}
		table[found[1]] = d
	}
	if len(table) == 0 {
		t.Fatal("docs/metrics.md has no table")
	}
	for _, name := range regexp.MustCompile("wimcast_[a-z_]+").FindAllString(string(text), -1) {
		if _, known := table[name]; !known {
			t.Errorf("docs/metrics.md speaks of %s, which isn't in its table", name)
		}
	}
	return table
}

// labelsOf returns a family's labels with the values that occur.
func labelsOf(family *dto.MetricFamily) map[string]map[string]bool {
	labels := map[string]map[string]bool{}
	for _, metric := range family.GetMetric() {
		for _, pair := range metric.GetLabel() {
			if labels[pair.GetName()] == nil {
				labels[pair.GetName()] = map[string]bool{}
			}
			labels[pair.GetName()][pair.GetValue()] = true
		}
	}
	return labels
}

func TestDocsListWhatIsExported(t *testing.T) {
	docs := readDocs(t)
	_, families := scrape(t, fullMetrics(t))
	for name, family := range families {
		d, ok := docs[name]
		if !ok {
			t.Errorf("%s is exported but not in docs/metrics.md", name)
			continue
		}
		if kind := strings.ToLower(family.GetType().String()); kind != d.kind {
			t.Errorf("%s is a %s; docs/metrics.md says %s", name, kind, d.kind)
		}
		labels := labelsOf(family)
		if got, want := slices.Sorted(maps.Keys(labels)), slices.Sorted(maps.Keys(d.labels)); !slices.Equal(got, want) {
			t.Errorf("%s has labels %v; docs/metrics.md says %v", name, got, want)
		}
		for label, values := range d.labels {
			if got := slices.Sorted(maps.Keys(labels[label])); values != nil && !slices.Equal(got, values) {
				t.Errorf("%s: label %s takes\n\t%v\ndocs/metrics.md lists\n\t%v", name, label, got, values)
			}
		}
	}
	for name := range docs {
		if families[name] == nil {
			t.Errorf("%s is in docs/metrics.md but not exported", name)
		}
	}
	for _, m := range help { // also what no source of this test makes occur
		name := "wimcast_" + m.name
		if d, ok := docs[name]; !ok || !slices.Equal(slices.Sorted(maps.Keys(d.labels)), slices.Sorted(slices.Values(m.labels))) {
			t.Errorf("%s with labels %v can be exported; docs/metrics.md says %v", name, m.labels, d.labels)
		}
		if families[name] == nil {
			t.Errorf("%s can be exported, but full makes no occurrence of it: give it a source", name)
		}
	}
}

// TestDocsExplainWords holds that every word of the labels with many is explained
// below the table, and that nothing else is.
func TestDocsExplainWords(t *testing.T) {
	text, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	_, words, found := strings.Cut(string(text), "\n## Words\n")
	words, _, end := strings.Cut(words, "\n## ")
	if !found || !end {
		t.Fatal("docs/metrics.md has no section Words between others")
	}
	explained := map[string]bool{}
	for _, quoted := range regexp.MustCompile("`([a-z_]+)`").FindAllStringSubmatch(words, -1) {
		explained[quoted[1]] = true
	}
	_, families := scrape(t, fullMetrics(t))
	used := map[string]bool{"control_": true}
	for _, name := range []string{"wimcast_dropped_packets_total", "wimcast_send_errors_total"} {
		used[name] = true
		for word := range labelsOf(families[name])["reason"] {
			used[strings.TrimPrefix(word, "control_")] = true
			if word == "control_send" { // the session's own, not the control channel's
				used[word] = true
				delete(used, "send")
			}
		}
	}
	if got, want := slices.Sorted(maps.Keys(explained)), slices.Sorted(maps.Keys(used)); !slices.Equal(got, want) {
		t.Errorf("docs/metrics.md explains the words\n\t%v\nthe metrics use\n\t%v", got, want)
	}
}

func TestNamesFollowPrometheus(t *testing.T) {
	text, _ := scrape(t, fullMetrics(t))
	problems, err := promlint.New(bytes.NewReader(text)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "wimcast_") { // Go's own collector has names that predate the rules
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
}

func TestValues(t *testing.T) {
	text, _ := scrape(t, fullMetrics(t))
	for _, want := range []string{
		`wimcast_build_info{version="1.2.3"} 1`,
		`wimcast_session_info{deployment="lab12",mode="encrypted",package="w11@2026.11",session="s7"} 1`,
		`wimcast_session_clients{session="s7",state="waiting"} 1`,
		`wimcast_session_clients{session="s7",state="receiving"} 2`,
		`wimcast_session_clients{session="s7",state="proven"} 0`,
		`wimcast_session_progress_ratio{session="s7",stat="min"} 0.25`,
		`wimcast_session_progress_ratio{session="s7",stat="median"} 0.5`,
		`wimcast_session_progress_ratio{session="s7",stat="max"} 0.75`,
		`wimcast_session_rate_target_bytes_per_second{session="s7"} 2.5e+07`,
		`wimcast_session_rate_limit_reason{reason="loss",session="s7"} 1`,
		`wimcast_session_rate_limit_reason{reason="ceiling",session="s7"} 0`,
		`wimcast_session_last_progress_timestamp_seconds{session="s7"} 1.70000000025e+09`,
		`wimcast_sent_packets_total{kind="source",package="w11@2026.11"} 1`,
		`wimcast_sent_packets_total{kind="parity",package="w11@2026.11"} 2`,
		`wimcast_sent_packets_total{kind="manifest",package="w11@2026.11"} 3`,
		`wimcast_sent_packets_total{kind="control",package="w11@2026.11"} 4`,
		`wimcast_sent_bytes_total{kind="source",package="w11@2026.11"} 10`,
		`wimcast_sent_bytes_total{kind="control",package="w11@2026.11"} 40`,
		`wimcast_client_proven_bytes_total{package="w11@2026.11",path="multicast"} 100`,
		`wimcast_client_proven_bytes_total{package="w11@2026.11",path="unicast"} 200`,
		`wimcast_client_proven_bytes_total{package="w11@2026.11",path="seed"} 300`,
		`wimcast_nacks_total{package="w11@2026.11",result="served"} 5`,
		`wimcast_nacks_total{package="w11@2026.11",result="merged"} 6`,
		`wimcast_nacks_total{package="w11@2026.11",result="limited"} 7`,
		`wimcast_client_lost_packets_total{cause="network",package="w11@2026.11"} 11`,
		`wimcast_client_lost_packets_total{cause="receive_buffer",package="w11@2026.11"} 12`,
		`wimcast_client_lost_packets_total{cause="disk",package="w11@2026.11"} 13`,
		`wimcast_blocks_rejected_total{package="w11@2026.11"} 14`,
		`wimcast_group_rejoins_total{package="w11@2026.11"} 15`,
		`wimcast_client_loss_ratio_bucket{package="w11@2026.11",le="0.003"} 0`,
		`wimcast_client_loss_ratio_bucket{package="w11@2026.11",le="0.01"} 1`,
		`wimcast_client_phase_duration_seconds_sum{package="w11@2026.11",phase="receive"} 60`,
		`wimcast_client_phase_duration_seconds_sum{package="w11@2026.11",phase="wait"} 30`,
		`wimcast_client_phase_duration_seconds_sum{package="w11@2026.11",phase="apply"} 200`,
		`wimcast_client_results_total{package="w11@2026.11",path="seed",result="apply_failed"} 1`,
		`wimcast_session_start_deadline_timestamp_seconds{session="s7"} 1.7000001005e+09`,
		`wimcast_distribution_packages{point="north",state="in_progress"} 2`,
		`wimcast_point_last_report_timestamp_seconds{point="north"} 1.7000000005e+09`,
		`wimcast_pull_limit_bytes_per_second 2e+06`,
		`wimcast_pull_bytes_total 77`,
		`wimcast_pull_failures_total{reason="unavailable"} 3`,
		`wimcast_kernel_dropped_packets_total{socket="control"} 21`,
		`wimcast_queue_clients{limit="limits.max_sessions"} 1`,
		`wimcast_unicast_clients{state="active"} 1`,
		`wimcast_unicast_clients{state="queued"} 2`,
		`wimcast_handshakes_total{channel="https",result="ok"} 2`,
		`wimcast_credential_expiry_timestamp_seconds{kind="server",name="wimcast.internal"} 1.8e+09`,
		`wimcast_library_free_bytes 1.099511627776e+12`,
	} {
		if !bytes.Contains(text, []byte("\n"+want+"\n")) {
			t.Errorf("no line %s in the scrape", want)
		}
	}
	if t.Failed() {
		t.Logf("%s", text)
	}
}

// TestCountersBeginAtZero holds that what alerts look at is there before anything happens: an increase from nothing can't be seen.
func TestCountersBeginAtZero(t *testing.T) {
	m := New(Sources{Totals: func() (map[string]session.PackageTotals, map[string]uint64) {
		return map[string]session.PackageTotals{"w11@1": {}}, nil
	}})
	text, _ := scrape(t, m)
	for _, want := range []string{
		`wimcast_client_results_total{package="w11@1",path="multicast",result="failed"} 0`,
		`wimcast_client_results_total{package="w11@1",path="unicast",result="lost"} 0`,
		`wimcast_unicast_fallbacks_total{package="w11@1",reason="group_silent"} 0`,
		`wimcast_group_silent_alarms_total{package="w11@1"} 0`,
		`wimcast_blocks_rejected_total{package="w11@1"} 0`,
	} {
		if !bytes.Contains(text, []byte("\n"+want+"\n")) {
			t.Errorf("no line %s in the scrape\n%s", want, text)
		}
	}
}

// TestEndedSessions holds that gauges of ended sessions go, but not at once.
func TestEndedSessions(t *testing.T) {
	fresh, stale := running(), running()
	fresh.ID, fresh.State, fresh.Ended = "s2", wire.Ended, time.Now().Add(-endedStay/2)
	stale.ID, stale.State, stale.Ended = "s1", wire.Ended, time.Now().Add(-2*endedStay)
	m := New(Sources{Sessions: func() (now, ended []session.SessionInfo) { return nil, []session.SessionInfo{stale, fresh} }})
	_, families := scrape(t, m)
	for name, family := range families {
		sessions := labelsOf(family)["session"]
		if sessions["s1"] {
			t.Errorf("%s still names a session that ended %v ago", name, 2*endedStay)
		}
		if strings.HasPrefix(name, "wimcast_session_") && !sessions["s2"] {
			t.Errorf("%s doesn't name a session that ended %v ago", name, endedStay/2)
		}
		if name == "wimcast_session_rate_limit_reason" {
			for _, metric := range family.GetMetric() {
				if metric.GetGauge().GetValue() != 0 {
					t.Errorf("something limits the rate of a session that ended: %v", metric)
				}
			}
		}
	}
	if families["wimcast_session_info"] == nil {
		t.Error("the session that ended lately is gone already")
	}
}

func TestSourcesMayBeMissing(t *testing.T) {
	_, families := scrape(t, New(Sources{Version: "dev"}))
	if got := slices.Sorted(maps.Keys(families)); !slices.Equal(got, []string{"wimcast_build_info"}) {
		t.Errorf("without sources there is %v, want wimcast_build_info alone", got)
	}
}

// TestFailedClientHasNoDuration holds that only what was received whole counts as received.
func TestFailedClientHasNoDuration(t *testing.T) {
	m := New(Sources{})
	m.ClientEnded(running(), session.ClientInfo{State: session.ClientFailed, Joined: time.Unix(0, 0), Ended: time.Unix(60, 0)})
	_, families := scrape(t, m)
	for _, name := range []string{"wimcast_client_phase_duration_seconds", "wimcast_client_loss_ratio"} {
		if families[name] != nil {
			t.Errorf("%s counts a client that failed before its first packet", name)
		}
	}
}

// TestHistogramsBeginAtZero: Prometheus sees the growth of the first clients too, as the series were there before they ended.
func TestHistogramsBeginAtZero(t *testing.T) {
	text, _ := scrape(t, New(full(t)))
	for _, want := range []string{
		`wimcast_client_loss_ratio_count{package="w11@2026.11"} 0`,
		`wimcast_client_phase_duration_seconds_count{package="w11@2026.11",phase="wait"} 0`,
		`wimcast_client_phase_duration_seconds_count{package="w11@2026.11",phase="receive"} 0`,
		`wimcast_client_phase_duration_seconds_count{package="w11@2026.11",phase="apply"} 0`,
	} {
		if !bytes.Contains(text, []byte(want+"\n")) {
			t.Errorf("there is no %s", want)
		}
	}
}
