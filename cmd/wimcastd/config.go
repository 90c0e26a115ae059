package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"

	"wimcast/api"
	"wimcast/crypto"
	"wimcast/crypto/keyex"
	"wimcast/library/fleet/puller"
	"wimcast/library/validation"
	"wimcast/multicast/wire"
	"wimcast/session"
)

// defaultConfig is where the configuration is looked for when none is named.
const defaultConfig = "/etc/wimcast/wimcastd.toml"

// Bounds of values that other packages refuse at start.
const (
	ipUDP           = 20 + 8 // headers of IPv4 and UDP, bytes
	smallestSymbol  = 1344   // bytes; the least of session's sizes (docs/protocol.md, section 2)
	leastMTU        = ipUDP + wire.HeaderLen + wire.SymbolHeaderLen + smallestSymbol + crypto.Overhead
	leastBudget     = 65_536 // bytes/s; unicast refuses less
	leastValidation = 65_536 // bytes/s; less wouldn't look at one image in a day
	mostCeiling     = 1e12   // bytes/s
	leastKept       = time.Hour
	leastRows       = 1000
)

// What becomes of running sessions when the daemon is stopped.
const (
	stopDrain    = "drain"
	stopHandOver = "handover"
	defaultDrain = 30 * time.Second
)

// config is the daemon's configuration. Every key has a default that works;
// deploy/wimcastd.toml explains each to its users.
type config struct {
	State      string           `toml:"state"` // directory of images, CA and bundles
	Listen     string           `toml:"listen"`
	Name       string           `toml:"name"` // DNS name in the server's certificate; needn't resolve
	Addresses  []string         `toml:"addresses"`
	Drain      duration         `toml:"drain"`
	OnStop     string           `toml:"on_stop"` // drain, handover
	Multicast  multicastConfig  `toml:"multicast"`
	Unicast    unicastConfig    `toml:"unicast"`
	Session    sessionConfig    `toml:"session"`
	Package    packageConfigs   `toml:"package"`
	Limits     limitsConfig     `toml:"limits"`
	Admin      adminConfig      `toml:"admin"`
	Metrics    metricsConfig    `toml:"metrics"`
	Page       pageConfig       `toml:"page"`
	History    historyConfig    `toml:"history"`
	PIN        pinConfig        `toml:"pin"`
	Logs       logsConfig       `toml:"logs"`
	Validation validationConfig `toml:"validation"`
	Doctor     doctorConfig     `toml:"doctor"`
	Log        logConfig        `toml:"log"`
	PKI        pkiConfig        `toml:"pki"`
	Point      pointConfig      `toml:"point"`
	Registry   registryConfig   `toml:"registry"`
}

type multicastConfig struct {
	Interface  string   `toml:"interface"`  // name or address; empty: the first that can
	Interfaces []string `toml:"interfaces"` // several of them
	Groups     string   `toml:"groups"`     // prefixes of IPv4 multicast addresses
	Ports      string   `toml:"ports"`      // first-last, UDP
	TTL        int      `toml:"ttl"`
	Ceiling    rate     `toml:"ceiling"` // of all sessions together; 0: 90 % of the slowest interface's speed
	MTU        int      `toml:"mtu"`     // of the path to the clients, bytes
}

type unicastConfig struct {
	Slots  int  `toml:"slots"`
	Budget rate `toml:"budget"` // of all clients together; 0: none
}

type adminConfig struct {
	Socket string `toml:"socket"`
	Listen string `toml:"listen"` // host:port of the API over HTTPS; empty: none
}

type metricsConfig struct {
	Listen string `toml:"listen"` // host:port; empty: none
}

type historyConfig struct {
	Record  bool  `toml:"record"`
	Keep    age   `toml:"keep"`     // of sessions since their end; 0: for ever
	MaxRows int64 `toml:"max_rows"` // records of all kinds; 0: any number
}

type logConfig struct {
	Level string `toml:"level"` // debug, info, warn, error
}

// pkiConfig replaces the daemon's own CA by an organisation's. All three or none.
type pkiConfig struct {
	CA          string `toml:"ca"`
	Certificate string `toml:"certificate"`
	Key         string `toml:"key"`
	CRL         string `toml:"crl"` // revocation list; may be empty
}

// pointConfig makes the daemon a point of a site.
type pointConfig struct {
	Bundle string        `toml:"bundle"` // the point file, or its name in $CREDENTIALS_DIRECTORY; empty: the daemon is no point
	Poll   duration      `toml:"poll"`   // between two looks for new assignments
	Hours  []hoursConfig `toml:"hours"`  // of the week; a later entry wins
}

