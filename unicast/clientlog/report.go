package clientlog

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/textproto"
	"strings"
	"time"
	"unicode/utf8"
)

// Protocol constants (docs/protocol.md, section 9.1).
const (
	// Path is where reports go, on the unicast port.
	Path = "/v1/logs"
	// MaxLog is the most of a client's own log, in bytes: days of events.
	MaxLog = 1 << 20
	// MaxExtra is the most of each other file, in bytes: DISM writes some 100 kB for an image.
	MaxExtra = 4 << 20
	// MaxExtras is how many other files a report has at most.
	MaxExtras = 2
	// OwnLog is the name of the client's own log in a report: lines of JSON.
	OwnLog = "client.log"

	reportPart = "report" // first part of the body: the Report
	filePart   = "file"   // each of the others; its file name is the log's
	maxReport  = 16 << 10 // bytes of JSON
	// maxBody is a report with all that it may have, and room for the borders.
	maxBody = maxReport + MaxLog + MaxExtras*MaxExtra + 8<<10
	// maxField is the most of each text in a Report, in bytes.
	maxField = 1000
	maxName  = 64 // bytes of a file's name
)

// Report is what a client says of itself and of its work. All of it is claimed.
type Report struct {
	Machine  string    `json:"machine"` // host name, or what it was told to be called
	UUID     string    `json:"uuid,omitempty"`
	Serial   string    `json:"serial,omitempty"`
	MACs     string    `json:"macs,omitempty"`
	Version  string    `json:"version"` // of wimcast
	System   string    `json:"system"`  // such as windows/amd64
	Package  string    `json:"package,omitempty"`
	ExitCode int       `json:"exit_code"`
	Error    string    `json:"error,omitempty"`
	Sent     time.Time `json:"sent"` // by the client's clock, which may be wrong by years
}

// File is one log of a report.
type File struct {
	Name string
	Data []byte
}

// check refuses what no client of ours sends.
func (r *Report) check() error {
	for _, s := range []string{r.Machine, r.UUID, r.Serial, r.MACs, r.Version, r.System, r.Package, r.Error} {
		if len(s) > maxField || !utf8.ValidString(s) {
			return fmt.Errorf("a text of the report is longer than %d bytes, or isn't UTF-8", maxField)
		}
	}
	if r.ExitCode < 0 || r.ExitCode > 255 {
		return fmt.Errorf("exit code %d", r.ExitCode)
	}
	return nil
}

// shorten cuts texts to what check takes.
func (r *Report) shorten() {
	for _, s := range []*string{&r.Machine, &r.UUID, &r.Serial, &r.MACs, &r.Version, &r.System, &r.Package, &r.Error} {
		*s = strings.ToValidUTF8((*s)[:min(len(*s), maxField)], "")
	}
}

// encode makes the body of a request. Files that are too long are cut to their ends.
func encode(r Report, files []File) (body []byte, contentType string, err error) {
	r.shorten()
	var out bytes.Buffer
	w := multipart.NewWriter(&out)
	part, err := w.CreatePart(textproto.MIMEHeader{"Content-Disposition": {`form-data; name="` + reportPart + `"`}, "Content-Type": {"application/json"}})
	if err != nil {
		return nil, "", err
	}
	if err := json.NewEncoder(part).Encode(r); err != nil {
		return nil, "", err
	}
	extras := 0
	for _, f := range files {
		limit := MaxExtra
		if f.Name == OwnLog {
			limit = MaxLog
		} else if extras++; extras > MaxExtras {
			continue
		}
		if part, err = w.CreateFormFile(filePart, fileName(f.Name)); err != nil {
			return nil, "", err
		}
		if _, err := part.Write(Tail(f.Data, limit)); err != nil {
			return nil, "", err
		}
	}
	err = w.Close()
	return out.Bytes(), w.FormDataContentType(), err
}

// Tail returns the end of a text, from the beginning of a line on where there is one, in
// at most limit bytes.
func Tail(b []byte, limit int) []byte {
	if len(b) <= limit {
		return b
	}
	b = b[len(b)-limit:]
	if i := bytes.IndexByte(b, '\n'); i >= 0 && i+1 < len(b) {
		return b[i+1:]
	}
	return b
}

// errMalformed is a body that isn't a report.
var errMalformed = errors.New("not a report")

// errTooLarge is a file, or one more of them, than is taken.
var errTooLarge = errors.New("too large")

// decode reads the body of a request, and hands each file to take, the report first (with
// an empty name). take must read its file to the end; what it reads is bounded.
func decode(body io.Reader, boundary string, report *Report, take func(name string, r io.Reader) error) error {
	parts := multipart.NewReader(body, boundary)
	seen := map[string]bool{}
	for n := 0; ; n++ {
		part, err := parts.NextRawPart()
		switch {
		case errors.Is(err, io.EOF) && n > 0:
			return nil
		case err != nil:
			return fmt.Errorf("%w: %w", errMalformed, err)
		case n == 0:
			if err := decodeReport(part, report); err != nil {
				return err
			}
			continue
		case part.FormName() != filePart:
			return fmt.Errorf("%w: a part named %.20q", errMalformed, part.FormName())
		}
		name := fileName(part.FileName())
		if seen[name] {
			return fmt.Errorf("%w: %s stands twice", errMalformed, name)
		}
		seen[name] = true
		limit, most := int64(MaxExtra), MaxExtras
		if name == OwnLog {
			limit = MaxLog
		}
		if seen[OwnLog] {
			most++
		}
		if len(seen) > most {
			return fmt.Errorf("%w: more than %d files", errTooLarge, most)
		}
		bounded := &boundedReader{r: part, left: limit}
		if err := take(name, bounded); err != nil {
			return err
		}
	}
}

func decodeReport(part *multipart.Part, report *Report) error {
	if part.FormName() != reportPart {
		return fmt.Errorf("%w: it begins with a part named %.20q", errMalformed, part.FormName())
	}
	text, err := io.ReadAll(&boundedReader{r: part, left: maxReport})
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, report); err != nil {
		return fmt.Errorf("%w: %w", errMalformed, err)
	}
	if err := report.check(); err != nil {
		return fmt.Errorf("%w: %w", errMalformed, err)
	}
	return nil
}

// boundedReader reads a part. It ends in errTooLarge where io.LimitedReader would keep quiet, and in errMalformed where the part
// has no end.
type boundedReader struct {
	r    io.Reader
	left int64
}

// Read implements io.Reader.
func (b *boundedReader) Read(p []byte) (int, error) {
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.r.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return n, errTooLarge
	}
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("%w: %w", errMalformed, err)
	}
	return n, err
}

// fileName makes the name of a file of a log's name, whatever that is: letters, digits,
// '-', '_' and '.', which it doesn't begin with; the last element of a path of either system.
func fileName(s string) string {
	if i := strings.LastIndexAny(s, `/\`); i >= 0 {
		s = s[i+1:]
	}
	s = plain(s)
	if s == "" || s == entryFile {
		return "unnamed.log"
	}
	return s
}

// plain keeps of a text what can stand in any file's name.
func plain(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_', r == '.':
			return r
		}
		return '_'
	}, s[:min(len(s), maxName)])
	return strings.TrimLeft(s, ".")
}
