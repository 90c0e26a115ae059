package main

import (
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// keys lists every key of the configuration, tables of [package] as "package".
func keys() []string {
	var out []string
	var walk func(prefix string, of reflect.Type)
	walk = func(prefix string, of reflect.Type) {
		for f := range of.Fields() {
			key := prefix + f.Tag.Get("toml")
			if f.Type.Kind() == reflect.Struct {
				walk(key+".", f.Type)
				continue
			}
			out = append(out, key)
		}
	}
	walk("", reflect.TypeFor[config]())
	return out
}

// TestEveryKeyIsClassed: each key either changes while running or needs a restart, and the lists name no other.
func TestEveryKeyIsClassed(t *testing.T) {
	all := keys()
	for _, key := range all {
		if among(key, live()) == among(key, fixed()) {
			t.Errorf("%s: live %v, fixed %v", key, among(key, live()), among(key, fixed()))
		}
	}
	for _, key := range slices.Concat(live(), fixed()) {
		if !slices.ContainsFunc(all, func(k string) bool { return among(k, []string{key}) }) {
			t.Errorf("%s is no key", key)
		}
	}
}

// TestKeepFixed: what is live is taken over, key for key, and nothing else.
func TestKeepFixed(t *testing.T) {
	d := &distributionPoint{cfg: load(t, write(t, ""))}
	other := load(t, write(t, `
state = "/elsewhere"
listen = ":7700"
name = "other.internal"
addresses = ["10.0.0.1:7700"]
drain = "1m"
[multicast]
interface = "eth7"
groups = "239.1.16.0/24"
ports = "1000-2000"
ttl = 2
ceiling = "1 MB/s"
mtu = 1492
[unicast]
slots = 1
budget = "1 MB/s"
[session]
floor = "10 kB/s"
[package."w11"]
weight = 2.0
[limits]
max_clients = 3
max_sessions = 4
[admin]
socket = "/x"
listen = ":7799"
[metrics]
listen = ":7798"
[page]
listen = ":7797"
certificate = "p"
key = "q"
[history]
record = false
keep = "2d"
max_rows = 2000
[pin]
require = ["lab*"]
[logs]
keep = "2d"
max = "64MiB"
[validation]
schedule = "@daily"
rate = "1 MB/s"
[doctor]
probe = false
[log]
level = "debug"
[pki]
ca = "a"
certificate = "b"
key = "c"
crl = "d"
[registry]
repository = "r/w"
credentials = "f"
ca = "g"
plain_http = true
push_limit = "1 MB/s"
[point]
poll = "2m"
`))
	other.OnStop, other.Multicast.Interfaces, other.Point.Bundle = stopHandOver, []string{"eth7"}, "e"
	other.Point.Hours = []hoursConfig{{Days: "all", From: "08:00", To: "18:00"}}
	differ := changed(&d.cfg, &other)
	for _, key := range keys() {
		if key == "package" {
			key = `package."w11"`
		}
		if strings.HasPrefix(key, "session.") && key != "session.floor" {
			continue
		}
		if !slices.Contains(differ, key) {
			t.Errorf("%s: the test changes nothing", key)
		}
	}
	kept := d.keepFixed(other)
	for _, key := range changed(&other, &kept) {
		if !among(key, fixed()) {
			t.Errorf("%s isn't taken over", key)
		}
	}
	for _, key := range changed(&d.cfg, &kept) {
		if !among(key, live()) {
			t.Errorf("%s is taken over", key)
		}
	}
}

// TestChanged: tables of packages that come, go and change are told apart.
func TestChanged(t *testing.T) {
	a := load(t, write(t, "[package.\"a\"]\nweight = 2.0\n[package.\"b\"]\nweight = 2.0\n[package.\"c\"]\nweight = 2.0"))
	b := load(t, write(t, "[package.\"b\"]\nweight = 3.0\n[package.\"c\"]\nweight = 2.0\n[package.\"d\"]\nweight = 2.0\n[session]\nslow = \"drop\""))
	if got, want := changed(&a, &b), []string{"session.slow", `package."a"`, `package."b"`, `package."d"`}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got := changed(&a, &a); len(got) > 0 {
		t.Errorf("%v", got)
	}
}

// TestOnStop: the policy and what contradicts it.
func TestOnStop(t *testing.T) {
	if c := load(t, write(t, `on_stop = "handover"`)); c.OnStop != stopHandOver {
		t.Errorf("%+v", c)
	}
	for text, want := range map[string]string{
		`on_stop = "run"`:                         "on_stop: ",
		"on_stop = \"handover\"\ndrain = \"90s\"": "drain: 1m30s and on_stop",
	} {
		if _, err := loadConfig(write(t, text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestReloading holds the clock that systemd is told against the one it compares with.
func TestReloading(t *testing.T) {
	first, rest, ok := strings.Cut(reloading(), "\nMONOTONIC_USEC=")
	if first != "RELOADING=1" || !ok || len(rest) < 6 || rest == reloadingAfter(time.Millisecond) {
		t.Errorf("%q, %q", first, rest)
	}
}

func reloadingAfter(d time.Duration) string {
	<-time.After(d)
	_, rest, _ := strings.Cut(reloading(), "\nMONOTONIC_USEC=")
	return rest
}

// TestExampleTellsOfReload: the head of the example names every key that a reload changes, and none that needs a restart.
func TestExampleTellsOfReload(t *testing.T) {
	text, err := os.ReadFile("../../deploy/wimcastd.toml")
	if err != nil {
		t.Fatal(err)
	}
	_, head, found := strings.Cut(string(text), "# A reload (")
	head, _, ends := strings.Cut(head, "All else needs a restart")
	if !found || !ends {
		t.Fatal("the example says nothing of reloads")
	}
	words := strings.FieldsFunc(head, func(r rune) bool { return strings.ContainsRune(" ,\n#", r) })
	for _, key := range keys() {
		table, _, _ := strings.Cut(key, ".")
		told := slices.Contains(words, key) || slices.Contains(words, "["+table+"]")
		if told != among(key, live()) {
			t.Errorf("%s: a reload changes it: %v, the example says so: %v", key, among(key, live()), told)
		}
	}
}
