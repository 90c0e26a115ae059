package main

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"wimcast/unicast"
)

// example is the configuration that explains every key.
const example = "../../deploy/wimcastd.toml"

// write makes a configuration file.
func write(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "wimcastd.toml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// underSystemd sets what the unit's StateDirectory and RuntimeDirectory set, which
// the example's defaults are those of.
func underSystemd(t *testing.T) {
	t.Helper()
	t.Setenv("STATE_DIRECTORY", "/var/lib/wimcast")
	t.Setenv("RUNTIME_DIRECTORY", "/run/wimcast")
}

// load reads a configuration that must be good.
func load(t *testing.T, name string) config {
	t.Helper()
	c, err := loadConfig(name)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestDefaults(t *testing.T) {
	underSystemd(t)
	want := config{
		State: "/var/lib/wimcast", Listen: ":7600", Drain: duration(30 * time.Second),
		OnStop:     "drain",
		Multicast:  multicastConfig{Groups: "239.195.16.0/22", Ports: "63000-64000", TTL: 1, MTU: 1500},
		Unicast:    unicastConfig{Slots: 4},
		Session:    defaultSession(),
		Admin:      adminConfig{Socket: "/run/wimcast/admin.sock"},
		Metrics:    metricsConfig{Listen: "127.0.0.1:7602"},
		Page:       pageConfig{Listen: "127.0.0.1:7603"},
		History:    historyConfig{Record: true, Keep: age(400 * 24 * time.Hour), MaxRows: 500_000},
		Logs:       logsConfig{Keep: age(30 * 24 * time.Hour), Max: 256 << 20},
		Validation: validationConfig{Schedule: "0 3 * * 0", Rate: 30e6},
		Doctor:     doctorConfig{Probe: true},
		Log:        logConfig{Level: "info"},
		Point:      pointConfig{Poll: duration(time.Minute)},
	}
	if got := load(t, write(t, "")); !reflect.DeepEqual(got, want) {
		t.Errorf("an empty configuration is\n\t%+v\nwant\n\t%+v", got, want)
	}
}

func TestStateAndSocketFollowTheirSurroundings(t *testing.T) {
	for _, tt := range []struct {
		name, text, state, runtime, xdg string
		wantState, wantSocket           string
	}{
		{
			name: "systemd", state: "/var/lib/wimcast", runtime: "/run/wimcast", xdg: "/else",
			wantState: "/var/lib/wimcast", wantSocket: "/run/wimcast/admin.sock",
		},
		{name: "no runtime directory", state: "/srv/state", wantState: "/srv/state", wantSocket: "/srv/state/admin.sock"},
		{name: "config wins", text: "state = \"/srv/mine\"", state: "/srv/state", wantState: "/srv/mine", wantSocket: "/srv/mine/admin.sock"},
		{
			name: "socket of its own", text: "state = \"/srv/mine\"\n[admin]\nsocket = \"/srv/s\"", runtime: "/run/wimcast",
			wantState: "/srv/mine", wantSocket: "/srv/s",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("STATE_DIRECTORY", tt.state)
			t.Setenv("RUNTIME_DIRECTORY", tt.runtime)
			t.Setenv("XDG_STATE_HOME", tt.xdg)
			c := load(t, write(t, tt.text))
			if c.State != tt.wantState || c.Admin.Socket != tt.wantSocket {
				t.Errorf("state %s, socket %s; want %s, %s", c.State, c.Admin.Socket, tt.wantState, tt.wantSocket)
			}
		})
	}
	if os.Geteuid() != 0 {
		t.Setenv("STATE_DIRECTORY", "")
		t.Setenv("XDG_STATE_HOME", "/srv/xdg")
		if got := stateDir(); got != "/srv/xdg/wimcast" {
			t.Errorf("state of a user is %s, want /srv/xdg/wimcast", got)
		}
	}
}

// keysOf returns the full names of a configuration's keys, in order.
func keysOf(t reflect.Type, prefix string) []string {
	var keys []string
	for field := range t.Fields() {
		key := prefix + field.Tag.Get("toml")
		if field.Type == reflect.TypeFor[packageConfigs]() {
			continue // the same keys as [session]
		}
		if field.Type.Kind() == reflect.Struct {
			keys = append(keys, keysOf(field.Type, key+".")...)
			continue
		}
		keys = append(keys, key)
	}
	return keys
}

func TestExample(t *testing.T) {
	underSystemd(t)
	text, err := os.ReadFile(example)
	if err != nil {
		t.Fatal(err)
	}
	want := load(t, write(t, ""))
	t.Run("loads and changes nothing", func(t *testing.T) {
		if got := load(t, example); !reflect.DeepEqual(got, want) {
			t.Errorf("the example is\n\t%+v\nnot the defaults\n\t%+v", got, want)
		}
	})
	commented := regexp.MustCompile(`(?m)^#([a-z_]+ = )`)
	t.Run("shows the defaults", func(t *testing.T) {
		got := load(t, write(t, commented.ReplaceAllString(string(text), "$1")))
		if len(got.Addresses) == 0 {
			got.Addresses = nil // [] and nothing mean the same
		}
		if len(got.Point.Hours) == 0 {
			got.Point.Hours = nil
		}
		if len(got.PIN.Require) == 0 {
			got.PIN.Require = nil
		}
		if len(got.Multicast.Interfaces) == 0 {
			got.Multicast.Interfaces = nil
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("with every key in force the example is\n\t%+v\nnot the defaults\n\t%+v", got, want)
		}
	})
	t.Run("explains every key once", func(t *testing.T) {
		var keys []string
		table, before := "", ""
		for line := range strings.Lines(string(text)) {
			line = strings.TrimSpace(line)
			key, _, isKey := strings.Cut(strings.TrimPrefix(line, "#"), " = ")
			switch {
			case strings.HasPrefix(line, "["):
				table = strings.Trim(line, "[]") + "."
			case commented.MatchString(line) && isKey:
				keys = append(keys, table+key)
				if before == "" {
					t.Errorf("%s%s isn't explained", table, key)
				}
			}
			before = line
		}
		if all := keysOf(reflect.TypeFor[config](), ""); !slices.Equal(keys, all) {
			t.Errorf("the example has the keys\n\t%v\nthe configuration has\n\t%v", keys, all)
		}
	})
}

func TestUnknownKeys(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		want       []string
	}{
		{"top", "listen = \":1\"\n\nlisen = \":2\"", []string{"line 3: unknown key lisen"}},
		{"in a table", "[multicast]\nttl = 2\nhops = 3", []string{"line 3: unknown key multicast.hops"}},
		{"a table", "[unicast]\nslots = 2\n[broadcast]\nslots = 3", []string{"line 3: unknown key broadcast"}},
		{"of another table", "[unicast]\nttl = 2", []string{"line 2: unknown key unicast.ttl"}},
		{"dotted", "multicast.hops = 1", []string{"line 1: unknown key multicast.hops"}},
		{"several", "one = 1\ntwo = 2", []string{"line 1: unknown key one", "line 2: unknown key two"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			name := write(t, tt.text)
			_, err := loadConfig(name)
			if err == nil {
				t.Fatal("accepted")
			}
			for _, want := range append(tt.want, name) {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q doesn't say %q", err, want)
				}
			}
		})
	}
}

