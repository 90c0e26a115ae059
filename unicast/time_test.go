package unicast

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"wimcast/crypto"
)

// pipes is a network in memory, whose time is the test's.
type pipes struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), done: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.done) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

func (p *pipes) dial() net.Conn {
	near, far := net.Pipe()
	p.conns <- far
	return near
}

// inTime runs a server without TLS in virtual time.
func inTime(t *testing.T, change func(*ServerConfig), test func(t *testing.T, s *Server, p *pipes, b *book, d *desk)) {
	synctest.Test(t, func(t *testing.T) {
		shelf, d := &shelf{packages: map[crypto.Hash]*book{}}, &desk{tokens: map[Token]Grant{}}
		config := ServerConfig{Contents: shelf, Grants: d}
		change(&config)
		s, err := NewServer(config)
		if err != nil {
			t.Fatal(err)
		}
		p := newPipes()
		server := &http.Server{Handler: s}
		go func() { _ = server.Serve(p) }()
		defer server.Close()
		test(t, s, p, shelf.add("w11@1", 20*crypto.BlockSize), d)
	})
}

// get asks for everything and returns the answer, its body unread.
func (p *pipes) get(t *testing.T, b *book, token Token) (*http.Response, net.Conn) {
	t.Helper()
	conn := p.dial()
	if _, err := fmt.Fprintf(conn, "GET /v1/content/%v HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", b.digest, token.hex()); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	return response, conn
}

// Four at once share the budget evenly, and together keep to it.
func TestBudgetIsShared(t *testing.T) {
	inTime(t, func(c *ServerConfig) { c.BytesPerSecond = 1_000_000 }, func(t *testing.T, _ *Server, p *pipes, b *book, d *desk) {
		start := time.Now()
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				response, conn := p.get(t, b, d.give("pc", b.digest))
				defer conn.Close()
				if n, err := io.Copy(io.Discard, response.Body); err != nil || n != b.Size() {
					t.Errorf("%d bytes, %v", n, err)
				}
				// 14.4 MB in all; each ends within the last half second.
				if took := time.Since(start); took < 13900*time.Millisecond || took > 14500*time.Millisecond {
					t.Errorf("took %v", took)
				}
			})
		}
		wg.Wait()
	})
}

// A client that takes nothing is let go after 30 s, one that takes a little all
// the time isn't; the slot then is free after 10 s more.
func TestStallInTime(t *testing.T) {
	inTime(t, func(c *ServerConfig) { c.Slots = 2 }, func(t *testing.T, s *Server, p *pipes, b *book, d *desk) {
		_, dead := p.get(t, b, d.give("dead", b.digest))
		defer dead.Close()
		slow, conn := p.get(t, b, d.give("slow", b.digest))
		defer conn.Close()
		start := time.Now()
		var total int64
		for { // 16 KiB a second: a chunk takes 16 s
			n, err := io.CopyN(io.Discard, slow.Body, 16<<10)
			total += n
			if err != nil {
				break
			}
			time.Sleep(time.Second)
			switch elapsed := time.Since(start); {
			case elapsed == 29*time.Second && s.Snapshot().Results[ResultStalled] != 0:
				t.Error("let go too early")
			case elapsed == 31*time.Second && s.Snapshot().Results[ResultStalled] != 1:
				t.Error("not let go after 30 s")
			case elapsed == 31*time.Second && s.Snapshot().Active != 2:
				t.Error("the slot is gone at once")
			case elapsed == 41*time.Second && s.Snapshot().Active != 1:
				t.Error("the slot isn't free after 10 s more")
			}
		}
		if total != b.Size() || time.Since(start) < 200*time.Second {
			t.Errorf("%d bytes in %v", total, time.Since(start))
		}
	})
}
