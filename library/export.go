package library

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"wimcast/crypto"
	"wimcast/library/wim"
	"wimcast/library/wimlib"
)

// exported goes into the GUID of exported images.
const exported = "wimcast image of "

// export makes a file of its own in ingest/ of one image of an ingested file, which stays. The caller closes and removes it.
func (l *Library) export(ctx context.Context, from *wim.File, temporary string, sum [sha256.Size]byte, index int) (*os.File, string, error) {
	if index > len(from.Images) {
		return nil, "", fmt.Errorf("%w: image %d of a file that has %s", ErrNoIndex, index, imageNames(from.Images))
	}
	out := temporary + ".one"
	err := wimlib.Export(ctx, filepath.Join(l.path, temporary), index, filepath.Join(l.path, out))
	if err == nil {
		// The same image of the same file has the same GUID, and so the same digest.
		var guid [16]byte
		of := sha256.Sum256(binary.LittleEndian.AppendUint32(append([]byte(exported), sum[:]...), uint32(index)))
		copy(guid[:], of[:])
		err = wimlib.SetGUID(filepath.Join(l.path, out), guid)
	}
	var f *os.File
	if err == nil {
		f, err = l.root.OpenFile(out, os.O_RDWR, 0)
	}
	if err == nil {
		if err = f.Chmod(fileMode); err != nil {
			_ = f.Close()
		}
	}
	if err != nil {
		_ = l.root.Remove(out)
		return nil, "", fmt.Errorf("take image %d alone: %w", index, l.fullProgram(err))
	}
	return f, out, nil
}

// fullProgram says what to do where a program found the disk full.
func (l *Library) fullProgram(err error) error {
	if e, ok := errors.AsType[*wimlib.Error](err); ok && strings.Contains(e.Text, "No space left") {
		return fmt.Errorf("%w at %s (%w); an image that is taken alone needs room beside the whole file; next: remove packages (wimcast image remove), or give it more space", ErrDiskFull, l.path, err)
	}
	return err
}

// maxNamed bounds the images that an error names.
const maxNamed = 20

// imageNames says which images there are.
func imageNames(images []wim.Image) string {
	var names []string
	for i := range images[:min(len(images), maxNamed)] {
		names = append(names, fmt.Sprintf("%d (%.60s)", images[i].Index, printable(images[i].Name)))
	}
	if len(images) > maxNamed {
		names = append(names, fmt.Sprintf("and so on up to %d", len(images)))
	}
	return strings.Join(names, ", ")
}

// rehash computes the manifest of a file of ours.
func rehash(ctx context.Context, f *os.File) (*crypto.Manifest, error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	builder := crypto.NewManifestBuilder()
	for buf := make([]byte, addBuffer); ; {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		n, err := f.Read(buf)
		_, _ = builder.Write(buf[:n])
		if errors.Is(err, io.EOF) {
			return builder.Manifest(), nil
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", path.Base(f.Name()), err)
		}
	}
}
