package keyex

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/pion/dtls/v2"
	"golang.org/x/crypto/chacha20poly1305"
)

// recorder is a network that takes one datagram and breaks.
type recorder struct {
	net.Conn
	sent []byte
}

func (r *recorder) Write(p []byte) (int, error) {
	if r.sent == nil {
		r.sent = bytes.Clone(p)
	}
	return 0, io.ErrClosedPipe
}
func (*recorder) Read([]byte) (int, error)         { return 0, io.EOF }
func (*recorder) Close() error                     { return nil }
func (*recorder) SetReadDeadline(time.Time) error  { return nil }
func (*recorder) SetWriteDeadline(time.Time) error { return nil }

// TestOnlyOurSuiteIsOffered guards against CVE-2026-26014 (the library's AEAD
// suites draw nonces at random) and GHSA-wg4g-wm44-ch5j (its ECDHE_PSK panics):
// neither family may ever stand in a hello of ours.
func TestOnlyOurSuiteIsOffered(t *testing.T) {
	a := openTestAuthority(t, newClock())
	c := issue(t, a, "lab12", WinPE)
	r := &recorder{}
	if _, err := dtls.ClientWithContext(t.Context(), r, dtlsConfig(c.certificate, func([][]byte) error { return nil })); err == nil {
		t.Fatal("a handshake over nothing")
	}
	if _, ok := parseHello(r.sent); !ok {
		t.Fatalf("the first datagram isn't a hello: %x", r.sent)
	}
	b := r.sent[recordHeader+handshakeHeader+34:]
	_, b, _ = vector8(b) // session id
	_, b, _ = vector8(b) // cookie
	offered, b, _ := vector16(b)
	if want := []byte{0xcc, 0xa9}; !bytes.Equal(offered, want) {
		t.Errorf("suites %x, want %x alone", offered, want)
	}
	_, b, _ = vector8(b) // compression
	extensions, _, _ := vector16(b)
	var kinds []uint16
	for len(extensions) > 0 {
		kinds = append(kinds, binary.BigEndian.Uint16(extensions))
		_, extensions, _ = vector16(extensions[2:])
	}
	if !slices.Contains(kinds, 23) {
		t.Errorf("extensions %v lack the extended master secret", kinds)
	}
}

// TestForeignSuitesAreRefused: the listener agrees to nothing but its own suite,
// nor to a handshake without the extended master secret.
func TestForeignSuitesAreRefused(t *testing.T) {
	a := openTestAuthority(t, newClock())
	c := issue(t, a, "lab12", WinPE)
	for name, edit := range map[string]func(*dtls.Config){
		"AES-128-GCM": func(cfg *dtls.Config) {
			cfg.CustomCipherSuites, cfg.CipherSuites = nil, []dtls.CipherSuiteID{dtls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}
		},
		"AES-128-CCM": func(cfg *dtls.Config) {
			cfg.CustomCipherSuites, cfg.CipherSuites = nil, []dtls.CipherSuiteID{dtls.TLS_ECDHE_ECDSA_WITH_AES_128_CCM}
		},
		"ECDHE_PSK": func(cfg *dtls.Config) {
			cfg.CustomCipherSuites, cfg.CipherSuites = nil, []dtls.CipherSuiteID{dtls.TLS_ECDHE_PSK_WITH_AES_128_CBC_SHA256}
			cfg.PSK = func([]byte) ([]byte, error) { return []byte("secret"), nil }
			cfg.PSKIdentityHint = []byte("x")
			cfg.Certificates, cfg.GetClientCertificate, cfg.ClientAuth = nil, nil, dtls.NoClientCert
		},
		"no extended master secret": func(cfg *dtls.Config) { cfg.ExtendedMasterSecret = dtls.DisableExtendedMasterSecret },
	} {
		t.Run(name, func(t *testing.T) {
			l := listen(t, ServerConfig{Trust: a.Trust()})
			sock, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(l.Addr()))
			if err != nil {
				t.Fatal(err)
			}
			defer sock.Close()
			cfg := dtlsConfig(c.certificate, func([][]byte) error { return nil })
			edit(cfg)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			d, err := dtls.ClientWithContext(ctx, newWire(sock), cfg)
			if err == nil {
				_ = d.Close()
				t.Fatal("the listener agreed")
			}
			if errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("the client wasn't told: %v", err)
			}
			eventually(t, "counted", func() bool { return l.Stats().Handshakes[Incompatible] == 1 })
			if n := l.Stats().Handshakes[OK]; n != 0 {
				t.Errorf("%d associations", n)
			}
		})
	}
}

