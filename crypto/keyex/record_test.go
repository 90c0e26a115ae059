package keyex

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
	"time"
)

// testHello returns a well-formed first ClientHello; seed tells its random.
func testHello(seed byte) []byte {
	body := append([]byte{254, 253}, bytes.Repeat([]byte{seed}, 32)...)
	body = append(body, 0, 0)                                 // session id, cookie
	body = append(body, 0, 2, 0xcc, 0xa9, 1, 0)               // suites, compression
	extensions := []byte{0, 23, 0, 0}                         // extended master secret
	extensions = append(extensions, 0, 10, 0, 4, 0, 2, 0, 29) // X25519
	body = binary.BigEndian.AppendUint16(body, uint16(len(extensions)))
	body = append(body, extensions...)
	n := byte(len(body))
	handshake := append([]byte{handshakeClientHello, 0, 0, n, 0, 0, 0, 0, 0, 0, 0, n}, body...)
	return append([]byte{typeHandshake, 254, 255, 0, 0, 0, 0, 0, 0, 0, 0, 0, byte(len(handshake))}, handshake...)
}

func TestParseHello(t *testing.T) {
	good := testHello(7)
	h, ok := parseHello(good)
	if !ok || h.random != [32]byte(bytes.Repeat([]byte{7}, 32)) || h.message != 0 || h.cookie {
		t.Fatalf("parseHello: %+v, %v", h, ok)
	}
	for n := range good {
		if _, ok := parseHello(good[:n]); ok {
			t.Errorf("accepts the first %d bytes", n)
		}
	}
	for name, bad := range map[string][]byte{
		"something behind":      append(bytes.Clone(good), 0),
		"two hellos":            append(bytes.Clone(good), good...),
		"epoch 1":               edit(good, 4, 1),
		"other type":            edit(good, 0, typeAlert),
		"TLS":                   edit(good, 1, 3),
		"ServerHello":           edit(good, recordHeader, handshakeServerHello),
		"message 2":             edit(good, recordHeader+5, 2),
		"fragment":              edit(good, recordHeader+8, 1),
		"length beyond":         edit(good, recordHeader+3, 255),
		"DTLS 1.0":              edit(good, recordHeader+handshakeHeader+1, 255),
		"session id beyond":     edit(good, recordHeader+handshakeHeader+34, 200),
		"cookie beyond":         edit(good, recordHeader+handshakeHeader+35, 200),
		"odd suites":            edit(good, recordHeader+handshakeHeader+37, 1),
		"extension beyond":      edit(good, len(good)-5, 9),
		"extensions cut":        edit(good, recordHeader+handshakeHeader+43, 11),
		"no compression method": edit(good, recordHeader+handshakeHeader+40, 0),
	} {
		if _, ok := parseHello(bad); ok {
			t.Errorf("accepts: %s", name)
		}
	}
}

func edit(b []byte, at int, v byte) []byte {
	b = bytes.Clone(b)
	b[at] = v
	return b
}

func FuzzRecords(f *testing.F) {
	f.Add(testHello(1))
	f.Add(sealEnvelope(cookie{1}, testHello(1)))
	f.Add(append(testHello(1), typeAlert, 254, 253, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2, 2, 40))
	f.Add(cookieReply(cookie{9}))
	f.Fuzz(func(t *testing.T, b []byte) {
		total := 0
		whole := records(b, func(r record) bool {
			total += recordHeader + len(r.body)
			return true
		})
		if whole && total != len(b) {
			t.Fatalf("records cover %d of %d bytes", total, len(b))
		}
		if _, ok := parseHello(b); ok && (!whole || len(b) < 60) {
			t.Fatal("a hello that isn't whole records")
		}
		if _, inner, ok := openEnvelope(b); ok && len(inner)+envelopeSize != len(b) {
			t.Fatal("envelope loses bytes")
		}
		var g gate
		g.admits(b)
		g.finish(lateBudget)
		g.admits(b)
		plainAlert(b)
		parseCookieReply(b)
	})
}

func TestGateBudgets(t *testing.T) {
	datagram := testHello(1)
	count := func(g *gate) (n int) {
		for range 10_000 {
			if g.admits(datagram) {
				n++
			}
		}
		return n
	}
	var g gate
	if got, want := count(&g), handshakeBudget/len(datagram); got != want {
		t.Errorf("while the handshake runs: %d, want %d", got, want)
	}
	g.finish(lateBudget)
	if got, want := count(&g), lateBudget/len(datagram); got != want {
		t.Errorf("afterwards: %d, want %d", got, want)
	}
	g.finish(0)
	if got := count(&g); got != 0 {
		t.Errorf("on a client afterwards: %d, want 0", got)
	}
	data := []byte{typeApplicationData, 254, 253, 0, 1, 0, 0, 0, 0, 0, 9, 0, 1, 'x'}
	for range 100_000 {
		if !g.admits(data) {
			t.Fatal("application data runs into a budget")
		}
	}
}

func TestCookies(t *testing.T) {
	b := newBaker()
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	here := netip.MustParseAddrPort("10.0.0.1:5000")
	c := b.bake(here, slotOf(now))
	if !b.good(c, here, now) || !b.good(c, here, now.Add(cookieLife)) {
		t.Error("a fresh cookie isn't good")
	}
	for name, ok := range map[string]bool{
		"other port":    b.good(c, netip.MustParseAddrPort("10.0.0.1:5001"), now),
		"other address": b.good(c, netip.MustParseAddrPort("10.0.0.2:5000"), now),
		"old":           b.good(c, here, now.Add(2*cookieLife)),
		"from tomorrow": b.good(c, here, now.Add(-cookieLife)),
		"other key":     newBaker().good(c, here, now),
		"zero":          b.good(cookie{}, here, now),
	} {
		if ok {
			t.Errorf("good: %s", name)
		}
	}
	for i := range c {
		forged := c
		forged[i] ^= 1
		if b.good(forged, here, now) {
			t.Errorf("byte %d doesn't matter", i)
		}
	}
	inner := testHello(3)
	got, rest, ok := openEnvelope(sealEnvelope(c, inner))
	if !ok || got != c || !bytes.Equal(rest, inner) {
		t.Error("envelope doesn't round trip")
	}
	if reply := cookieReply(c); len(reply) >= len(sealEnvelope(c, inner)) {
		t.Error("the answer is larger than the question")
	}
}
