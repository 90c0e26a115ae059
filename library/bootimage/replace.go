package bootimage

import (
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"

	"wimcast/library/wim"
	"wimcast/library/wimlib"
)

// Names beside the boot image.
const (
	originalEnd = ".orig"
	// newEnd is that of the copy that is worked on. It keeps a second run away too.
	newEnd = ".new"
)

// original returns FILE.orig, and holds that it is this file where it is there already. injected says that the file was
// changed before: then the original is what it is, and "" where there is none.
func (b *Boot) original(injected bool) (string, error) {
	name := b.File + originalEnd
	info, err := os.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist) && injected:
		return "", nil
	case errors.Is(err, fs.ErrNotExist):
		return name, nil
	case err != nil:
		return "", err
	case injected || os.SameFile(info, b.info):
		return name, nil
	}
	same := info.Size() == b.info.Size()
	if same {
		if same, err = sameFiles(name, b.File); err != nil {
			return "", err
		}
	}
	if !same {
		return "", fmt.Errorf("%s is there and is another file than %s; it isn't overwritten; next: move it elsewhere if you want to keep it, and inject again", filepath.Base(name), filepath.Base(b.File))
	}
	return name, nil
}

// keep makes FILE.orig where it isn't there yet: the same file under a second name, or a copy where there are no such names.
func (b *Boot) keep() error {
	if b.Injected {
		return nil
	}
	name, err := b.original(false)
	if err != nil {
		return err
	}
	if _, err := os.Lstat(name); err == nil {
		return nil
	}
	if err := os.Link(b.File, name); err == nil {
		return nil
	}
	temporary := name + newEnd
	if err := copyFile(b.File, temporary); err != nil {
		return err
	}
	return os.Rename(temporary, name)
}

// replace applies commands to a copy of the file and puts that into its place. An image that was changed before is written
// without what it doesn't refer to any more.
func (b *Boot) replace(ctx context.Context, commands []string) error {
	temporary, err := b.build(ctx, commands, b.Injected)
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(temporary) }()
	if err := b.keep(); err != nil {
		return err
	}
	return b.swap(temporary)
}

// restore is replace, but where the result has the same files as the original the original takes its place.
func (b *Boot) restore(ctx context.Context, commands []string, original string) (restored bool, err error) {
	temporary, err := b.build(ctx, commands, true)
	if err != nil {
		return false, err
	}
	defer func() { _ = os.Remove(temporary) }()
	if original != "" {
		// A file that isn't a WIM any more is no original, and the result stands.
		same, err := sameImages(ctx, temporary, original)
		restored = same && err == nil
	}
	if restored {
		if err := os.Remove(temporary); err != nil {
			return false, err
		}
		if err := copyFile(original, temporary); err != nil {
			return false, err
		}
	}
	return restored, b.swap(temporary)
}

// build makes a copy of the file that the commands were applied to, verified and on the disk. Where it fails nothing is left.
func (b *Boot) build(ctx context.Context, commands []string, rebuild bool) (string, error) {
	temporary := b.File + newEnd
	b.tell(fmt.Sprintf("copying %d MB", b.info.Size()/1e6))
	if err := copyFile(b.File, temporary); err != nil {
		return "", err
	}
	if err := b.apply(ctx, temporary, commands, rebuild); err != nil {
		return "", errors.Join(err, os.Remove(temporary))
	}
	return temporary, nil
}

// tell says what is done now.
func (b *Boot) tell(step string) {
	if b.Notice != nil {
		b.Notice(step)
	}
}

