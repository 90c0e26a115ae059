// Package page is the daemon's web page: what runs, seen in a browser. It only shows; whatever changes something stays with the command
// line and the API.
//
// It serves three things. Files of its own, embedded, open to everybody: they say nothing of this server. Login: a token of a one-time link
// (wimcast page) becomes a cookie; over HTTPS a certificate of role viewer or operator does without both. And behind that a closed list of
// GET routes of the admin API (routes.go), answered by the API's own handler, which is plugged in: this package knows nothing of sessions
// or images.
//
// Tokens and cookies are in memory alone: a restart of the daemon forgets them all.
package page
