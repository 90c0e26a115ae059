package bootimage

import (
	"debug/pe"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"wimcast/library/wim"
)

// Content is what goes into a boot image.
type Content struct {
	Program string   // file; must be for the image's processor
	Bundle  []byte   // text of a join bundle; the caller has held that it may go into an image
	Drivers string   // folder, or ""
	Options []string // of wimcast winpe run; the caller has held that they are
}

// machines are the processors that there is a program for: what the image's XML says, and the program's header.
var machines = map[wim.Architecture]uint16{9: pe.IMAGE_FILE_MACHINE_AMD64, 12: pe.IMAGE_FILE_MACHINE_ARM64}

// CheckArchitecture says whether there is a client for the image's processor.
func (b *Boot) CheckArchitecture() error {
	switch _, known := machines[b.Image.Architecture]; {
	case !b.Image.HasArchitecture:
		return fmt.Errorf("boot image %s: the XML of image %d doesn't say for which processor it is; next: wimlib-imagex info %s %d --image-property WINDOWS/ARCH=9 (12 for arm64)",
			filepath.Base(b.File), b.Image.Index, filepath.Base(b.File), b.Image.Index)
	case !known:
		return fmt.Errorf("boot image %s: image %d is for %s, and wimcast.exe is for x64 and arm64 only; next: name a boot image of one of those",
			filepath.Base(b.File), b.Image.Index, b.Image.Architecture)
	}
	return nil
}

// checkProgram holds a program against the processor of the image.
func checkProgram(file string, want wim.Architecture) error {
	f, err := pe.Open(file)
	if err != nil {
		if _, missing := errors.AsType[*fs.PathError](err); missing {
			return err
		}
		return fmt.Errorf("%s is no Windows program (%.80s)", file, err.Error())
	}
	defer func() { _ = f.Close() }()
	if f.Machine != machines[want] || f.Characteristics&pe.IMAGE_FILE_DLL != 0 {
		return fmt.Errorf("%s isn't a program for %s, which the image is for (its machine type is %#x, not %#x)", file, want, f.Machine, machines[want])
	}
	return nil
}

// stage writes the folder that goes into the image below to, and returns how much of it there is.
func (b *Boot) stage(to string, c *Content, start *edit) (drivers int, err error) {
	if err := checkProgram(c.Program, b.Image.Architecture); err != nil {
		return 0, err
	}
	root, err := os.OpenRoot(to)
	if err != nil {
		return 0, err
	}
	defer func() { _ = root.Close() }()
	program, err := os.Open(c.Program)
	if err != nil {
		return 0, err
	}
	defer func() { _ = program.Close() }()
	if err := writeFile(root, programName, program, maxProgram); err != nil {
		return 0, err
	}
	if c.Drivers != "" {
		if drivers, err = stageDrivers(root, c.Drivers); err != nil {
			return 0, fmt.Errorf("drivers in %s: %w", c.Drivers, err)
		}
	}
	text, err := script(c.Options, drivers > 0)
	if err != nil {
		return 0, err
	}
	rec := record{Format: recordFormat, Kind: b.Kind}
	if start != nil {
		rec.Start, rec.Made, rec.SHA256 = b.start.path, b.start.original == nil, hash(start.text)
	}
	said, err := rec.marshal()
	if err != nil {
		return 0, err
	}
	files := map[string][]byte{scriptName: text, bundleName: c.Bundle, recordName: said}
	if start != nil && b.start.original != nil {
		if err := root.Mkdir(savedName, 0o700); err != nil {
			return 0, err
		}
		files[savedName+"/"+strings.ToLower(path.Base(b.start.path))] = b.start.original
	}
	for name, text := range files {
		if err := root.WriteFile(name, text, 0o600); err != nil {
			return 0, err
		}
	}
	return drivers, nil
}

// stageDrivers copies a folder of drivers and returns how many .inf files are in it.
func stageDrivers(to *os.Root, folder string) (infs int, err error) {
	from, err := os.OpenRoot(folder)
	if err != nil {
		return 0, err
	}
	defer func() { _ = from.Close() }()
	seen := map[string]string{}
	files, room := 0, int64(maxDrivers)
	err = fs.WalkDir(from.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && name == "." {
			return to.Mkdir(driversName, 0o700)
		}
		if err := checkName(path.Base(name)); err != nil {
			return fmt.Errorf("%q: %w", name, err)
		}
		if other, twice := seen[strings.ToLower(name)]; twice {
			return fmt.Errorf("%q and %q are one name to Windows", other, name)
		}
		seen[strings.ToLower(name)] = name
		target := driversName + "/" + name
		switch {
		case entry.IsDir():
			return to.Mkdir(target, 0o700)
		case !entry.Type().IsRegular():
			return fmt.Errorf("%q is neither a file nor a folder; links and devices aren't followed", name)
		}
		if files++; files > maxDriverFiles {
			return fmt.Errorf("more than %d files; next: name a folder with the drivers that Windows PE needs: network and storage", maxDriverFiles)
		}
		if strings.EqualFold(path.Ext(name), ".inf") {
			infs++
		}
		f, err := from.Open(name)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		info, err := f.Stat()
		if err != nil {
			return err
		}
		if room -= info.Size(); room < 0 {
			return fmt.Errorf("more than %d MiB, and Windows PE keeps them in memory; next: name a folder with the drivers that it needs: network and storage", maxDrivers>>20)
		}
		return writeFile(to, target, f, info.Size())
	})
	if err == nil && infs == 0 {
		err = errors.New("there is no .inf file; next: unpack the drivers first")
	}
	return infs, err
}

// checkName holds a file's name against what Windows and scripts can have.
func checkName(name string) error {
	bad := strings.ContainsFunc(name, func(r rune) bool {
		return r < ' ' || r == 0x7f || r == '\uFFFD' || strings.ContainsRune(`<>:"/\|?*`, r)
	})
	if bad || strings.HasSuffix(name, ".") || strings.HasSuffix(name, " ") {
		return errors.New("Windows can't have such a name")
	}
	return nil
}

// writeFile copies at most bound bytes to a new file.
func writeFile(root *os.Root, name string, from io.Reader, bound int64) error {
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	n, err := io.Copy(f, io.LimitReader(from, bound+1))
	if err == nil && n > bound {
		err = fmt.Errorf("%s has more than %d bytes", name, bound)
	}
	return errors.Join(err, f.Close())
}
