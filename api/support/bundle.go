package support

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// Bounds, so that a bundle is small enough for a mail and is there while somebody waits.
const (
	MostPart = 8 << 20          // bytes of a part; more is cut
	mostTime = 15 * time.Second // for a part
	mostAll  = 90 * time.Second // for all
)

// Part is one file of a bundle.
type Part struct {
	Name  string // path in the bundle
	About string // in one line, for people
	// Make writes the part. What it returns with an error is kept all the same, and the manifest says what is missing.
	Make func(ctx context.Context, w io.Writer) error
}

// JSON is a part that is a value as indented JSON.
func JSON(name, about string, get func(ctx context.Context) (any, error)) Part {
	return Part{name, about, func(ctx context.Context, w io.Writer) error {
		value, err := get(ctx)
		if err != nil {
			return err
		}
		e := json.NewEncoder(w)
		e.SetEscapeHTML(false)
		e.SetIndent("", " ")
		return e.Encode(value)
	}}
}

// Entry is what the manifest says of a part.
type Entry struct {
	Name  string `json:"name"`
	About string `json:"about"`
	Bytes int    `json:"bytes"`
	Cut   bool   `json:"cut,omitempty"`   // it was longer
	Error string `json:"error,omitempty"` // why it isn't there, or not whole
}

// ManifestName is the file that lists the others, the last of a stream.
const ManifestName = "MANIFEST.json"

// quote is a string as JSON.
func quote(s string) []byte {
	text, err := json.Marshal(s)
	if err != nil {
		panic("support: " + err.Error()) // a string
	}
	return text
}

// File is a part that was made.
type File struct {
	Entry

	Text []byte
}

// Make makes a part, scrubbed and bounded.
func Make(ctx context.Context, p Part, s *Scrubber) File {
	ctx, stop := context.WithTimeoutCause(ctx, mostTime, fmt.Errorf("not done in %v", mostTime))
	defer stop()
	text := &bounded{}
	made := make(chan error, 1)
	go func() {
		defer func() {
			if broke := recover(); broke != nil {
				made <- fmt.Errorf("broke: %v", broke)
			}
		}()
		made <- p.Make(ctx, text)
	}()
	f := File{Entry: Entry{Name: p.Name, About: p.About}}
	select {
	case err := <-made:
		f.Text, f.Cut = text.b.Bytes(), text.cut
		if err != nil && !errors.Is(err, errCut) {
			f.Error = string(s.Scrub([]byte(err.Error())))
		}
	case <-ctx.Done(): // whatever it waits for goes on without us, and keeps its text
		f.Error = context.Cause(ctx).Error()
	}
	f.Text = s.Scrub(f.Text)
	f.Bytes = len(f.Text)
	return f
}

// errCut ends who writes more than a part holds.
var errCut = errors.New("longer than a part of a bundle")

type bounded struct {
	b   bytes.Buffer
	cut bool
}

// Write implements io.Writer.
func (b *bounded) Write(p []byte) (int, error) {
	if left := MostPart - b.b.Len(); len(p) > left {
		b.b.Write(p[:left])
		b.cut = true
		return left, errCut
	}
	return b.b.Write(p)
}

// Stream makes parts and writes them as a tar, each as soon as it is there, then the list of them as ManifestName. An error is one of writing.
func Stream(ctx context.Context, w io.Writer, parts []Part, s *Scrubber, now time.Time) error {
	ctx, stop := context.WithTimeoutCause(ctx, mostAll, fmt.Errorf("the bundle wasn't done in %v", mostAll))
	defer stop()
	out := tar.NewWriter(w)
	var entries []Entry
	for _, p := range parts {
		f := Make(ctx, p, s)
		entries = append(entries, f.Entry)
		if err := Append(out, f, now); err != nil {
			return err
		}
	}
	var list bytes.Buffer
	if err := JSON("", "", func(context.Context) (any, error) { return entries, nil }).Make(ctx, &list); err != nil {
		return err
	}
	if err := Append(out, File{Entry{Name: ManifestName, Bytes: list.Len()}, list.Bytes()}, now); err != nil {
		return err
	}
	return out.Close()
}

// Append writes a file into a tar; one that isn't there at all is left out.
func Append(out *tar.Writer, f File, now time.Time) error {
	if len(f.Text) == 0 && f.Error != "" {
		return nil
	}
	if err := out.WriteHeader(&tar.Header{Name: f.Name, Mode: 0o600, Size: int64(len(f.Text)), ModTime: now, Format: tar.FormatPAX}); err != nil {
		return fmt.Errorf("write bundle: %w", err)
	}
	if _, err := out.Write(f.Text); err != nil {
		return fmt.Errorf("write bundle: %w", err)
	}
	return nil
}

// mostRead bounds a stream that is read, in bytes.
const mostRead = 128 << 20

// Read reads what Stream wrote: the files, with what the manifest says of them; parts that aren't there have no text. What came before the
// stream broke off is returned with the error.
func Read(r io.Reader) ([]File, error) {
	in := tar.NewReader(io.LimitReader(r, mostRead))
	var files []File
	for {
		h, err := in.Next()
		if err != nil {
			return files, fmt.Errorf("read bundle: it broke off: %w", errors.Join(err))
		}
		text, err := io.ReadAll(in)
		if err != nil {
			return files, fmt.Errorf("read bundle: %s: %w", h.Name, err)
		}
		if h.Name != ManifestName {
			files = append(files, File{Entry{Name: h.Name, Bytes: len(text)}, text})
			continue
		}
		var entries []Entry
		if err := json.Unmarshal(text, &entries); err != nil {
			return files, fmt.Errorf("read bundle: %s: %w", h.Name, err)
		}
		texts := map[string][]byte{}
		for _, f := range files {
			texts[f.Name] = f.Text
		}
		files = files[:0]
		for _, e := range entries {
			files = append(files, File{e, texts[e.Name]})
		}
		return files, nil
	}
}