func TestBadValues(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		// Of the wrong type, or not to be read: by key and line.
		{"state = 3", "line 1: state: "},
		{"addresses = \"a:1\"", "line 1: addresses: "},
		{"\ndrain = \"soon\"", "line 2: drain: \"soon\" is not a duration"},
		{"drain = \"-3s\"", "line 1: drain: \"-3s\" is not a duration"},
		{"[multicast]\nceiling = \"fast\"", "line 2: multicast.ceiling: \"fast\" is not a rate"},
		{"[unicast]\nbudget = \"10 potatoes\"", "line 2: unicast.budget: \"10 potatoes\" is not a rate"},
		{"[multicast]\nttl = \"1\"", "line 2: multicast.ttl: "},
		{"[unicast]\nslots = 1.5", "line 2: unicast.slots: "},
		{"[log]\nlevel = true", "line 2: log.level: "},
		{"log = \"info\"", "line 1: log: "},
		{"listen = ", "line 1: "},
		{"listen = \":1\"\nlisten = \":2\"", "listen"},
		// Of the right type but impossible: by key.
		{"listen = \"7600\"", "listen: \"7600\" is not an address"},
		{"listen = \"dp1.example.net:7600\"", "listen: \"dp1.example.net:7600\" is not an address with a port"},
		{"listen = \"10.1.2.3\"", "listen: "},
		{"listen = \":\"", "listen: "},
		{"listen = \":65536\"", "listen: "},
		{"listen = \"\"", "listen: "},
		{"name = \"10.1.2.3\"", "name: server name \"10.1.2.3\": not a DNS name"},
		{"addresses = [\"10.1.2.3:7600\", \"dp1.example.net\"]", "addresses: server \"dp1.example.net\": want host:port"},
		{"addresses = [" + strings.Repeat("\"a:1\", ", 17) + "]", "addresses: 17 servers"},
		{"[multicast]\ngroups = \"10.0.0.0/8\"", "multicast.groups: \"10.0.0.0/8\" is not a prefix of IPv4 multicast addresses"},
		{"[multicast]\ngroups = \"ff15::/64\"", "multicast.groups: "},
		{"[multicast]\ngroups = \"239.195.16.0\"", "multicast.groups: "},
		{"[multicast]\ngroups = \"239.0.0.0/24\"", "multicast.groups: 239.0.0.0/24: 239.0.0.0 in it has the MAC address of 224.0.0.0"},
		{"[multicast]\ngroups = \"239.128.0.64/26\"", "multicast.groups: 239.128.0.64/26: 239.128.0.64 in it has the MAC address of 224.0.0.64"},
		{"[multicast]\nports = \"63000\"", "multicast.ports: \"63000\" is not a range"},
		{"[multicast]\nports = \"64000-63000\"", "multicast.ports: "},
		{"[multicast]\nports = \"0-10\"", "multicast.ports: "},
		{"[multicast]\nports = \"63000-70000\"", "multicast.ports: "},
		{"[multicast]\nttl = 0", "multicast.ttl: 0 is not between 1 and 255"},
		{"[multicast]\nttl = 256", "multicast.ttl: "},
		{"[multicast]\nmtu = 1411", "multicast.mtu: 1411 bytes is not between 1412"},
		{"[multicast]\nmtu = 70000", "multicast.mtu: "},
		{"[unicast]\nslots = 0", "unicast.slots: 0; at least 1"},
		{"[unicast]\nbudget = \"65535 B/s\"", "unicast.budget: 65535 B/s is less than \"65536 B/s\""},
		{"[unicast]\nbudget = \"0.5 B/s\"", "unicast.budget: 0.5 B/s is less"},
		{"[metrics]\nlisten = \"7602\"", "metrics.listen: \"7602\" is not an address"},
		{"[admin]\nlisten = \"7601\"", "admin.listen: \"7601\" is not an address"},
		{"[admin]\nlisten = \":7600\"", "admin.listen: port 7600 is that of listen"},
		{"[metrics]\nlisten = \"127.0.0.1:7600\"", "metrics.listen: port 7600 is that of listen"},
		{"[metrics]\nlisten = \":7601\"\n[admin]\nlisten = \"10.1.2.3:7601\"", "metrics.listen: port 7601 is that of admin.listen"},
		{"[pki]\ncrl = \"crl.pem\"", "pki.crl: \"crl.pem\" without pki.ca"},
		{"[multicast]\nceiling = \"1 B/s\"", "multicast.ceiling: 1 B/s isn't between \"262144 B/s\""},
		{"[multicast]\nceiling = \"9000000 GB/s\"", "multicast.ceiling: "},
		{"[log]\nlevel = \"loud\"", "log.level: \"loud\" is none of debug, info, warn, error"},
		{"[point]\nbundle = \"berlin.point\"\n[pki]\nca = \"a\"\ncertificate = \"b\"\nkey = \"c\"", "point.bundle: \"berlin.point\" and pki.ca"},
		{"name = \"x.internal\"\n[point]\nbundle = \"berlin.point\"", "name: \"x.internal\" and point.bundle"},
		{"[pki]\nca = \"ca.pem\"", "pki: ca, certificate and key go together"},
		{"[pki]\ncertificate = \"c.pem\"\nkey = \"k.pem\"", "pki: "},
	} {
		t.Run(strings.ReplaceAll(strings.TrimSpace(tt.text), "\n", " "), func(t *testing.T) {
			_, err := loadConfig(write(t, tt.text))
			if err == nil {
				t.Fatal("accepted")
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %q doesn't say %q", err, tt.want)
			}
		})
	}
	t.Run("all at once", func(t *testing.T) {
		_, err := loadConfig(write(t, "[multicast]\nttl = 0\nmtu = 1\n[unicast]\nslots = -1\n"))
		if err == nil {
			t.Fatal("accepted")
		}
		for _, want := range []string{"multicast.ttl", "multicast.mtu", "unicast.slots"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("error %q doesn't name %s", err, want)
			}
		}
	})
}

