package source

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// sourcesDir is the folder of installation media in which the image lies.
const sourcesDir = "sources"

// mediaNames are the names that the image has on installation media, the best first. Media have one of them; where
// somebody put a second beside it, the WIM is what all tools read.
func mediaNames() []string { return []string{"install.wim", "install.esd", "install.swm"} }

// findMedia finds the image in a folder of installation media, or in its folder sources. Names are compared without case:
// ISO 9660, UDF and Windows differ in what they make of them. It returns the path below the folder.
func findMedia(f folder, name string) (string, error) {
	entries, err := f.list(name)
	if err != nil {
		return "", err
	}
	if found := among(entries, mediaNames()); found != "" {
		return found, nil
	}
	for _, e := range entries {
		if !e.IsDir() || !strings.EqualFold(e.Name(), sourcesDir) {
			continue
		}
		inside, err := f.list(path.Join(name, e.Name()))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		if found := among(inside, mediaNames()); found != "" {
			return path.Join(e.Name(), found), nil
		}
	}
	return "", fmt.Errorf("%w: neither %s nor %s/ has %s; next: name the folder of a Windows medium, or the file itself",
		ErrNoImage, path.Base(name), sourcesDir, strings.Join(mediaNames(), ", "))
}

// among returns the name of the first wanted file that is there, as it is written there.
func among(entries []fs.FileInfo, wanted []string) string {
	for _, want := range wanted {
		for _, e := range entries {
			if e.Mode().IsRegular() && strings.EqualFold(e.Name(), want) {
				return e.Name()
			}
		}
	}
	return ""
}
