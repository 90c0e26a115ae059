package history

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"wimcast/crypto"
	"wimcast/multicast/wire"
	"wimcast/session"
)

// monday is when stories begin.
var monday = time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC)

func open(t *testing.T, path string, cfg Config) *Store {
	t.Helper()
	s, err := Open(path, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func fresh(t *testing.T) *Store { return open(t, filepath.Join(t.TempDir(), "history.db"), Config{}) }

// cast is a session of a package that began so many minutes after monday.
func cast(n int, name string, minute int) session.SessionInfo {
	return session.SessionInfo{
		ID: fmt.Sprintf("s%d", n), Session: crypto.NewSessionID(), Package: name, Digest: crypto.Hash{byte(len(name)), name[0], name[len(name)-1]}, Mode: crypto.Encrypted,
		State: wire.Casting, Group: netip.MustParseAddrPort("239.195.16.1:63000"), Started: monday.Add(time.Duration(minute) * time.Minute), ImageSize: 1e9,
		Sent: session.SentTotals{SourcePackets: 1000, ParityPackets: 20, SourceBytes: 1_408_000, ParityBytes: 28_160}, NACKs: session.NACKTotals{Served: 7, Merged: 3},
	}
}

// joined is a client that joined so many minutes after monday.
func joined(number uint32, name string, minute int) session.ClientInfo {
	return session.ClientInfo{
		Number: number, Name: name, Peer: session.Peer{Name: "room12", Role: "winpe", Serial: "c0ffee", Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(number)}), 4000)},
		Machine: wire.Machine{Host: name, MACs: fmt.Sprintf("02:00:00:00:00:%02x", number)}, State: session.ClientReceiving, Joined: monday.Add(time.Duration(minute) * time.Minute), Progress: 0.5,
	}
}

// ended is a client that ended so many minutes after monday.
func ended(c session.ClientInfo, state session.ClientState, minute int) session.ClientInfo {
	c.State, c.Ended = state, monday.Add(time.Duration(minute)*time.Minute)
	if state == session.ClientProven {
		c.Progress, c.Multicast = 1, 1e9
	}
	return c
}

// over is a session that ended so many minutes after monday, with clients.
func over(info session.SessionInfo, minute int, clients ...session.ClientInfo) session.SessionInfo {
	info.State, info.Ended, info.Reason, info.Clients = wire.Ended, monday.Add(time.Duration(minute)*time.Minute), "every client is done", clients
	return info
}

// told hands a session that ended to the store as a session.Server does.
func told(s *Store, info session.SessionInfo) {
	for _, c := range info.Clients {
		running := info
		running.Ended, running.Clients, running.Reason = time.Time{}, nil, ""
		s.ClientEnded(running, c)
	}
	s.SessionEnded(info)
}

// live is what a session.Server says while sessions run.
func live(sessions ...session.SessionInfo) func() (running, ended []session.SessionInfo) {
	return func() (running, ended []session.SessionInfo) { return sessions, nil }
}
