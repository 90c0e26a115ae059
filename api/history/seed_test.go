package history

import (
	"path/filepath"
	"testing"

	"wimcast/api"
	"wimcast/session"
)

// TestSeedBytes records what came from a seed, in a file of before there were any.
func TestSeedBytes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "history.db")
	db := raw(t, path)
	if err := migrate(t.Context(), db, migrations[:1]); err != nil {
		t.Fatal(err)
	}
	const before = `INSERT INTO sessions VALUES (1, x'00112233445566778899aabbccddeeff', 's1', 'w11@1', '00', 'encrypted', '', 1, 0, 0, 0, 'ended', '', 0, 0, 0, 0, 0, 0, 0, 0, 0);
		INSERT INTO clients VALUES (1, 1, 1, 'm', 'pc00', '', '', '', '', '', '', '', 'proven', '', 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 7, 8, 9)`
	if _, err := db.Exec(before); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}

	s := open(t, path, Config{})
	c := ended(joined(1, "pc01", 0), session.ClientProven, 5)
	c.Multicast, c.Seed = 1e8, 9e8
	info := cast(2, "w11@2", 0)
	told(s, over(info, 6, c))
	s.Sync(t.Context())
	list, err := s.Clients(t.Context(), api.HistoryQuery{})
	if err != nil || len(list) != 2 {
		t.Fatalf("%+v, %v", list, err)
	}
	for _, c := range list {
		want := api.HistoryClient{MulticastBytes: 7, UnicastBytes: 8, HeldBytes: 9}
		if c.Name == "pc01" {
			want = api.HistoryClient{MulticastBytes: 1e8, SeedBytes: 9e8}
		}
		if c.MulticastBytes != want.MulticastBytes || c.UnicastBytes != want.UnicastBytes || c.HeldBytes != want.HeldBytes || c.SeedBytes != want.SeedBytes {
			t.Errorf("%+v", c)
		}
	}
	proof, err := s.Proof(t.Context(), info.Digest.String(), api.HistoryQuery{Clients: []string{"pc01"}})
	if err != nil || len(proof.Machines) != 1 || proof.Machines[0].Path != "seed" {
		t.Errorf("%+v, %v", proof, err)
	}
}
