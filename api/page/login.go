package page

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/netip"
	"time"

	"go.uber.org/zap"

	"wimcast/api"
)

// maxLogin bounds the body of a login, in bytes.
const maxLogin = 1024

// Names of the cookie. The prefix has browsers hold that it came over HTTPS, and from this host alone.
const (
	cookieName       = "wimcast_page"
	secureCookieName = "__Host-wimcast_page"
)

// Results of logins: a closed set.
const (
	LoginAccepted = "accepted"
	LoginRefused  = "refused" // no such token: used, too old, or made up
	LoginLimited  = "limited" // too many from that address
)

// Results returns all of them.
func Results() []string { return []string{LoginAccepted, LoginRefused, LoginLimited} }

// Link makes a one-time link for somebody and returns its token and when it ends.
func (p *Page) Link(by api.Caller) (token string, expires time.Time) {
	name := by.Name
	if name == "" {
		name = by.String()
	}
	token, made := p.tokens.add(name, p.cfg.Now())
	return token, made.expires
}

// Logins counts logins by result.
func (p *Page) Logins() map[string]uint64 {
	return map[string]uint64{
		LoginAccepted: p.logins.accepted.Load(), LoginRefused: p.logins.refused.Load(), LoginLimited: p.logins.limited.Load(),
	}
}

// login takes a token and gives a cookie.
func (p *Page) login(w http.ResponseWriter, r *http.Request) {
	from, _ := netip.ParseAddrPort(r.RemoteAddr)
	now := p.cfg.Now()
	if !p.tries.allow(from.Addr(), now) {
		p.logins.limited.Add(1)
		w.Header().Set("Retry-After", "60")
		problem(w, http.StatusTooManyRequests, "too many tries to log in from this address; next: wait a minute, then wimcast page")
		return
	}
	var request struct {
		Token string `json:"token"`
	}
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxLogin))
	if err := decoder.Decode(&request); err != nil {
		p.logins.refused.Add(1)
		problem(w, http.StatusBadRequest, "read login: "+err.Error())
		return
	}
	token := p.tokens.find(request.Token, now, true)
	if token == nil {
		p.logins.refused.Add(1)
		p.cfg.Log.Warn("page login refused", zap.String("from", r.RemoteAddr), zap.Error(errors.New("no such token")))
		problem(w, http.StatusForbidden, "this link was used already, or is older than five minutes; next: wimcast page")
		return
	}
	text, session := p.sessions.add(token.by, now)
	p.logins.accepted.Add(1)
	p.cfg.Log.Info("page login", zap.String("by", token.by), zap.String("from", r.RemoteAddr), zap.Time("until", session.expires))
	http.SetCookie(w, &http.Cookie{ //nolint:gosec // Secure where it is HTTPS; plain HTTP is on loopback alone
		Name: p.cookie(), Value: text, Path: "/", MaxAge: int(sessionLife.Seconds()), HttpOnly: true, Secure: p.cfg.Secure, SameSite: http.SameSiteStrictMode,
	})
	w.WriteHeader(http.StatusNoContent)
}

// logout ends the cookie's session, here and in the browser.
func (p *Page) logout(w http.ResponseWriter, r *http.Request) {
	if c, err := r.Cookie(p.cookie()); err == nil {
		p.sessions.find(c.Value, p.cfg.Now(), true)
	}
	http.SetCookie(w, &http.Cookie{ //nolint:gosec // as above
		Name: p.cookie(), Path: "/", MaxAge: -1, HttpOnly: true, Secure: p.cfg.Secure, SameSite: http.SameSiteStrictMode,
	})
	w.WriteHeader(http.StatusNoContent)
}

func (p *Page) cookie() string {
	if p.cfg.Secure {
		return secureCookieName
	}
	return cookieName
}

// problem answers with a problem (RFC 9457).
func problem(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(api.Problem{Type: api.TypeOther, Title: http.StatusText(status), Status: status, Detail: detail})
}
