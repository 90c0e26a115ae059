package usage

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
)

// grammar is a small command line with one of each thing.
type grammar struct {
	Image struct {
		Add struct {
			Source  string   `arg:"" help:"What is added."`
			Kind    string   `help:"Kind." enum:"os,boot,driver" default:"os"`
			Comment string   `short:"c" help:"Comment - with a dash. And \\ a backslash." placeholder:"TEXT"`
			Encrypt bool     `negatable:"" help:"Encrypt."`
			Secret  string   `hidden:"" help:"For tests."`
			More    []string `arg:"" optional:"" enum:"one,two" help:"More."`
		} `cmd:"" help:"Add an image."`
		Append struct{} `cmd:"" help:"Append to one."`
		List   struct{} `cmd:"" aliases:"ls" help:"List them."`
		Ghost  struct{} `cmd:"" hidden:""`
	} `cmd:"" help:"Manage images."`
	Set struct {
		Mode string `arg:"" enum:"on,off" help:".dotted help, first."`
	} `cmd:"" help:"Set it."`
	JSON   bool   `help:"Print JSON."`
	Server string `help:"Server." env:"TEST_SERVER" placeholder:"HOST"`
}

func model(t *testing.T) *kong.Application {
	t.Helper()
	parser, err := kong.New(&grammar{}, kong.Name("tool"), kong.Description("Does things."))
	if err != nil {
		t.Fatal(err)
	}
	return parser.Model
}

func TestComplete(t *testing.T) {
	app := model(t)
	for line, want := range map[string]string{
		"":                              "image set",
		"i":                             "image",
		"image a":                       "add append",
		"image ":                        "add append list",
		"image ls ":                     "",
		"image add x ":                  "one two",
		"image add x one t":             "two",
		"image add --k":                 "--kind",
		"image add --kind ":             "os boot driver",
		"image add --kind b":            "boot",
		"image add --kind=d":            "--kind=driver",
		"image add --kind = o":          "os", // as bash splits it
		"image add --kind =":            "os boot driver",
		"image add --comment i":         "", // its value, not a command
		"image add -c TEXT x t":         "two",
		"image add --no-e":              "--no-encrypt",
		"image add --s":                 "--server", // nothing that is hidden
		"image add --nothing=x":         "",
		"--json set ":                   "on off",
		"--server on set o":             "on off",
		"set -- o":                      "on off",
		"set -- -":                      "",
		"image add --encrypt x --json ": "one two",
	} {
		var got []string
		for _, c := range Complete(app.Node, strings.Split(line, " ")) {
			got = append(got, c.Word)
		}
		if text := strings.Join(got, " "); text != want {
			t.Errorf("%q: %q, want %q", line, text, want)
		}
	}
	if got := Complete(app.Node, nil); len(got) != 2 || got[0].Help != "Manage images." {
		t.Errorf("nothing typed: %v", got)
	}
}

func TestPage(t *testing.T) {
	page := Page(model(t), Manual{
		Section: 1, Description: []string{"One. Two."}, See: map[string]int{"later": 8, "early": 1},
		Exit: [][2]string{{"0", "Good."}}, Files: [][2]string{{"/etc/x", "It."}},
	}, time.Date(2026, 3, 4, 0, 0, 0, 0, time.UTC))
	for _, want := range []string{
		".Dd March 4, 2026\n.Dt TOOL 1\n", ".Nm \"tool\"\n.Nd \"Does things\"\n", "\nOne.\nTwo.\n",
		".Ss \"image add <source> [<more> ...]\"\\&\nAdd an image.\n", ".It Fl c , Fl \"\\-comment\" Ns \"=\" Ns Ar \"TEXT\"\nComment \\- with a dash.\nAnd \\e a backslash.\n",
		"\\-[no\\-]encrypt", "One of: os, boot, driver.\n", "\n\\&.dotted help, first.\n",
		".Sh ENVIRONMENT\n.Bl -tag -width Ds\n.It Ev \"TEST_SERVER\"\n", ".Xr early 1 ,\n.Xr later 8\n",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	for _, never := range []string{"secret", "ghost"} {
		if strings.Contains(page, never) {
			t.Errorf("the page has %s, which is hidden", never)
		}
	}
	if t.Failed() {
		t.Log(page)
	}
}

// TestConfiguration: every key of the example is on the page, under its table, with
// every word that is said of it.
func TestConfiguration(t *testing.T) {
	example, err := os.ReadFile("../../deploy/wimcastd.toml")
	if err != nil {
		t.Fatal(err)
	}
	page := Configuration(string(example), time.Unix(0, 0))
	plain := strings.NewReplacer(`\-`, "-", `\(dq`, `"`, `\e`, `\`, `\&`, "").Replace(page)
	have := strings.Fields(strings.ReplaceAll(plain, `"`, ` `))
	keys := 0
	for line := range strings.Lines(string(example)) {
		if strings.HasPrefix(line, "#") && strings.Contains(line, " = ") {
			keys++
		}
		for word := range strings.FieldsSeq(strings.ReplaceAll(strings.TrimPrefix(line, "#"), `"`, " ")) {
			if word = strings.Trim(word, "[]#"); word != "" && !slices.ContainsFunc(have, func(h string) bool { return strings.Contains(h, word) }) {
				t.Errorf("the page lacks %q of %q", word, line)
			}
		}
	}
	if keys < 50 {
		t.Errorf("%d keys: the example isn't read", keys)
	}
}

func TestAsked(t *testing.T) {
	app := model(t)
	t.Setenv("SOURCE_DATE_EPOCH", "0")
	for _, c := range []struct {
		args  []string
		asked bool
		want  string
	}{
		{nil, false, ""},
		{[]string{"image", "manual"}, false, ""},
		{[]string{"manual"}, true, ".Dd January 1, 1970\n.Dt TOOL 1\n"},
		{[]string{"complete", "--", "image", "li"}, true, "list\tList them.\n"},
	} {
		var out bytes.Buffer
		asked, err := Asked(app, Manual{Section: 1}, c.args, &out)
		if asked != c.asked || err != nil || !strings.HasPrefix(out.String(), c.want) {
			t.Errorf("%q: %v, %v, %q", c.args, asked, err, out.String())
		}
	}
	if _, err := Asked(app, Manual{}, []string{"manual", "no such file"}, &bytes.Buffer{}); err == nil {
		t.Error("a configuration that isn't there is taken")
	}
	t.Setenv("SOURCE_DATE_EPOCH", "today")
	if _, err := Asked(app, Manual{}, []string{"manual"}, &bytes.Buffer{}); err == nil {
		t.Error("SOURCE_DATE_EPOCH=today is taken")
	}
}
