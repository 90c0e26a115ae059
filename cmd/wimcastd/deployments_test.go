package main

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"wimcast/crypto/keyex"
	"wimcast/library"
	"wimcast/library/deployment"
	"wimcast/multicast/wire"
	"wimcast/session"
)

// TestDeployedRules: the rules of a deployment go before those of the package and of all.
func TestDeployedRules(t *testing.T) {
	c, err := configOf(t, "[session]\nslow = \"wait\"\nmax_clients = 40\n[package.w11]\nfloor = \"10 MB/s\"\nstart = \"scheduled\"\ndelay = \"5m\"\n[package.w10]\nweight = 2.5")
	if err != nil {
		t.Fatal(err)
	}
	of := func(name string, rules map[string]string) session.Rules {
		return c.deployedRules(&deployment.Deployment{Rules: rules}, &library.Package{Name: name, Version: "1"})
	}
	base := session.Rules{
		Start: session.StartAuto, DelayFrom: session.FromFirst, MaxClients: 40, Overflow: session.OverflowQueue, Slow: session.SlowWait, Grace: 10 * time.Second, Weight: 1,
	}
	with := func(change func(*session.Rules)) session.Rules {
		r := base
		change(&r)
		return r
	}
	for _, tc := range []struct {
		name, pkg string
		rules     map[string]string
		want      session.Rules
	}{
		{"none", "other", nil, base},
		{"none, of a package with rules", "w10", nil, with(func(r *session.Rules) { r.Weight = 2.5 })},
		{"all of them", "w10", map[string]string{
			"start": "scheduled", "min_clients": "24", "delay": "15m", "delay_from": "last", "max_clients": "30", "overflow": "unicast", "slow": "drop", "floor": "20 MB/s", "grace": "30s", "weight": "0.5",
		}, session.Rules{
			Start: session.StartScheduled, MinClients: 24, Delay: 15 * time.Minute, DelayFrom: session.FromLast, MaxClients: 30, Overflow: session.OverflowUnicast,
			Slow: session.SlowDrop, Floor: 20e6, Grace: 30 * time.Second, Weight: 0.5,
		}},
		{"a number makes the start scheduled", "other", map[string]string{"min_clients": "24"}, with(func(r *session.Rules) { r.Start, r.MinClients = session.StartScheduled, 24 })},
		{"and a delay", "other", map[string]string{"delay": "15m"}, with(func(r *session.Rules) { r.Start, r.Delay = session.StartScheduled, 15*time.Minute })},
		{"no number doesn't", "other", map[string]string{"min_clients": "0", "delay": "0s"}, base},
		{"auto lets go of the package's", "w11", map[string]string{"start": "auto"}, with(func(r *session.Rules) { r.Floor = 10e6 })},
		{"a number beside the package's delay", "w11", map[string]string{"min_clients": "3"}, with(func(r *session.Rules) {
			r.Floor, r.Start, r.MinClients, r.Delay = 10e6, session.StartScheduled, 3, 5*time.Minute
		})},
	} {
		if got := of(tc.pkg, tc.rules); got != tc.want {
			t.Errorf("%s: %+v, want %+v", tc.name, got, tc.want)
		}
	}
	at, err := session.ParseWallClock("22:00")
	if got := of("w11", map[string]string{"at": "22:00"}); err != nil || got.At != at || got.Delay != 0 || got.Start != session.StartScheduled {
		t.Errorf("%+v, %v", got, err)
	}
}

// configOf reads a configuration over the defaults, and checks it.
func configOf(t *testing.T, text string) (*config, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "wimcastd.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := loadConfig(path)
	return &c, err
}

