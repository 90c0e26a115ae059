package main

import (
	"strings"
	"testing"

	"wimcast/client/route"
	"wimcast/session"
)

// TestDialAfterStops: who was told by every server that it stops dials them again, and hears an error that isn't final while they don't answer.
func TestDialAfterStops(t *testing.T) {
	for name, servers := range map[string][]route.Way{
		"one server": {{Server: "127.0.0.1:none"}},
		"two":        {{Server: "127.0.0.1:none"}, {Server: "127.0.0.1:nor"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := &reacher{order: func() []route.Way { return servers }}
			r.begin()
			for r.at = range servers {
				if other, _ := r.elsewhere(session.LeaveStops, "it stops"); other != session.OtherLater {
					t.Errorf("elsewhere: %v", other)
				}
			}
			conn, err := r.dial(t.Context())
			if conn != nil || err == nil || strings.Count(err.Error(), "find distribution point") != len(servers) {
				t.Fatalf("%v, %v", conn, err)
			}
			if final, is := err.(interface{ Final() bool }); is && final.Final() {
				t.Errorf("final: %v", err)
			}
		})
	}
}
