package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestConfigurationIsToldWithoutCredentials, whole, and as it can be read again.
func TestConfigurationIsToldWithoutCredentials(t *testing.T) {
	c := defaults()
	c.PKI.CA, c.PKI.Key, c.PKI.Certificate = "/a/ca.pem", "/a/zq.key", "/a/zq.pem"
	c.Registry.Credentials, c.Registry.Repository, c.Point.Bundle = "/a/zq.toml", "registry.example.org/wimcast", "/a/zq.point"
	c.Multicast.Ceiling = 1e8
	var out bytes.Buffer
	if err := writeConfig(&out, c); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), "zq") || strings.Count(out.String(), hidden) != 4 {
		t.Errorf("%s", &out)
	}
	var again config
	if err := parseConfig(out.Bytes(), &again); err != nil {
		t.Fatal(err)
	}
	again.PKI, again.Registry.Credentials, again.Point.Bundle = c.PKI, c.Registry.Credentials, c.Point.Bundle
	if keys := changed(&c, &again); len(keys) > 0 {
		t.Errorf("told otherwise than it is: %v in\n%s", keys, &out)
	}
}

// TestSecretsAreKnown: those of credential files, keys and variables, and nothing else.
func TestSecretsAreKnown(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	t.Setenv("WIMCAST_TEST_TOKEN", "of-a-variable")
	t.Setenv("WIMCAST_TEST_COLOUR", "no-secret-at-all")
	t.Setenv("WIMCAST_TEST_PASSWORD_FILE", "/a/path/to/one")
	d := &distributionPoint{cfg: config{State: dir}}
	d.live.Store(&config{
		Registry: registryConfig{Credentials: write("registry.toml", "username = \"a-site\"\npassword = \"of-the-registry\"\n")},
		PKI:      pkiConfig{Key: write("key.pem", "-----BEGIN PRIVATE KEY-----\nMIGHsecretline\n-----END PRIVATE KEY-----\n-----BEGIN CERTIFICATE-----\nMIIBpublicline\n-----END CERTIFICATE-----\n")},
	})
	got := d.secrets()
	d.live.Store(&config{Registry: registryConfig{Credentials: write("docker.json", `{"auths":{"registry.example.org":{"auth":"c2l0ZTppbi1kb2NrZXI="}}}`)}})
	if !slices.Contains(d.secrets(), "in-docker") {
		t.Error("the password of a docker config.json isn't known")
	}
	for _, want := range []string{"of-a-variable", "of-the-registry", "MIGHsecretline"} {
		if !slices.Contains(got, want) {
			t.Errorf("%s isn't known", want)
		}
	}
	for _, not := range []string{"no-secret-at-all", "a-site", "MIIBpublicline", "/a/path/to/one"} {
		if slices.Contains(got, not) {
			t.Errorf("%s is taken for a secret", not)
		}
	}
}

// TestRecentLinesOfASession: those of others and older ones stay out, and what is of no session comes along.
func TestRecentLinesOfASession(t *testing.T) {
	ring := newLogRing()
	now := time.Date(2026, 11, 27, 5, 0, 0, 0, time.UTC)
	for i, line := range []string{`"session":"s1"`, `"session":"s2"`, `"msg":"ready"`} {
		ring.put([]byte(`{"time":"` + now.Add(time.Duration(i)*time.Hour).Format(time.RFC3339Nano) + `",` + line + "}\n"))
	}
	d := &distributionPoint{recent: ring}
	for says, tc := range map[string]struct {
		since   time.Time
		session string
		want    []string
	}{
		"all": {now, "", []string{"s1", "s2", "ready"}}, "of one": {now, "s1", []string{"s1", "ready"}}, "later": {now.Add(time.Minute), "", []string{"s2", "ready"}},
	} {
		var out bytes.Buffer
		if err := d.writeRecent(&out, tc.since, tc.session); err != nil || strings.Count(out.String(), "\n") != len(tc.want) {
			t.Errorf("%s: %v: %s", says, err, &out)
		}
		for _, want := range tc.want {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%s: %s isn't in %s", says, want, &out)
			}
		}
	}
}

func TestTablesOfTheKernelAreReadable(t *testing.T) {
	for hex, want := range map[string]string{"0100007F": "127.0.0.1", "10C3EF": "10C3EF", "Group": "Group"} {
		if got := dotted(0).text(hex); got != want {
			t.Errorf("%s is %s, want %s", hex, got, want)
		}
	}
	if got := endpoint(0).text("0100007F:1DB0"); got != "127.0.0.1:7600" {
		t.Error(got)
	}
}