func TestGoodValues(t *testing.T) {
	c := load(t, write(t, `
listen = "10.0.0.5:7700"
drain = "1m30s"
addresses = ["dp1.example.net:7600", "10.0.0.5:7600"]
[multicast]
groups = "239.195.20.0/24"
ports = "5000 - 5000"
ttl = 255
ceiling = "900 Mbit/s"
mtu = 9000
[unicast]
slots = 1
budget = "20 MB/s"
[metrics]
listen = ""
[pki]
ca = "ca.pem"
certificate = "c.pem"
key = "k.pem"
`))
	first, last, err := c.Multicast.ports()
	if err != nil || first != 5000 || last != 5000 {
		t.Errorf("ports %d to %d, %v; want 5000 alone", first, last, err)
	}
	if p, err := parseGroups(c.Multicast.Groups); err != nil || len(p) != 1 || p[0].String() != "239.195.20.0/24" {
		t.Errorf("groups %v, %v", p, err)
	}
	if c.Multicast.Ceiling != 112_500_000 || c.Unicast.Budget != 20_000_000 || time.Duration(c.Drain) != 90*time.Second {
		t.Errorf("ceiling %v, budget %v, drain %v", c.Multicast.Ceiling, c.Unicast.Budget, time.Duration(c.Drain))
	}
	if c.Metrics.Listen != "" {
		t.Errorf("metrics listen at %q although they were turned off", c.Metrics.Listen)
	}
	if len(c.Addresses) != 2 {
		t.Errorf("addresses %v", c.Addresses)
	}
}

