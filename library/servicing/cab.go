package servicing

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
)

// Cabinet files, as [MS-CAB] "Cabinet File Format" has them. Their directories are read here; what is in them,
// packed in one of three ways, cabextract unpacks.

// errNoCabextract says what is missing to look into a cabinet.
var errNoCabextract = errors.New("cabextract isn't installed; next: apt-get install cabextract")

const (
	cabMagic    = "MSCF"
	cabHeader   = 36
	cabFile     = 16 // of an entry, without its name
	maxCabFiles = 65_535
	maxCabName  = 256
	maxCabNames = 8 << 20
	// maxMember bounds what is read of a text in a cabinet, in bytes.
	maxMember = 4 << 20
)

// cabNames lists what is in a cabinet, with "/" between the parts of a path.
func cabNames(r io.ReaderAt, size int64) ([]string, error) {
	header := make([]byte, cabHeader)
	if _, err := r.ReadAt(header, 0); err != nil || string(header[:4]) != cabMagic {
		return nil, errors.New("not a cabinet file")
	}
	le := binary.LittleEndian
	at, count := int64(le.Uint32(header[16:])), int(le.Uint16(header[28:]))
	if whole := int64(le.Uint32(header[8:])); whole > size {
		return nil, fmt.Errorf("truncated cabinet file: it has %d of %d bytes; next: download it again", size, whole)
	}
	if at < cabHeader || at >= size {
		return nil, errors.New("damaged cabinet file: its directory lies outside of it")
	}
	table := make([]byte, min(size-at, maxCabNames))
	if n, err := r.ReadAt(table, at); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	} else if n < len(table) {
		table = table[:n]
	}
	names := make([]string, 0, min(count, maxCabFiles))
	for range count {
		if len(table) < cabFile+1 {
			return nil, errors.New("damaged cabinet file: its directory ends in the middle")
		}
		name, rest, ok := bytes.Cut(table[cabFile:min(len(table), cabFile+maxCabName+1)], []byte{0})
		if !ok {
			return nil, errors.New("damaged cabinet file: a name doesn't end")
		}
		_ = rest
		table = table[cabFile+len(name)+1:]
		names = append(names, strings.ReplaceAll(string(name), `\`, "/"))
	}
	return names, nil
}

// cabMember holds names that cabextract takes for one file, not for a pattern.
var cabMember = regexp.MustCompile(`^[A-Za-z0-9._+~-]+$`)

// readCab returns a small file of a cabinet.
func readCab(ctx context.Context, cab, name string) ([]byte, error) {
	var out bytes.Buffer
	if err := cabextract(ctx, cab, name, &out, maxMember); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// extractCab writes a file of a cabinet, of at most limit bytes, into a directory, and returns its path.
func extractCab(ctx context.Context, cab, name, dir string, limit int64) (string, error) {
	to := filepath.Join(dir, path.Base(name))
	f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", err
	}
	err = cabextract(ctx, cab, name, f, limit)
	return to, errors.Join(err, f.Close())
}

// cabextract writes a file of a cabinet to out. More than limit bytes are an error.
func cabextract(ctx context.Context, cab, name string, out io.Writer, limit int64) error {
	program, err := exec.LookPath("cabextract")
	if err != nil {
		return errNoCabextract
	}
	if !cabMember.MatchString(name) {
		return fmt.Errorf("cabextract: the file %q can't be named", name)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "--pipe", "--quiet", "--filter", name, cab)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	var said bytes.Buffer
	cmd.Stderr = &said
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("cabextract: %w", err)
	}
	n, copyErr := io.Copy(out, io.LimitReader(pipe, limit+1))
	if n > limit || copyErr != nil {
		cancel() // it has more to say, and nobody listens
	}
	err = cmd.Wait()
	switch {
	case n > limit:
		return fmt.Errorf("cabextract: %s has more than %d bytes", name, limit)
	case copyErr != nil:
		return fmt.Errorf("cabextract: %w", copyErr)
	case err != nil:
		return fmt.Errorf("cabextract: %s: %w: %.200q", name, err, said.String())
	case n == 0:
		return fmt.Errorf("cabextract: %s isn't in it, or is empty", name)
	}
	return nil
}
