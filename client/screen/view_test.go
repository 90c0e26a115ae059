package screen

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"wimcast/multicast/fault"
	"wimcast/session"
)

var update = flag.Bool("update", false, "rewrite testdata/*.txt")

// scenes is a state for each phase, as a room brings them.
func scenes() map[string]State {
	at := time.Date(2026, 11, 26, 14, 2, 11, 0, time.UTC)
	event := func(s int, text string) Line { return Line{At: at.Add(time.Duration(s) * time.Second), Text: text} }
	base := State{
		Asked: "lab12", Package: "w11@2026.11", Server: "fs1:7600 (10.1.2.3)", Elapsed: 64 * time.Second, Size: 4_500_000_000,
		Events: []Line{
			event(0, "looking for the distribution point"), event(1, "joined w11@2026.11 (encrypted) at group 239.195.16.1:63000"),
			event(2, "hearing group 239.195.16.1:63000"), event(3, "manifest proven: 24969 blocks"),
		},
	}
	looking := State{Asked: "lab12", Elapsed: 4 * time.Second, Events: []Line{event(0, "looking for the distribution point")}}
	gone := fault.ServerIsGone("dial 10.1.2.3:7600: no answer for 3s")
	looking.Trouble = &gone

	waiting := base
	waiting.Phase, waiting.Waiting = Waiting, session.Waiting{Start: true, Minimum: 24, Clients: 22, StartIn: 272 * time.Second}
	joined := base
	joined.Phase = Waiting
	clockStart := base
	clockStart.Phase, clockStart.Waiting = Waiting, session.Waiting{Start: true, Clients: 3, StartIn: 2*time.Hour + 5*time.Second}
	queued := base
	queued.Phase, queued.Size, queued.Package = Waiting, 0, ""
	queued.Waiting = session.Waiting{Place: 3, Reason: "the session of w11@2026.11 has all of its 24 clients (session.max_clients)"}

	receiving := base
	receiving.Phase, receiving.Proven, receiving.Rate, receiving.Path = Receiving, 2_115_000_000, 109e6, Multicast
	receiving.Left, receiving.LeftKnown, receiving.Room, receiving.RoomProven = 21*time.Second, true, 24, 12
	quiet := receiving
	silent := fault.GroupSilent(netip.MustParseAddrPort("239.195.16.1:63000"), 7*time.Second)
	quiet.Trouble, quiet.LeftKnown, quiet.Rate = &silent, false, 0
	unicast := receiving
	by := fault.GoesByUnicast("the group is silent: nothing heard for 10s")
	unicast.Trouble, unicast.Path, unicast.Room = &by, Unicast, 0
	stopping := receiving
	stopping.Stopping = true
	pin := looking
	pin.Trouble, pin.Prompt, pin.Answer = nil, "PIN of room12", "****"

	proving := base
	proving.Phase, proving.Proven = Proving, 1_000_000_000
	writing := base
	writing.Phase, writing.Proven, writing.Room, writing.RoomProven = Writing, base.Size, 24, 12
	applying := base
	applying.Phase, applying.Proven, applying.Applied, applying.Detail = Applying, base.Size, 0.128, `image 1 to W:\`
	done := base
	done.Phase, done.Proven, done.Room, done.RoomProven = Done, base.Size, 24, 13
	failed := receiving
	failed.Phase, failed.Code, failed.Room = Failed, 5, 0
	why := Sentence("failed", "the group stays silent, and there is no other way: nothing from group 239.195.16.1:63000 for 30s; next: check IGMP snooping and querier on the switch, TTL, and the firewall of this machine")
	failed.Trouble = &why
	stopped := receiving
	stopped.Phase, stopped.Code = Stopped, 1
	return map[string]State{
		"looking": looking, "joined": joined, "waiting": waiting, "waiting-clock": clockStart, "queued": queued, "receiving": receiving, "quiet": quiet, "unicast": unicast,
		"stopping": stopping, "pin": pin, "proving": proving, "writing": writing, "applying": applying, "done": done, "failed": failed, "stopped": stopped,
	}
}

// TestViewGolden holds each phase against testdata, on a WinPE console and on a small one, with and without block glyphs.
func TestViewGolden(t *testing.T) {
	for name, state := range scenes() {
		for _, size := range []struct {
			width, height int
			look          Look
		}{{80, 25, Look{Blocks: true}}, {40, 12, Look{}}} {
			name := fmt.Sprintf("%s-%dx%d.txt", name, size.width, size.height)
			t.Run(name, func(t *testing.T) {
				got := View(state, size.width, size.height, size.look) + "\n"
				path := filepath.Join("testdata", name)
				if *update {
					if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				if got != string(want) {
					t.Errorf("got\n%s\nwant\n%s", got, want)
				}
			})
		}
	}
}

// TestViewFits: whatever the window, no line is too long, none too many, and what it does is said as long as there is a line.
func TestViewFits(t *testing.T) {
	for name, state := range scenes() {
		for _, look := range []Look{{}, {Blocks: true}} {
			for _, width := range []int{0, 1, 2, 5, 9, 20, 39, 59, 60, 61, 80, 132, 500} {
				for _, height := range []int{0, 1, 2, 3, 5, 8, 12, 17, 18, 21, 22, 25, 60} {
					got := View(state, width, height, look)
					lines := strings.Split(got, "\n")
					if got != "" && len(lines) > height {
						t.Fatalf("%s at %dx%d: %d lines", name, width, height, len(lines))
					}
					for _, line := range lines {
						if n := utf8.RuneCountInString(line); n > max(width-1, 0) {
							t.Fatalf("%s at %dx%d: %d columns: %q", name, width, height, n, line)
						}
						for _, r := range line {
							if r >= 0x7f && !look.Blocks || look.Blocks && r >= 0x7f && !strings.ContainsRune("█░─", r) {
								t.Fatalf("%s: %q isn't on every console", name, r)
							}
						}
					}
					if word, _, _ := strings.Cut(phaseWords[state.Phase].words, " "); width >= 40 && height >= 1 && !strings.Contains(got, word) {
						t.Fatalf("%s at %dx%d doesn't say %s:\n%s", name, width, height, word, got)
					}
					if name == "quiet" && width >= 80 && height >= 6 && !strings.Contains(got, "nothing of group") {
						t.Fatalf("at %dx%d the trouble has no place:\n%s", width, height, got)
					}
				}
			}
		}
	}
}

// TestViewColour: colours are added to the same text, 16 of them, and each line ends plain.
func TestViewColour(t *testing.T) {
	for name, state := range scenes() {
		plain, coloured := View(state, 80, 25, Look{}), View(state, 80, 25, Look{Colour: true})
		if !strings.Contains(coloured, "\x1b[") || strings.Contains(plain, "\x1b") {
			t.Fatalf("%s: colours are missing, or there without being asked for", name)
		}
		if got := strip(coloured); got != plain {
			t.Errorf("%s: with colours the text is\n%s\nwithout\n%s", name, got, plain)
		}
		if strings.Contains(coloured, "38;") || strings.Contains(coloured, "48;") {
			t.Errorf("%s: more than 16 colours", name)
		}
		for line := range strings.SplitSeq(coloured, "\n") {
			if i := strings.LastIndex(line, "\x1b["); i >= 0 && !strings.HasPrefix(line[i:], "\x1b[m") && !strings.HasPrefix(line[i:], "\x1b[0m") {
				t.Errorf("%s: the style of %q goes on into the next line", name, line)
			}
		}
	}
}

// strip takes the style out of a text.
func strip(text string) string {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(text, "\x1b[")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		_, text, _ = strings.Cut(after, "m")
	}
}

// TestViewHostile: names from the network don't steer the terminal, and don't break the lines.
func TestViewHostile(t *testing.T) {
	evil := "w11\x1b[2J\x1b]0;x\a\r\n\u202e\u0301\u200b\u4e2d\xff\x00"
	s := scenes()["unicast"]
	f := fault.Fault{Text: evil, Next: evil}
	s.Package, s.Asked, s.Server, s.Trouble, s.Prompt, s.Answer, s.Detail, s.Waiting.Reason = evil, evil, evil, &f, evil, evil, evil, evil
	s.Events = []Line{{Text: evil}}
	for _, look := range []Look{{}, {Blocks: true}} {
		for _, phase := range []Phase{Looking, Waiting, Receiving, Applying, Failed} {
			s.Phase = phase
			for i, line := range strings.Split(View(s, 80, 25, look), "\n") {
				for _, r := range line {
					if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r > 0x2fff || r == 0x202e || r == 0x301 || r == 0x200b || r == utf8.RuneError {
						t.Errorf("line %d: %q", i, line)
					}
				}
			}
		}
	}
}