// duration reads "30s".
type duration time.Duration

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil || v < 0 {
		return fmt.Errorf("%q is not a duration such as \"30s\"", text)
	}
	*d = duration(v)
	return nil
}

// age reads "400d" or what duration reads; "0" is for ever. A day has 24 hours.
type age time.Duration

// maxAge is the most that an age can be, in days.
const maxAge = 36_500

// UnmarshalText implements encoding.TextUnmarshaler.
func (a *age) UnmarshalText(text []byte) error {
	if number, ok := strings.CutSuffix(string(text), "d"); ok {
		days, err := strconv.ParseUint(number, 10, 32)
		if err != nil || days > maxAge {
			return fmt.Errorf("%q is not a number of days such as \"400d\", up to %d", text, maxAge)
		}
		*a = age(days) * age(24*time.Hour)
		return nil
	}
	v, err := time.ParseDuration(string(text))
	if err != nil || v < 0 || v > maxAge*24*time.Hour {
		return fmt.Errorf("%q is not an age such as \"400d\" or \"36h\"", text)
	}
	*a = age(v)
	return nil
}

// rate reads "900 Mbit/s" or "100 MB/s" and holds bytes/s.
type rate float64

// UnmarshalText implements encoding.TextUnmarshaler.
func (r *rate) UnmarshalText(text []byte) error {
	s := strings.ToLower(strings.TrimSpace(string(text)))
	if s == "" || s == "0" {
		*r = 0
		return nil
	}
	v, err := api.ParseRate(s)
	if err != nil {
		return fmt.Errorf("%q is not a rate such as \"900 Mbit/s\" or \"100 MB/s\"", text)
	}
	*r = rate(v)
	return nil
}

func defaults() config {
	c := config{
		Listen: ":7600", Drain: duration(defaultDrain), OnStop: stopDrain,
		Multicast:  multicastConfig{Groups: "239.195.16.0/22", Ports: "63000-64000", TTL: 1, MTU: 1500},
		Unicast:    unicastConfig{Slots: 4},
		Session:    defaultSession(),
		Metrics:    metricsConfig{Listen: "127.0.0.1:7602"},
		Page:       pageConfig{Listen: fmt.Sprintf("127.0.0.1:%d", pagePort)},
		History:    historyConfig{Record: true, Keep: age(400 * 24 * time.Hour), MaxRows: 500_000},
		Logs:       defaultLogs(),
		Validation: validationConfig{Schedule: defaultSchedule, Rate: defaultRate},
		Doctor:     doctorConfig{Probe: true},
		Log:        logConfig{Level: "info"},
		Point:      pointConfig{Poll: duration(puller.DefaultEvery)},
	}
	c.State = stateDir()
	return c
}

// stateDir is where the daemon keeps its things without being told: what systemd
// gives, the system's place for root, the user's own otherwise.
func stateDir() string {
	if dir := os.Getenv("STATE_DIRECTORY"); dir != "" {
		return dir
	}
	if os.Geteuid() == 0 {
		return "/var/lib/wimcast"
	}
	if dir := os.Getenv("XDG_STATE_HOME"); dir != "" {
		return filepath.Join(dir, "wimcast")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "wimcast-state"
	}
	return filepath.Join(home, ".local", "state", "wimcast")
}

// loadConfig reads a file over the defaults. Without a name the default file is
// read if it is there.
func loadConfig(path string) (config, error) {
	c := defaults()
	name := path
	if name == "" {
		name = defaultConfig
	}
	text, err := os.ReadFile(name)
	switch {
	case path == "" && errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return c, fmt.Errorf("read config: %w", err)
	default:
		if err := parseConfig(text, &c); err != nil {
			return c, fmt.Errorf("config %s: %w", name, err)
		}
	}
	if c.Admin.Socket == "" {
		dir := os.Getenv("RUNTIME_DIRECTORY")
		if dir == "" {
			dir = c.State
		}
		c.Admin.Socket = filepath.Join(dir, "admin.sock")
	}
	return c, c.check()
}

