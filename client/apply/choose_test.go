package apply

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"wimcast/library/wim"
)

func named(names ...string) (images []wim.Image) {
	for i, name := range names {
		images = append(images, wim.Image{Index: i + 1, Name: name})
	}
	return images
}

func TestChoose(t *testing.T) {
	media := named("Windows 11 Home", "Windows 11 Pro", "windows 11 pro", "Twice", "TWICE", "twice", "7")
	for _, tc := range []struct {
		images []wim.Image
		want   string
		index  int
		chosen int
		says   string
	}{
		{media, "2", 0, 2, ""},
		{media, "2", 5, 2, ""}, // a person's word goes before the deployment's
		{media, "", 5, 5, ""},
		{media, "Windows 11 Pro", 0, 2, ""},
		{media, "windows 11 pro", 0, 3, ""},
		{media, "WINDOWS 11 HOME", 0, 1, ""},
		{media, "7", 0, 7, ""},
		{named("One"), "", 0, 1, ""},
		{media, "TwIcE", 0, 0, `3 images are called "TwIcE": 4 "Twice", 5 "TWICE", 6 "twice"; next: name one by --index N`},
		{media, "8", 0, 0, `there is no index 8; there are 1 "Windows 11 Home", 2 "Windows 11 Pro"`},
		{media, "0", 0, 0, "there is no index 0"},
		{media, "-1", 0, 0, "there is no index -1"},
		{media, "", 9, 0, "there is no index 9"},
		{media, "Server", 0, 0, `none is called "Server"; there are 1 "Windows 11 Home"`},
		{media, "", 0, 0, "none is named; there are 1"},
		{nil, "", 0, 0, "there are no images"},
		{named("\x1b[2J\nevil", "b"), "", 0, 0, `1 "\x1b[2J\nevil"`},
	} {
		got, err := Choose(tc.images, tc.want, tc.index)
		if tc.says == "" && (err != nil || got.Index != tc.chosen) {
			t.Errorf("%q, %d: %d, %v; want %d", tc.want, tc.index, got.Index, err, tc.chosen)
		}
		if tc.says != "" && (!errors.Is(err, ErrIndex) || !strings.Contains(err.Error(), tc.says)) {
			t.Errorf("%q, %d: %v; want %q", tc.want, tc.index, err, tc.says)
		}
	}
	var many []string
	for i := range 200 {
		many = append(many, fmt.Sprint("edition ", i))
	}
	if _, err := Choose(named(many...), "x", 0); err == nil || !strings.Contains(err.Error(), "and 180 more") || len(err.Error()) > 1000 {
		t.Errorf("200 images: %v", err)
	}
}

func TestCheckWant(t *testing.T) {
	for _, tc := range []struct {
		want          string
		images, index int
		says          string
	}{
		{"", 1, 1, ""},
		{"", 11, 6, ""},
		{"3", 11, 6, ""},
		{"Windows 11 Pro", 11, 0, ""},
		{"3", 0, 0, ""}, // it isn't known how many there are
		{"", 0, 0, ""},
		{"", 11, 0, "the package has 11 images and the deployment names none"},
		{"12", 11, 6, "index 12: the package has 11 images"},
		{"0", 11, 6, "index 0: the package has 11 images"},
	} {
		err := CheckWant(tc.want, tc.images, tc.index)
		if tc.says == "" && err != nil || tc.says != "" && (!errors.Is(err, ErrIndex) || !strings.Contains(err.Error(), tc.says)) {
			t.Errorf("%q of %d, %d: %v; want %q", tc.want, tc.images, tc.index, err, tc.says)
		}
	}
}
