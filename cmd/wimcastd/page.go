package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/net/netutil"

	"wimcast/api"
	"wimcast/api/page"
	"wimcast/crypto/keyex"
)

const (
	// pagePort is where the web page is unless told otherwise.
	pagePort = 7603
	// pageConns bounds the connections to the web page, handshakes included: whoever can reach the port mustn't use up the daemon's
	// files. A browser opens up to six.
	pageConns = 256
)

// pageConfig is about the web page.
type pageConfig struct {
	Listen      string `toml:"listen"`      // host:port; empty: none
	Certificate string `toml:"certificate"` // for browsers, PEM, with its chain; empty: the daemon's own
	Key         string `toml:"key"`
}

// check refuses what can't be, and ports that something else has.
func (p *pageConfig) check(c *config, bad func(key, format string, args ...any)) {
	if (p.Certificate == "") != (p.Key == "") {
		bad("page", "certificate and key go together; set both or none")
	}
	if p.Listen == "" {
		return
	}
	if _, _, err := net.SplitHostPort(p.Listen); err != nil {
		bad("page.listen", "%q is not an address such as \"127.0.0.1:%d\"", p.Listen, pagePort)
		return
	}
	for _, other := range []struct{ key, listen string }{{"listen", c.Listen}, {"admin.listen", c.Admin.Listen}, {"metrics.listen", c.Metrics.Listen}} {
		if port, same := sharePort(p.Listen, other.listen); same {
			bad("page.listen", "port %s is that of %s; choose another, such as %d", port, other.key, pagePort)
		}
	}
	if p.Certificate != "" && p.loopback() {
		bad("page.certificate", "the page is on %s, where it is plain HTTP; leave certificate and key out, or set page.listen", p.Listen)
	}
}

// loopback reports whether the page is on this machine's loopback alone. A name such as localhost isn't looked up, and is taken for elsewhere.
func (p *pageConfig) loopback() bool {
	addr, err := netip.ParseAddr(hostOf(p.Listen))
	return err == nil && addr.Unmap().IsLoopback()
}

// webPage is the page and what it is served by; its zero value is a page that is off.
type webPage struct {
	page        *page.Page
	listener    net.Listener
	certificate atomic.Pointer[tls.Certificate] // nil: the daemon's own
	handshakes  keyex.Results
}

// listenPage opens the web page's port, and reads its certificate.
func (d *distributionPoint) listenPage() (err error) {
	cfg := &d.cfg.Page
	if cfg.Listen == "" {
		return nil
	}
	if err := d.readPageCertificate(cfg); err != nil {
		return err
	}
	if d.page.listener, err = net.Listen("tcp", cfg.Listen); err != nil {
		return fmt.Errorf("page.listen: %w; next: set another, or \"\" for no page", err)
	}
	return nil
}

func (d *distributionPoint) readPageCertificate(cfg *pageConfig) error {
	if cfg.Certificate == "" {
		return nil
	}
	pair, err := keyex.ReadPair(cfg.Certificate, cfg.Key)
	if err != nil {
		return fmt.Errorf("page.certificate: %w", err)
	}
	d.page.certificate.Store(pair)
	return nil
}

// pageNames are the names in the certificate that browsers see.
func (d *distributionPoint) pageNames() []string {
	if own := d.page.certificate.Load(); own != nil {
		return own.Leaf.DNSNames
	}
	return d.trust.Names()
}

// openPage makes the page, once the API is there that it asks.
func (d *distributionPoint) openPage() {
	if d.page.listener == nil {
		return
	}
	d.page.page = page.New(page.Config{
		API: d.api, Secure: !d.cfg.Page.loopback(), Names: d.pageNames, Now: time.Now, Log: d.log.Named("page"), ErrorLog: newForeignLog(d.log, "page"),
		Judge: func(cs *tls.ConnectionState) (keyex.Identity, error) {
			return d.trust.Judge(cs, keyex.Viewer, keyex.Operator)
		},
	})
}

// servePage answers browsers, where there is a page.
func (d *distributionPoint) servePage(ctx context.Context) {
	if d.page.page == nil {
		return
	}
	var secure *tls.Config
	if !d.cfg.Page.loopback() {
		certificate := func() *tls.Certificate { return d.page.certificate.Load() }
		if d.page.certificate.Load() == nil {
			certificate = nil
		}
		secure = keyex.BrowserTLS(d.trust, certificate, &d.page.handshakes, keyex.Viewer, keyex.Operator)
	}
	d.running.Go(func() {
		if err := d.page.page.Serve(ctx, netutil.LimitListener(d.page.listener, pageConns), secure); err != nil {
			d.log.Error("the web page is gone until the daemon starts again; casts go on", zap.Error(err))
		}
	})
}

// pageListening is where the page is; "" where it isn't.
func (d *distributionPoint) pageListening() string {
	if d.page.listener == nil {
		return ""
	}
	return d.page.listener.Addr().String()
}

// pageLink makes links to the page; nil where it is off.
func (d *distributionPoint) pageLink() func(by api.Caller) (api.PageLink, error) {
	if d.page.listener == nil {
		return nil
	}
	return func(by api.Caller) (api.PageLink, error) {
		if d.page.page == nil {
			return api.PageLink{}, errors.New("the web page isn't there yet; next: wimcast page")
		}
		token, expires := d.page.page.Link(by)
		link := api.PageLink{Token: token, Loopback: d.cfg.Page.loopback(), Listen: d.pageListening(), Expires: expires}
		scheme := "https"
		if link.Loopback {
			scheme = "http"
		}
		for _, at := range d.pageHosts() {
			link.URLs = append(link.URLs, scheme+"://"+at+"/#token="+token)
		}
		return link, nil
	}
}

// pageHosts are the addresses that links name: a name of the certificate that is the organisation's, as it looks up, then where this
// server is reached.
func (d *distributionPoint) pageHosts() []string {
	at, err := netip.ParseAddrPort(d.pageListening())
	if err != nil {
		return []string{d.pageListening()}
	}
	port := strconv.Itoa(int(at.Port()))
	var out []string
	if own := d.page.certificate.Load(); own != nil && len(own.Leaf.DNSNames) > 0 {
		out = append(out, net.JoinHostPort(own.Leaf.DNSNames[0], port))
	}
	if own := at.Addr().Unmap(); !own.IsUnspecified() {
		return append(out, netip.AddrPortFrom(own, at.Port()).String())
	}
	for _, server := range d.servers() {
		if host, _, err := net.SplitHostPort(server); err == nil {
			out = append(out, net.JoinHostPort(host, port))
		}
	}
	return out
}

// pageLogins counts logins to the page by result; all are there where it is off.
func (d *distributionPoint) pageLogins() map[string]uint64 {
	if d.page.page == nil {
		out := map[string]uint64{}
		for _, r := range page.Results() {
			out[r] = 0
		}
		return out
	}
	return d.page.page.Logins()
}