// apply applies commands to a copy of the file, and holds that it is whole and boots what it booted.
func (b *Boot) apply(ctx context.Context, temporary string, commands []string, rebuild bool) error {
	b.tell(fmt.Sprintf("changing image %d", b.Image.Index))
	if err := wimlib.Update(ctx, temporary, b.Image.Index, commands...); err != nil {
		return err
	}
	if rebuild {
		b.tell("writing it without what was taken out")
		if err := wimlib.Optimize(ctx, temporary); err != nil {
			return err
		}
	}
	b.tell("verifying all that is in it")
	if err := wimlib.Verify(ctx, temporary); err != nil {
		return fmt.Errorf("the new file doesn't hold: %w", err)
	}
	before, err := tables(b.File)
	if err != nil {
		return err
	}
	after, err := tables(temporary)
	if err != nil {
		return err
	}
	if before.ImageCount != after.ImageCount || before.BootIndex != after.BootIndex || before.Compression() != after.Compression() {
		return fmt.Errorf("the new file has %d images and boots %d, the old one %d and %d", after.ImageCount, after.BootIndex, before.ImageCount, before.BootIndex)
	}
	return nil
}

// swap puts a file into the place of the boot image, where that is still the one that was opened.
func (b *Boot) swap(temporary string) error {
	now, err := os.Stat(b.File)
	if err != nil {
		return err
	}
	if !os.SameFile(now, b.info) || now.Size() != b.info.Size() || !now.ModTime().Equal(b.info.ModTime()) {
		return errors.New("it was changed by somebody else meanwhile; next: try again")
	}
	if err := keepOwner(temporary, b.info); err != nil {
		return err
	}
	if err := os.Chmod(temporary, b.info.Mode().Perm()); err != nil {
		return err
	}
	f, err := os.OpenFile(temporary, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(temporary, b.File); err != nil {
		return err
	}
	return syncDir(filepath.Dir(b.File))
}

// syncDir makes renames in a directory last. Windows has no such call.
func syncDir(name string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// copyFile copies a file to a new one and syncs it.
func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s is there: another run works on it, or one was killed; next: remove it if none runs", filepath.Base(to))
	}
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err == nil {
		err = out.Sync()
	}
	if err = errors.Join(err, out.Close()); err != nil {
		_ = os.Remove(to)
	}
	return err
}

// tables reads what a WIM says of itself.
func tables(file string) (*wim.File, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return wim.Open(f, info.Size())
}

// sameImages reports whether two WIMs have the same images with the same files in them.
func sameImages(ctx context.Context, one, other string) (bool, error) {
	a, err := tables(one)
	if err != nil {
		return false, err
	}
	b, err := tables(other)
	if err != nil || a.ImageCount != b.ImageCount || a.BootIndex != b.BootIndex {
		return false, err
	}
	for i := range a.Images {
		x, err := wimlib.Hashes(ctx, one, i+1, "/")
		if err != nil {
			return false, err
		}
		y, err := wimlib.Hashes(ctx, other, i+1, "/")
		if err != nil || !maps.Equal(x, y) {
			return false, err
		}
	}
	return true, nil
}

// sameFiles compares two files byte for byte.
func sameFiles(one, other string) (bool, error) {
	a, err := hashFile(one)
	if err != nil {
		return false, err
	}
	b, err := hashFile(other)
	return err == nil && bytes.Equal(a, b), err
}

func hashFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	h := sha256.New()
	_, err = io.Copy(h, f)
	return h.Sum(nil), err
}

// noContent is what wimlib says of folders and empty files.
const noContent = "0x0000000000000000000000000000000000000000"

// hashTree returns what is in a folder as [wimlib.Hashes] does, by paths below dir in lower case.
func hashTree(folder string) (map[string]string, error) {
	tree := map[string]string{}
	root, err := os.OpenRoot(folder)
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	err = fs.WalkDir(root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		key := strings.ToLower(path.Join(dir, name))
		tree[key] = noContent
		if entry.IsDir() {
			return nil
		}
		f, err := root.Open(name)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		h := sha1.New()
		n, err := io.Copy(h, f)
		if n > 0 {
			tree[key] = "0x" + hex.EncodeToString(h.Sum(nil))
		}
		return err
	})
	return tree, err
}