// parseConfig reads TOML strictly: an unknown key is an error that names key and line.
func parseConfig(text []byte, c *config) error {
	decoder := toml.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(c)
	if strict, ok := errors.AsType[*toml.StrictMissingError](err); ok {
		var errs []error
		for _, e := range strict.Errors {
			row, _ := e.Position()
			errs = append(errs, fmt.Errorf("line %d: unknown key %s", row, strings.Join(e.Key(), ".")))
		}
		return errors.Join(errs...)
	}
	if bad, ok := errors.AsType[*toml.DecodeError](err); ok {
		row, _ := bad.Position()
		if key := strings.Join(bad.Key(), "."); key != "" {
			return fmt.Errorf("line %d: %s: %s", row, key, strings.TrimPrefix(bad.Error(), "toml: "))
		}
		return fmt.Errorf("line %d: %s", row, strings.TrimPrefix(bad.Error(), "toml: "))
	}
	return err
}

// check refuses values that can't work, naming the key.
func (c *config) check() error {
	var errs []error
	bad := func(key, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: %s", key, fmt.Sprintf(format, args...)))
	}
	if _, err := c.listenAddr(); err != nil {
		bad("listen", "%v", err)
	}
	if c.Name != "" {
		if err := keyex.CheckServerName(c.Name); err != nil {
			bad("name", "%v", err)
		}
	}
	if len(c.Addresses) > 0 {
		if err := keyex.CheckServers(c.Addresses); err != nil {
			bad("addresses", "%v", err)
		}
	}
	if _, err := parseGroups(c.Multicast.Groups); err != nil {
		bad("multicast.groups", "%v", err)
	}
	switch named := c.Multicast.Interfaces; {
	case len(named) > 0 && c.Multicast.Interface != "":
		bad("multicast.interface", "%q and interfaces = %q: keep one", c.Multicast.Interface, named)
	case slices.Contains(named, ""):
		bad("multicast.interfaces", "has an empty name")
	}
	if _, _, err := c.Multicast.ports(); err != nil {
		bad("multicast.ports", "%v", err)
	}
	if n := float64(c.Multicast.Ceiling); n != 0 && (n < session.LeastCeiling || n > mostCeiling) {
		bad("multicast.ceiling", "%.0f B/s isn't between \"%d B/s\", below which nothing is cast in a useful time, and 1 TB/s; \"0\" is %.0f %% of the interface's speed", n, session.LeastCeiling, 100*ceilingShare)
	}
	if c.Multicast.TTL < 1 || c.Multicast.TTL > 255 {
		bad("multicast.ttl", "%d is not between 1 and 255", c.Multicast.TTL)
	}
	if c.Multicast.MTU < leastMTU || c.Multicast.MTU > 65535 {
		bad("multicast.mtu", "%d bytes is not between %d, which a packet with the smallest symbol needs, and 65535", c.Multicast.MTU, leastMTU)
	}
	if c.Unicast.Slots < 1 {
		bad("unicast.slots", "%d; at least 1 (a package is kept from unicast by --multicast-only)", c.Unicast.Slots)
	}
	if c.Unicast.Budget != 0 && c.Unicast.Budget < leastBudget {
		bad("unicast.budget", "%v B/s is less than \"%d B/s\"; \"0\" means no limit", float64(c.Unicast.Budget), leastBudget)
	}
	if c.Metrics.Listen != "" {
		if _, _, err := net.SplitHostPort(c.Metrics.Listen); err != nil {
			bad("metrics.listen", "%q is not an address such as \"127.0.0.1:7602\"", c.Metrics.Listen)
		}
	}
	if c.Admin.Listen != "" {
		if _, _, err := net.SplitHostPort(c.Admin.Listen); err != nil {
			bad("admin.listen", "%q is not an address such as \":7601\"", c.Admin.Listen)
		} else if port, same := sharePort(c.Admin.Listen, c.Listen); same {
			bad("admin.listen", "port %s is that of listen, where unicast (TCP) is; choose another, such as 7601", port)
		}
	}
	if port, same := sharePort(c.Metrics.Listen, c.Listen); same {
		bad("metrics.listen", "port %s is that of listen, where unicast (TCP) is; choose another, such as 7602", port)
	}
	if port, same := sharePort(c.Metrics.Listen, c.Admin.Listen); same {
		bad("metrics.listen", "port %s is that of admin.listen; choose another, such as 7602", port)
	}
	if c.History.Keep > 0 && c.History.Keep < age(leastKept) {
		bad("history.keep", "%v is less than %v; \"0\" keeps for ever, history.record = false keeps nothing", time.Duration(c.History.Keep), leastKept)
	}
	if c.History.MaxRows != 0 && c.History.MaxRows < leastRows {
		bad("history.max_rows", "%d is less than %d; 0 means any number", c.History.MaxRows, leastRows)
	}
	c.Page.check(c, bad)
	c.PIN.check(bad)
	c.Logs.check(bad)
	if err := validation.CheckSchedule(c.Validation.Schedule); err != nil {
		bad("validation.schedule", "%v", err)
	}
	if c.Validation.Rate != 0 && c.Validation.Rate < leastValidation {
		bad("validation.rate", "%v B/s is less than \"%d B/s\"; \"0\" means no limit, an empty schedule no validation", float64(c.Validation.Rate), leastValidation)
	}
	switch {
	case c.OnStop != stopDrain && c.OnStop != stopHandOver:
		bad("on_stop", "%q is none of drain, handover", c.OnStop)
	case c.OnStop == stopHandOver && c.Drain != 0 && time.Duration(c.Drain) != defaultDrain:
		bad("drain", "%v and on_stop = \"handover\": handing over waits for nobody; keep one", time.Duration(c.Drain))
	}
	errs = append(errs, c.checkRules())
	c.Point.checkPoll(bad)
	c.Point.checkHours(bad)
	c.Registry.check(bad)
	c.checkBundle(bad)
	switch c.Log.Level {
	case "debug", "info", "warn", "error":
	default:
		bad("log.level", "%q is none of debug, info, warn, error", c.Log.Level)
	}
	if set := len(strings.Fields(c.PKI.CA + " " + c.PKI.Certificate + " " + c.PKI.Key)); set != 0 && (c.PKI.CA == "" || c.PKI.Certificate == "" || c.PKI.Key == "") {
		bad("pki", "ca, certificate and key go together; set all three or none")
	} else if set == 0 && c.PKI.CRL != "" {
		bad("pki.crl", "%q without pki.ca: the daemon's own CA keeps its list of revoked bundles itself; set ca, certificate and key, or leave crl out", c.PKI.CRL)
	}
	return errors.Join(errs...)
}

