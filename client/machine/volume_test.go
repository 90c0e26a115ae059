package machine

import (
	"strings"
	"testing"
)

func TestChoose(t *testing.T) {
	const gb = 1_000_000_000
	v := func(root, label string, free int64) Candidate {
		return Candidate{Volume: Volume{Root: root, Label: label, Free: free * gb}}
	}
	with := func(c Candidate, change func(*Candidate)) Candidate { change(&c); return c }
	system, data := v(`C:\`, "System", 100), v(`D:\`, "Data", 400)
	ram := with(v(`X:\`, "Boot", 1), func(c *Candidate) { c.Spare = inMemory })
	stick := with(v(`E:\`, "STICK", 900), func(c *Candidate) { c.Spare = removable })
	fat := with(v(`F:\`, "EFI", 600), func(c *Candidate) { c.Largest = fat32 })
	cd := with(v(`G:\`, "", 0), func(c *Candidate) { c.Unfit = readOnly })
	work := func(c *Candidate) { c.Work = true }
	held := func(n int64) func(*Candidate) { return func(c *Candidate) { c.Held, c.Work = n*gb, true } }
	for _, tc := range []struct {
		name       string
		candidates []Candidate
		label      string
		want       string // root
		err        string
	}{
		{"most room", []Candidate{system, data, ram, stick, fat, cd}, "", `D:\`, ""},
		{"the one with a work folder", []Candidate{with(system, work), data}, "", `C:\`, ""},
		{"the one with most of it", []Candidate{with(system, held(1)), with(data, held(2)), with(v(`H:\`, "", 900), work)}, "", `D:\`, ""},
		{"little room, but most is there", []Candidate{with(v(`C:\`, "", 1), held(4)), data}, "", `C:\`, ""},
		{"named", []Candidate{system, with(data, held(3))}, "system", `C:\`, ""},
		{"named by its letter", []Candidate{system, data}, "c:", `C:\`, ""},
		{"a stick that is named", []Candidate{system, stick}, "STICK", `E:\`, ""},
		{"a stick with some of it isn't taken", []Candidate{system, with(stick, held(3))}, "", `C:\`, ""},
		{"no such label", []Candidate{system, data}, "Windows", "", `find volume "Windows": there is none of that label; there are C:\ (System), D:\ (Data); next: `},
		{"two of a label", []Candidate{system, v(`D:\`, "SYSTEM", 7)}, "System", "", `find volume "System": several have that label: C:\ (System), D:\ (SYSTEM); next: `},
		{"two of a label, one worked on", []Candidate{system, with(v(`D:\`, "System", 7), work)}, "System", `D:\`, ""},
		{"FAT32 that is named", []Candidate{system, fat}, "EFI", "", `none can take 5.0 GB: F:\ (EFI) is FAT32, whose files end at 4 GiB; next: `},
		{"nothing fits", []Candidate{v(`C:\`, "", 4), ram, stick, cd}, "", "", `none can take 5.0 GB: C:\ has 4.0 GB free, X:\ (Boot) is in memory, E:\ (STICK) is removable, G:\ is read-only; next: name another by its label: --volume LABEL`},
		{"none", nil, "", "", "find volume: this machine has none; next: "},
		{"none to name", nil, "Windows", "", "there are no volumes"},
		{"unlabelled ones don't answer to nothing", []Candidate{cd, system}, `\`, "", "there is none of that label"},
	} {
		got, err := Choose(tc.candidates, tc.label, 5*gb)
		if got.Root != tc.want || (err == nil) != (tc.err == "") || err != nil && !strings.Contains(err.Error(), tc.err) {
			t.Errorf("%s: %s, %v; want %s, %s", tc.name, got.Root, err, tc.want, tc.err)
		}
	}
}
