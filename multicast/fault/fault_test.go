package fault

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
	"unicode"
)

// samples has a fault of each constructor, by its name.
func samples() map[string]Fault {
	group, server := netip.MustParseAddrPort("239.195.16.1:63000"), netip.MustParseAddrPort("10.77.0.1:7600")
	client, err := netip.MustParseAddr("10.77.1.11"), errors.New("network is unreachable")
	end := time.Unix(1_700_000_000, 0)
	return map[string]Fault{
		"GroupSilent":       GroupSilent(group, 10*time.Second),
		"ManySilent":        ManySilent(4, time.Minute, group, true),
		"Forgotten":         Forgotten(group, 2),
		"Pruned":            Pruned(group, "eth0"),
		"Firewall":          Firewall(group, "eth0", 990, 1000),
		"OutOfReach":        OutOfReach(client, group),
		"PacketsTooLarge":   PacketsTooLarge(1448, 1372),
		"LargePacketsLost":  LargePacketsLost(1476, 1400),
		"Loss":              Loss(0.081, 81, 1000),
		"SourceJoin":        SourceJoin(group, server.Addr()),
		"NoQuerier":         NoQuerier("eth1", 125*time.Second),
		"OldIGMP":           OldIGMP("eth1", 2),
		"SecondServer":      SecondServer(group, client),
		"SharedMAC":         SharedMAC("239.0.0.1 has the MAC address of 224.0.0.1"),
		"NothingSent":       NothingSent(),
		"ReceiveBuffer":     ReceiveBuffer(4<<20, 208<<10),
		"BufferDrops":       BufferDrops(7),
		"JoinFailed":        JoinFailed(err),
		"InterfaceDown":     InterfaceDown("eth0", err),
		"CeilingAboveSpeed": CeilingAboveSpeed("eth0", 112_500_000, 100_000_000),
		"DiskSlow":          DiskSlow("D:", 12e6, 112e6),
		"DiskFailed":        DiskFailed("D:", err),
		"LibrarySlow":       LibrarySlow(50e6, 112e6),
		"LibraryFailed":     LibraryFailed("w11@1", err),
		"LittleSpace":       LittleSpace("/var/lib/wimcast", 3_100_000_000),
		"ClockWrong":        ClockWrong(-1095 * 24 * time.Hour),
		"NotRunning":        NotRunning(server),
		"UDPBlocked":        UDPBlocked(server),
		"HostSilent":        HostSilent(server),
		"MissingAdapter":    MissingAdapter(),
		"MissingDriver":     MissingDriver([]string{"VEN_8086&DEV_15F3"}),
		"AdaptersOff":       AdaptersOff([]string{"eth0"}),
		"MissingLink":       MissingLink([]string{"eth0"}, []string{"VEN_8086&DEV_15F3"}),
		"MissingAddress":    MissingAddress([]string{"eth0"}, netip.MustParseAddr("169.254.7.9")),
		"RoomClosed":        RoomClosed("bundle room12 wants a PIN, and its room is closed; next, on the server: wimcast pin set room12"),
		"ServerIsGone":      ServerIsGone("dial 10.77.0.1:7600: refused"),
		"GoesByUnicast":     GoesByUnicast("the group is silent"),
		"BlockIsBad":        BlockIsBad("block 7 failed its hash and is fetched again"),
		"SilentServer":      SilentServer([]string{server.String()}, netip.MustParseAddr("10.77.0.11")),
		"UnknownName":       UnknownName([]string{"wim.example:7600"}, netip.Addr{}),
		"NoRoute":           NoRoute([]string{server.String()}, netip.MustParseAddr("10.77.0.11")),
		"TCPBlocked":        TCPBlocked(server),
		"TCPStalls":         TCPStalls(server),
		"Refused":           Refused(errors.New("certificate refused: expired; write a new bundle: wimcast bundle create")),
		"Expired":           Expired("bundle room", end, 49*time.Hour),
		"Expires":           Expires("bundle room", end, 47*time.Hour),
		"WrongRole":         WrongRole("client"),
		"NoDaemon":          NoDaemon("/run/wimcast/admin.sock", err),
	}
}

// files are those whose constructors samples has.
var files = []string{"group.go", "machine.go", "control.go", "network.go", "client.go"}

// TestSentences: every constructor makes one plain sentence for what is wrong and one for what to do, short enough for a control message.
func TestSentences(t *testing.T) {
	const longest = 255 // of a string in a control message
	got := samples()
	for name, f := range got {
		switch next := f.Next; {
		case f.Kind == "" || strings.ToLower(string(f.Kind)) != string(f.Kind) || strings.ContainsAny(string(f.Kind), " -"):
			t.Errorf("%s: kind %q", name, f.Kind)
		case f.Text == "" || unicode.IsUpper(rune(f.Text[0])) && !strings.HasPrefix(f.Text, "TCP ") && name != "DiskSlow" && name != "DiskFailed":
			t.Errorf("%s: %q", name, f.Text)
		case next == "" && name != "Refused" && (name != "ReceiveBuffer" || runtime.GOOS == "linux"):
			t.Errorf("%s: nothing is said of what to do", name)
		case strings.HasSuffix(f.String(), ".") || strings.Contains(f.String(), "\n") || strings.Contains(f.String(), "%!"):
			t.Errorf("%s: %q", name, f)
		case len(f.String()) > longest:
			t.Errorf("%s: %d bytes, at most %d: %s", name, len(f.String()), longest, f)
		}
	}
	set := token.NewFileSet()
	for _, name := range files {
		text, err := os.ReadFile(filepath.Clean(name))
		if err != nil {
			t.Fatal(err)
		}
		file, err := parser.ParseFile(set, name, text, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			f, is := d.(*ast.FuncDecl)
			if !is || !f.Name.IsExported() {
				continue
			}
			if _, has := got[f.Name.Name]; !has {
				t.Errorf("%s: no sample", f.Name.Name)
			}
		}
	}
}

// TestDays: times as people say them.
func TestDays(t *testing.T) {
	for d, want := range map[time.Duration]string{
		400 * 24 * time.Hour: "400 days", 47 * time.Hour: "47 hours", 90 * time.Minute: "90 minutes", 61 * time.Second: "1m1s", 0: "0s",
	} {
		if got := days(d); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
}