// suitePair returns both ends of one association's suite.
func suitePair(t testing.TB) (client, server *suite) {
	t.Helper()
	master, c, s := bytes.Repeat([]byte{1}, 48), bytes.Repeat([]byte{2}, 32), bytes.Repeat([]byte{3}, 32)
	client, server = &suite{}, &suite{}
	if client.IsInitialized() {
		t.Error("has keys before it began")
	}
	if _, err := client.Encrypt(nil, make([]byte, 20)); err == nil {
		t.Error("encrypts without keys")
	}
	if _, err := client.Decrypt(make([]byte, 40)); err == nil {
		t.Error("decrypts without keys")
	}
	for _, err := range []error{client.Init(master, c, s, true), server.Init(master, c, s, false)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return client, server
}

func plainRecord(number uint64, body string) []byte {
	b := []byte{typeApplicationData, 254, 253}
	b = binary.BigEndian.AppendUint64(b, 1<<48|number)
	b = binary.BigEndian.AppendUint16(b, uint16(len(body)))
	return append(b, body...)
}

// TestSuite holds RFC 7905: the nonce is the record's number xor the IV, with
// nothing of it on the wire and nothing random, so that it can't repeat.
func TestSuite(t *testing.T) {
	client, server := suitePair(t)
	keys := client.keys.Load()
	seen := map[[chacha20poly1305.NonceSize]byte]bool{}
	for _, number := range []uint64{0, 1, 2, 255, 256, 1 << 32, 1<<48 - 1} {
		plain := plainRecord(number, "hello")
		sealed, err := client.Encrypt(nil, plain)
		if err != nil {
			t.Fatal(err)
		}
		if len(sealed) != len(plain)+chacha20poly1305.Overhead {
			t.Errorf("record %d grows by %d bytes, want 16: no explicit nonce", number, len(sealed)-len(plain))
		}
		if again, _ := client.Encrypt(nil, plain); !bytes.Equal(again, sealed) {
			t.Errorf("record %d: something is random", number)
		}
		// The twin: nonce and associated data written out.
		nonce := keys.localIV
		for i, b := range binary.BigEndian.AppendUint64(nil, 1<<48|number) {
			nonce[4+i] ^= b
		}
		if seen[nonce] {
			t.Errorf("record %d: a nonce repeats", number)
		}
		seen[nonce] = true
		data := slices.Concat(plain[3:11], plain[:3], []byte{0, 5})
		if want := keys.local.Seal(nil, nonce[:], []byte("hello"), data); !bytes.Equal(sealed[recordHeader:], want) {
			t.Errorf("record %d differs from its twin", number)
		}
		opened, err := server.Decrypt(sealed)
		if err != nil || string(opened[recordHeader:]) != "hello" {
			t.Errorf("record %d: %q, %v", number, opened, err)
		}
		if _, err := client.Decrypt(sealed); err == nil {
			t.Errorf("record %d opens on the side that sent it", number)
		}
		for at := range sealed {
			if at == recordHeader-2 || at == recordHeader-1 {
				continue // the length: the framing's, checked before
			}
			if _, err := server.Decrypt(flip(sealed, at)); err == nil {
				t.Errorf("record %d: byte %d doesn't matter", number, at)
			}
		}
		for n := range sealed {
			if _, err := server.Decrypt(sealed[:n]); err == nil {
				t.Errorf("record %d: opens with %d of %d bytes", number, n, len(sealed))
			}
		}
	}
	if _, err := client.Encrypt(nil, make([]byte, recordHeader-1)); err == nil {
		t.Error("encrypts less than a header")
	}
	if client.keys.Load().localIV == client.keys.Load().remoteIV {
		t.Error("both directions share an IV")
	}
}