// TestLeastValues: what the check calls the least is accepted, by it and by those
// who work with it.
func TestLeastValues(t *testing.T) {
	for _, text := range []string{
		"[multicast]\nmtu = 1412", "[multicast]\nceiling = \"262144 B/s\"", "[metrics]\nlisten = \"127.0.0.1:7601\"\n[admin]\nlisten = \"10.1.2.3:7601\"", "[unicast]\nbudget = \"65536 B/s\"", "listen = \"[::1]:7600\"", "listen = \"127.0.0.1:0\"",
		"addresses = [" + strings.Repeat("\"a:1\", ", 16) + "]", "name = \"dp1.example.net\"",
	} {
		load(t, write(t, text))
	}
	server := func(budget int64) error {
		_, err := unicast.NewServer(unicast.ServerConfig{Contents: &unicastContents{}, Grants: &tokenGrants{}, BytesPerSecond: budget})
		return err
	}
	if err := server(leastBudget); err != nil {
		t.Error(err)
	}
	if server(leastBudget-1) == nil {
		t.Errorf("unicast works with less than %d bytes/s: so should the check", leastBudget)
	}
}

func TestListenAddr(t *testing.T) {
	for text, want := range map[string]string{
		":7600": "0.0.0.0:7600", "10.1.2.3:7600": "10.1.2.3:7600", "[fd00::1]:7600": "[fd00::1]:7600", ":0": "0.0.0.0:0",
	} {
		c := config{Listen: text}
		if got, err := c.listenAddr(); err != nil || got.String() != want {
			t.Errorf("%q is %v, %v; want %s", text, got, err, want)
		}
	}
}

