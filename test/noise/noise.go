// Package noise makes WIM files of noise for tests and benchmarks: of any size, in no time, and nothing compresses them. They are WIM
// files as far as their header and their XML say, with no entry in the lookup table: the daemon takes them for images, wimlib finds
// nothing in them.
package noise

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"unicode/utf16"
)

// header is the length of a WIM's header, in bytes.
const header = 208

// WIM returns a file with size bytes of noise and an image for each name. The same seed makes the same noise.
func WIM(size int, seed uint64, names ...string) []byte {
	var b bytes.Buffer
	_ = write(&b, int64(size), seed, names) // a buffer takes all
	return b.Bytes()
}

// WriteFile writes a file of total bytes with one image.
func WriteFile(file string, total int64, seed uint64) error {
	names := []string{"noise"}
	size := total - header - int64(len(text(0, names)))
	if size < 0 {
		return fmt.Errorf("write %s: %d bytes are too few for a WIM", file, total)
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	return errors.Join(write(f, size, seed, names), f.Close())
}

func write(w io.Writer, size int64, seed uint64, names []string) error {
	xml := text(size, names)
	b := make([]byte, header)
	le := binary.LittleEndian
	copy(b, "MSWIM\x00\x00\x00")
	le.PutUint32(b[8:], header)
	le.PutUint32(b[12:], 0x10d00) // version
	le.PutUint16(b[40:], 1)       // part 1
	le.PutUint16(b[42:], 1)       // of 1
	le.PutUint32(b[44:], uint32(len(names)))
	le.PutUint64(b[56:], uint64(header+size)) // lookup table, empty
	le.PutUint64(b[72:], uint64(len(xml)))
	le.PutUint64(b[80:], uint64(header+size)) // XML
	le.PutUint64(b[88:], uint64(len(xml)))
	noise := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	_, err := io.Copy(w, io.MultiReader(bytes.NewReader(b), io.LimitReader(noise, size), bytes.NewReader(xml)))
	return err
}

// text is the XML of a WIM, in UTF-16. Its length doesn't depend on size.
func text(size int64, names []string) []byte {
	var xml strings.Builder
	fmt.Fprintf(&xml, "\ufeff<WIM><TOTALBYTES>%012d</TOTALBYTES>", size)
	for i, name := range names {
		fmt.Fprintf(&xml, `<IMAGE INDEX="%d"><NAME>%s</NAME><TOTALBYTES>%012d</TOTALBYTES><WINDOWS><ARCH>9</ARCH><EDITIONID>Education</EDITIONID></WINDOWS></IMAGE>`, i+1, name, size)
	}
	xml.WriteString("</WIM>")
	var b []byte
	for _, unit := range utf16.Encode([]rune(xml.String())) {
		b = binary.LittleEndian.AppendUint16(b, unit)
	}
	return b
}
