package docs

import (
	"slices"
	"strings"
	"testing"
)

const page = "# A page\n" + `
Text.

    wimcast image list
    # nft add rule
    printf '%s' 'a' \
      'b' >file
    { one
      two; }

## A page

<!-- run by TestElsewhere -->
    make package

- an item:

      # tar -cf ca.tar ca

  not code, though indented

` + "```toml\nlisten = \"x\" # no command\n```\n" + `
    $ wimcast fleet status
    POINT  PACKAGE
    north$ wimcast image list

` + "```sh\nwimcast doctor\n```\n\n```bat\ndir W:\\\nwpeutil Reboot\n```\n\n```\n    drawn\n```\n[a](b.md#c) `[no](x)` [d](https://e)\n"

func TestBlocks(t *testing.T) {
	blocks, err := Blocks(page)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, b := range blocks {
		for _, c := range b.Commands() {
			if !strings.Contains(strings.Split(page, "\n")[c.Line-1], strings.Split(c.Text, "\n")[0]) {
				t.Errorf("%q isn't in line %d", c.Text, c.Line)
			}
			root := ""
			if c.Root {
				root = "#"
			}
			got = append(got, b.Lang+"|"+b.Note+"|"+c.Place+"|"+root+"|"+c.Text)
		}
	}
	want := []string{
		"sh||||wimcast image list", "sh|||#|nft add rule", "sh||||printf '%s' 'a' \\\n  'b' >file", "sh||||{ one\n  two; }",
		"sh|run by TestElsewhere|||make package", "sh|||#|tar -cf ca.tar ca", "sh||||wimcast fleet status", "sh||north||wimcast image list",
		"sh||||wimcast doctor", `bat||||dir W:\`, "bat||||wpeutil Reboot",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestUnclosedFence(t *testing.T) {
	if _, err := Blocks("text\n```sh\nwimcast doctor\n"); err == nil {
		t.Error("an unclosed fence went through: what stands behind it would never be run")
	}
}

func TestAnchorsAndLinks(t *testing.T) {
	anchors := Anchors(page + "\n## Deployments: who may have `x`?\n## `wimcast get`: exit codes, errors\n```\n# not one\n```\n")
	for _, name := range []string{"a-page", "a-page-1", "deployments-who-may-have-x", "wimcast-get-exit-codes-errors"} {
		if !anchors[name] {
			t.Errorf("no anchor %s in %v", name, anchors)
		}
	}
	if len(anchors) != 4 {
		t.Errorf("anchors %v", anchors)
	}
	if got := Links(page); !slices.Equal(got, []string{"b.md#c", "https://e"}) {
		t.Errorf("links %v", got)
	}
}