func TestRates(t *testing.T) {
	for text, want := range map[string]rate{
		"900 Mbit/s": 112_500_000, "900Mbit/s": 112_500_000, "900 mbit/s": 112_500_000, " 1 Gbit/s ": 125_000_000, "8 kbit/s": 1000,
		"2.5 Gbit/s": 312_500_000, "100 MB/s": 100_000_000, "1.5 GB/s": 1_500_000_000, "64 kB/s": 64_000, "500 B/s": 500, "0": 0, "": 0,
	} {
		var r rate = 1
		if err := r.UnmarshalText([]byte(text)); err != nil || r != want {
			t.Errorf("%q is %v bytes/s, %v; want %v", text, float64(r), err, float64(want))
		}
	}
	for _, text := range []string{"900", "Mbit/s", "0 MB/s", "-1 MB/s", "inf MB/s", "1e13 B/s", "5 MB", "5 Mbit", "5 MiB/s", "5 MB/s a day", "1,5 MB/s"} {
		r := rate(7)
		if err := r.UnmarshalText([]byte(text)); err == nil || r != 7 {
			t.Errorf("%q is taken for %v bytes/s, %v", text, float64(r), err)
		}
	}
}

func TestDurations(t *testing.T) {
	for text, want := range map[string]time.Duration{"30s": 30 * time.Second, "1h30m": 90 * time.Minute, "250ms": 250 * time.Millisecond, "0s": 0} {
		var d duration
		if err := d.UnmarshalText([]byte(text)); err != nil || time.Duration(d) != want {
			t.Errorf("%q is %v, %v; want %v", text, time.Duration(d), err, want)
		}
	}
	for _, text := range []string{"", "30", "30 s", "-30s", "half a minute"} {
		d := duration(7)
		if err := d.UnmarshalText([]byte(text)); err == nil || d != 7 {
			t.Errorf("%q is taken for %v, %v", text, time.Duration(d), err)
		}
	}
}

func TestMissingFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "none.toml")
	if _, err := loadConfig(name); err == nil || !strings.Contains(err.Error(), name) {
		t.Errorf("a file that was named and isn't there: %v", err)
	}
}

func TestCheckFlag(t *testing.T) {
	var out, errOut bytes.Buffer
	if code := run([]string{"--config", example, "--check"}, &out, &errOut); code != 0 || errOut.Len() != 0 {
		t.Errorf("-check of the example ends with %d: %s", code, &errOut)
	}
	if !strings.Contains(out.String(), "good") {
		t.Errorf("-check of the example prints %q", &out)
	}
	out.Reset()
	bad := write(t, "\n\nlisen = \":1\"\n")
	if code := run([]string{"--config", bad, "--check"}, &out, &errOut); code != 2 || out.Len() != 0 {
		t.Errorf("-check of a bad configuration ends with %d and prints %q", code, &out)
	}
	if got := errOut.String(); !strings.Contains(got, bad) || !strings.Contains(got, "line 3: unknown key lisen") {
		t.Errorf("-check of a bad configuration says %q", got)
	}
}

func TestHistoryConfig(t *testing.T) {
	for text, want := range map[string]time.Duration{`"400d"`: 400 * 24 * time.Hour, `"36h"`: 36 * time.Hour, `"0"`: 0, `"0d"`: 0, `"1h"`: time.Hour, `"36500d"`: 36_500 * 24 * time.Hour} {
		if got := load(t, write(t, "[history]\nkeep = "+text)).History.Keep; time.Duration(got) != want {
			t.Errorf("keep = %s: %v, want %v", text, time.Duration(got), want)
		}
	}
	for text, says := range map[string]string{
		`keep = "36501d"`: "36501d", `keep = "-1d"`: "-1d", `keep = "1.5d"`: "1.5d", `keep = "d"`: "d", `keep = "soon"`: "soon", `keep = "59m"`: "history.keep: 59m0s is less",
		`keep = 400`: "keep", `max_rows = 999`: "history.max_rows: 999", `max_rows = -1`: "history.max_rows: -1",
	} {
		if _, err := loadConfig(write(t, "[history]\n"+text)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want something about %q", text, err, says)
		}
	}
}

func TestValidationConfig(t *testing.T) {
	if got := load(t, write(t, "[validation]\nschedule = \"\"\nrate = \"0\"")).Validation; got != (validationConfig{}) {
		t.Errorf("%+v", got)
	}
	for text, says := range map[string]string{`schedule = "often"`: "validation.schedule: \"often\"", `schedule = "0 3 31 2 *"`: "never comes", `rate = "1 kB/s"`: "validation.rate: 1000"} {
		if _, err := loadConfig(write(t, "[validation]\n"+text)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want something about %q", text, err, says)
		}
	}
}