// listenAddr returns where clients come in. Without an address before the colon that
// is every IPv4 address.
func (c *config) listenAddr() (netip.AddrPort, error) {
	text := c.Listen
	if strings.HasPrefix(text, ":") {
		text = "0.0.0.0" + text
	}
	addr, err := netip.ParseAddrPort(text)
	if err != nil {
		return addr, fmt.Errorf("%q is not an address with a port, such as \":7600\" or \"10.1.2.3:7600\" (names aren't looked up)", c.Listen)
	}
	return addr, nil
}

// sharePort reports whether two places to listen at are the same port on the same address, or one of them on all.
func sharePort(a, b string) (port string, same bool) {
	hostA, portA, errA := net.SplitHostPort(a)
	hostB, portB, errB := net.SplitHostPort(b)
	if errA != nil || errB != nil || portA != portB || portA == "0" {
		return "", false
	}
	all := func(host string) bool {
		addr, err := netip.ParseAddr(host)
		return host == "" || err == nil && addr.IsUnspecified()
	}
	return portA, hostA == hostB || all(hostA) || all(hostB)
}

// interfaces returns the names or addresses of the interfaces that groups go out on; one empty name for the first that can.
func (m *multicastConfig) interfaces() []string {
	if len(m.Interfaces) > 0 {
		return m.Interfaces
	}
	return []string{m.Interface}
}

func (m *multicastConfig) ports() (first, last uint16, err error) {
	a, b, ok := strings.Cut(m.Ports, "-")
	x, err1 := strconv.ParseUint(strings.TrimSpace(a), 10, 16)
	y, err2 := strconv.ParseUint(strings.TrimSpace(b), 10, 16)
	if !ok || err1 != nil || err2 != nil || x == 0 || y < x {
		return 0, 0, fmt.Errorf("%q is not a range of ports such as \"63000-64000\"", m.Ports)
	}
	return uint16(x), uint16(y), nil
}

// MarshalText implements encoding.TextMarshaler.
//
//nolint:unparam // the interface has an error
func (d duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// MarshalText implements encoding.TextMarshaler.
//
//nolint:unparam // the interface has an error
func (a age) MarshalText() ([]byte, error) { return []byte(time.Duration(a).String()), nil }

// MarshalText implements encoding.TextMarshaler.
//
//nolint:unparam // the interface has an error
func (r rate) MarshalText() ([]byte, error) {
	if r == 0 {
		return []byte("0"), nil
	}
	return fmt.Appendf(nil, "%.0f B/s", float64(r)), nil
}

// MarshalText implements encoding.TextMarshaler.
//
//nolint:unparam // the interface has an error
func (s size) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%d B", int64(s)), nil }