// TestCheckDeployment: rules that can't be are refused, naming the deployment and the keys.
func TestCheckDeployment(t *testing.T) {
	c, err := configOf(t, "[session]\nmax_clients = 40\n[limits]\nmax_clients = 60\n[multicast]\nceiling = \"50 MB/s\"")
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		rules map[string]string
		only  bool
		says  []string // nil: good
	}{
		{map[string]string{"min_clients": "24", "delay": "15m"}, false, nil},
		{map[string]string{"slow": "unicast", "overflow": "unicast"}, false, nil},
		{map[string]string{"slow": "drop"}, true, nil},
		{map[string]string{"slow": "unicast", "overflow": "unicast"}, true, []string{"package w11@1: slow = \"unicast\" and multicast-only", "overflow = \"unicast\" and multicast-only"}},
		{map[string]string{"min_clients": "many", "delay": "soon", "floor": "fast", "weight": "heavy"}, false, []string{"min_clients: \"many\" is not a number", "delay: \"soon\"", "floor: \"fast\"", "weight: \"heavy\""}},
		{map[string]string{"min_clients": "41"}, false, []string{"min_clients (41) is above max_clients (40)"}},
		{map[string]string{"min_clients": "61", "max_clients": "0"}, false, []string{"min_clients (61) is above limits.max_clients (60)"}},
		{map[string]string{"floor": "51 MB/s"}, false, []string{"floor (51000000 B/s) is above multicast.ceiling"}},
		{map[string]string{"start": "auto", "delay": "1m"}, false, []string{"delay (1m0s) needs start"}},
		{map[string]string{"delay": "1m", "at": "22:00"}, false, []string{"keep one"}},
		{map[string]string{"at": "late", "slow": "shout"}, false, []string{"at: \"late\"", "slow: \"shout\""}},
		{map[string]string{"grace": "0s"}, false, []string{"grace: 0s"}},
	} {
		p := library.Package{Name: "w11", Version: "1"}
		p.Flags.MulticastOnly = tc.only
		err := c.checkDeployment(&deployment.Deployment{Name: "lab12", Rules: tc.rules}, &p)
		if (err == nil) != (tc.says == nil) {
			t.Errorf("%v, multicast-only %v: %v", tc.rules, tc.only, err)
			continue
		}
		for _, says := range tc.says {
			if !strings.HasPrefix(err.Error(), "deployment lab12: ") || !strings.Contains(err.Error(), says) {
				t.Errorf("%v: %v; want %q", tc.rules, err, says)
			}
		}
	}
}

// TestRulesOfDeploymentsAreDocumentedKeys: each key of a deployment's rules is one of [session], and each of those may be one.
func TestRulesOfDeploymentsAreDocumentedKeys(t *testing.T) {
	keys := map[string]bool{}
	for _, key := range deployment.RuleKeys() {
		keys[key] = true
	}
	of := map[string]bool{}
	for _, key := range changed(&config{}, &config{Session: defaultSession()}) {
		if key, ok := strings.CutPrefix(key, "session."); ok {
			of[key] = true
		}
	}
	if len(of) == 0 || !maps.Equal(keys, of) {
		t.Errorf("%v, want %v", keys, of)
	}
}

