package history

import (
	"path/filepath"
	"testing"
	"time"

	"wimcast/api"
	"wimcast/session"
)

// TestApplied: what came of applying stands beside the client that proved the image, also when its session has ended long since, and
// whatever is written of it afterwards. What is told of nobody is nobody's.
func TestApplied(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "history.db"), Config{})
	info := cast(1, "w11@2", 0)
	good, bad, none := ended(joined(1, "pc01", 0), session.ClientProven, 5), ended(joined(2, "pc02", 0), session.ClientProven, 5), ended(joined(3, "pc03", 0), session.ClientProven, 5)
	told(s, over(info, 6, good, bad, none))
	s.Sync(t.Context())
	at := time.UnixMilli(1_700_000_000_000).UTC()
	for _, a := range []session.Applied{
		{Client: 1, Index: 6, Took: 192_500 * time.Millisecond, At: at},
		{Client: 2, Index: 6, Took: time.Second, Failed: true, Reason: "DISM ended with 112\x1b[2J", At: at},
		{Client: 9, Index: 1, At: at},
	} {
		a.Session = info.Session
		s.ClientApplied(a)
	}
	s.ClientApplied(session.Applied{Client: 1, Index: 7, At: at}) // of no session
	s.Sync(t.Context())
	told(s, over(info, 7, good, bad, none))
	s.Sync(t.Context())
	list, err := s.Clients(t.Context(), api.HistoryQuery{})
	if err != nil || len(list) != 3 {
		t.Fatalf("%+v, %v", list, err)
	}
	for _, c := range list {
		want := map[string]api.HistoryClient{
			"pc01": {Applied: at, AppliedIndex: 6, ApplySeconds: 192.5}, "pc02": {Applied: at, AppliedIndex: 6, ApplySeconds: 1, ApplyError: clean("DISM ended with 112\x1b[2J")}, "pc03": {},
		}[c.Name]
		if !c.Applied.Equal(want.Applied) || c.AppliedIndex != want.AppliedIndex || c.ApplySeconds != want.ApplySeconds || c.ApplyError != want.ApplyError || c.State != "proven" {
			t.Errorf("%+v, want %+v", c, want)
		}
	}
}
