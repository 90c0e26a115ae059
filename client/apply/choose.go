package apply

import (
	"fmt"
	"strconv"
	"strings"

	"wimcast/library/wim"
)

// Bounds of what is listed of a WIM's images.
const (
	maxListed = 20
	maxName   = 60 // bytes of a name
)

// CheckWant refuses what can't be meant before the WIM is there. want is what a person names, an index or a name, "" for nothing; images
// says how many images there are (0: not known), index which one is meant where nobody names any (0: none). Errors match ErrIndex.
func CheckWant(want string, images, index int) error {
	if n, err := strconv.Atoi(want); err == nil && images > 0 && (n < 1 || n > images) {
		return &failure{kind: ErrIndex, text: fmt.Sprintf("apply: index %d: the package has %d images; next: name one of them by --index N", n, images)}
	}
	if want == "" && index == 0 && images > 1 {
		return &failure{kind: ErrIndex, text: fmt.Sprintf("apply: the package has %d images and the deployment names none; next: name one by --index N or --index NAME (on the server: wimcast image show)", images)}
	}
	return nil
}

// Choose returns the image that is meant, as CheckWant has it. A name is compared exactly, then without regard to case. The error matches
// ErrIndex and lists what there is.
func Choose(images []wim.Image, want string, index int) (wim.Image, error) {
	if want == "" && index == 0 && len(images) == 1 {
		index = 1
	}
	n, err := strconv.Atoi(want)
	if want == "" {
		n, err = index, nil
	}
	if err == nil && n >= 1 && n <= len(images) {
		return images[n-1], nil
	}
	why := "none is named"
	switch {
	case want == "" && index > 0, want != "" && err == nil:
		why = fmt.Sprintf("there is no index %d", n)
	case want != "":
		for _, same := range []func(a, b string) bool{func(a, b string) bool { return a == b }, strings.EqualFold} {
			var found []wim.Image
			for _, image := range images {
				if same(image.Name, want) {
					found = append(found, image)
				}
			}
			if len(found) == 1 {
				return found[0], nil
			}
			if len(found) > 1 {
				return wim.Image{}, &failure{kind: ErrIndex, text: fmt.Sprintf("apply: %d images are called %.*q: %s; next: name one by --index N", len(found), maxName, want, list(found))}
			}
		}
		why = fmt.Sprintf("none is called %.*q", maxName, want)
	}
	return wim.Image{}, &failure{kind: ErrIndex, text: fmt.Sprintf("apply: %s; there are %s; next: name one by --index N", why, list(images))}
}

// list names images as people choose them. Names come from the file, and are quoted for that.
func list(images []wim.Image) string {
	var parts []string
	for i, image := range images {
		if i == maxListed {
			parts = append(parts, fmt.Sprintf("and %d more", len(images)-i))
			break
		}
		parts = append(parts, fmt.Sprintf("%d %.*q", image.Index, maxName, image.Name))
	}
	if len(parts) == 0 {
		return "no images"
	}
	return strings.Join(parts, ", ")
}