// TestOpenPackage: who may have a package by what, and in which way.
func TestOpenPackage(t *testing.T) {
	cfg := defaults()
	cfg.State, cfg.Listen, cfg.Metrics.Listen = t.TempDir(), "127.0.0.1:0", ""
	cfg.Admin.Socket = filepath.Join(cfg.State, "admin.sock")
	cfg.Multicast.Interface = "lo"
	d, err := newDaemon(cfg, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.close)
	addImage(t, d) // with the deployment room
	const pe, desk, ann = keyex.WinPE, keyex.Client, keyex.Operator
	type want struct {
		deployment string
		code       wire.RefusedCode // 0: welcome
		says       string           // of the refusal, or why it is by unicast
	}
	open := func(ref, name string, role keyex.Role, want want) {
		t.Helper()
		p, err := d.openPackage(t.Context(), ref, session.Peer{Name: name, Role: string(role)})
		if err == nil {
			_ = p.Content.Close()
			if want.code != 0 || p.Deployment != want.deployment || !strings.Contains(p.UnicastOnly, want.says) || (p.UnicastOnly == "") != (want.says == "") {
				t.Errorf("%s, %s (%s): %+v, want %+v", ref, name, role, p, want)
			}
			return
		}
		refused, is := errors.AsType[*session.RefusedError](err)
		if !is || refused.Code != want.code || !strings.Contains(refused.Text, want.says) {
			t.Errorf("%s, %s (%s): %v, want %+v", ref, name, role, err, want)
		}
	}
	set := func(one deployment.Deployment, do func(deployment.Deployment) (deployment.Deployment, error)) {
		t.Helper()
		one.Content = deployment.Download
		if _, err := do(one); err != nil {
			t.Fatal(err)
		}
	}
	flags := func(c library.Change) {
		t.Helper()
		if _, err := d.library.Change("w11", c); err != nil {
			t.Fatal(err)
		}
	}
	yes, no := true, false

	open("room", "r3", pe, want{deployment: "room"})
	open("w11", "r3", pe, want{deployment: "room"})
	open("w12", "r3", pe, want{code: wire.UnknownPackage, says: "no such package"})
	open("w11", "d1", desk, want{deployment: "room", says: "multicast is for Windows PE only, and this bundle's role is client"})
	open("w11", "ann", ann, want{deployment: "room", says: "role is operator"})

	// The first by name that is for the bundle.
	set(deployment.Deployment{Name: "room", Image: "w11", Who: []string{"r?"}}, d.deployed.Set)
	set(deployment.Deployment{Name: "lab12", Image: "w11", Who: []string{"lab12", "r1"}}, d.deployed.Create)
	open("w11", "r1", pe, want{deployment: "lab12"})
	open("w11", "r3", pe, want{deployment: "room"})
	open("room", "r1", pe, want{deployment: "room"})
	open("lab12", "r3", pe, want{code: wire.NotAllowed, says: `deployment lab12 isn't for bundle r3; on the server: wimcast deployment set "lab12" --who "r3"`})
	open("w11", "office", pe, want{code: wire.NotAllowed, says: "no deployment of package w11 is for bundle office"})
	open("w11", "ann", ann, want{says: "role is operator"})
	open("lab12", "ann", ann, want{code: wire.NotAllowed, says: "isn't for bundle ann"})

	// What the WIM doesn't have.
	set(deployment.Deployment{Name: "lab12", Image: "w11", Index: 2, Who: []string{"lab12"}}, d.deployed.Set)
	open("lab12", "lab12", pe, want{code: wire.OutOfService, says: "index: w11 has no image 2, the last is 1"})

	// Flags.
	flags(library.Change{MulticastOnly: &yes})
	open("w11", "r3", pe, want{deployment: "room"})
	open("w11", "r4", desk, want{code: wire.NotAllowed, says: "multicast is for Windows PE only, and this bundle's role is client, and w11 is multicast-only"})
	flags(library.Change{MulticastOnly: &no, AllowMulticast: &no})
	open("w11", "r3", pe, want{deployment: "room", says: "package w11 isn't allowed by multicast"})

	// None at all.
	for _, name := range []string{"room", "lab12"} {
		if err := d.deployed.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	open("w11", "r3", pe, want{code: wire.NotAllowed, says: `without a deployment a package is open to operator bundles only; on the server: wimcast deployment create NAME --image "w11"`})
	open("w11", "ann", ann, want{says: "isn't allowed by multicast"})
	open("room", "r3", pe, want{code: wire.UnknownPackage, says: "wimcast deployment list"})

	// A package that went from under a deployment, as with a restored backup.
	set(deployment.Deployment{Name: "lost", Image: "w9"}, d.deployed.Create)
	open("lost", "r3", pe, want{code: wire.UnknownPackage, says: "deployment lost: no such package"})
}

// TestCheckDeployments: a configuration that contradicts a deployment is refused, at the start and at a reload.
func TestCheckDeployments(t *testing.T) {
	cfg := defaults()
	cfg.State, cfg.Listen, cfg.Metrics.Listen = t.TempDir(), "127.0.0.1:0", ""
	cfg.Admin.Socket = filepath.Join(cfg.State, "admin.sock")
	cfg.Multicast.Interface = "lo"
	d, err := newDaemon(cfg, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.close)
	addImage(t, d)
	if _, err := d.deployed.Create(deployment.Deployment{Name: "lab12", Image: "w11", Content: deployment.Download, Rules: map[string]string{"min_clients": "24"}}); err != nil {
		t.Fatal(err)
	}
	if err := d.checkDeployments(&cfg); err != nil {
		t.Error(err)
	}
	d.close()
	cfg.Limits.MaxClients = 10
	const says = "config: deployment lab12: min_clients (24) is above limits.max_clients (10)"
	if err := d.checkDeployments(&cfg); err == nil || !strings.Contains(err.Error(), says) {
		t.Errorf("%v, want %q", err, says)
	}
	again, err := newDaemon(cfg, zap.NewNop())
	if err == nil || !strings.Contains(err.Error(), says) {
		again.close()
		t.Errorf("started: %v", err)
	}
}
