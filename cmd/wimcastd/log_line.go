package main

import (
	"fmt"
	"unicode/utf8"

	"go.uber.org/zap"
	"go.uber.org/zap/buffer"
	"go.uber.org/zap/zapcore"
)

const (
	// mostLine is how long a line may be, in bytes: the journal breaks longer ones than 48 KiB in pieces (journald.conf(5), LineMax),
	// which then aren't JSON any more.
	mostLine = 32 << 10
	// mostValue is how much of each value a line that was longer keeps.
	mostValue = 1 << 10
)

// lineCore writes each entry as one line. Safe for concurrent use.
type lineCore struct {
	zapcore.LevelEnabler
	json    zapcore.Encoder
	console zapcore.Encoder // nil: JSON goes out
	out     zapcore.WriteSyncer
	recent  *logRing
	journal bool
}

var _ zapcore.Core = (*lineCore)(nil)

// With implements zapcore.Core.
func (c *lineCore) With(fields []zapcore.Field) zapcore.Core {
	clone := *c
	clone.json = withFields(c.json, fields)
	if c.console != nil {
		clone.console = withFields(c.console, fields)
	}
	return &clone
}

func withFields(e zapcore.Encoder, fields []zapcore.Field) zapcore.Encoder {
	e = e.Clone()
	for i := range fields {
		fields[i].AddTo(e)
	}
	return e
}

// Check implements zapcore.Core.
func (c *lineCore) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(entry.Level) {
		return checked.AddCore(entry, c)
	}
	return checked
}

// Write implements zapcore.Core.
func (c *lineCore) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	line, err := encode(c.json, entry, fields)
	if err != nil {
		return err
	}
	defer line.Free()
	c.recent.put(line.Bytes())
	shown := line
	if c.console != nil {
		if shown, err = encode(c.console, entry, fields); err != nil {
			return err
		}
		defer shown.Free()
	}
	text := harmless(shown.Bytes())
	if c.journal {
		text = append(priority(entry.Level), text...)
	}
	_, err = c.out.Write(text)
	return err
}

// Sync implements zapcore.Core.
func (c *lineCore) Sync() error { return c.out.Sync() }

// encode encodes an entry; of one that is too long, the start of each value.
func encode(e zapcore.Encoder, entry zapcore.Entry, fields []zapcore.Field) (*buffer.Buffer, error) {
	line, err := e.EncodeEntry(entry, fields)
	if err != nil || line.Len() <= mostLine {
		return line, err
	}
	line.Free()
	short := make([]zapcore.Field, 0, len(fields)+1)
	for _, f := range fields {
		short = append(short, shorten(f))
	}
	return e.EncodeEntry(entry, append(short, zap.Bool("cut", true)))
}

// shorten returns a field that is short, as text where it isn't short of itself.
func shorten(f zapcore.Field) zapcore.Field {
	switch f.Type {
	case zapcore.BoolType, zapcore.DurationType, zapcore.TimeType, zapcore.TimeFullType, zapcore.Float64Type, zapcore.Int64Type, zapcore.Int32Type, zapcore.Uint64Type, zapcore.Uint32Type, zapcore.SkipType:
		return f
	}
	into := zapcore.NewMapObjectEncoder()
	f.AddTo(into)
	text := fmt.Sprint(into.Fields[f.Key])
	for len(text) > mostValue {
		text = text[:mostValue]
		for !utf8.ValidString(text) && len(text) > 0 {
			text = text[:len(text)-1]
		}
	}
	return zap.String(f.Key, text)
}

// priority is how a line says its level to the journal (sd-daemon(3)).
func priority(l zapcore.Level) []byte {
	switch {
	case l < zapcore.InfoLevel:
		return []byte("<7>")
	case l < zapcore.WarnLevel:
		return []byte("<6>")
	case l < zapcore.ErrorLevel:
		return []byte("<4>")
	case l < zapcore.DPanicLevel:
		return []byte("<3>")
	}
	return []byte("<2>")
}

// harmless writes as \u what JSON lets stand and a terminal obeys, or a reader stumbles over: DEL and the controls U+0080 to U+009F, the separators of
// lines, and what turns the direction of text round. Values come from machines and from people; all of them stand in quotes.
func harmless(line []byte) []byte {
	i := indexHarm(line)
	if i < 0 {
		return line
	}
	out := append(make([]byte, 0, len(line)+32), line[:i]...)
	for i < len(line) {
		r, size := utf8.DecodeRune(line[i:])
		if harms(r) {
			out = fmt.Appendf(out, `\u%04x`, r)
		} else {
			out = append(out, line[i:i+size]...)
		}
		i += size
	}
	return out
}

func indexHarm(line []byte) int {
	for i := 0; i < len(line); {
		if line[i] < 0x7f {
			i++
			continue
		}
		r, size := utf8.DecodeRune(line[i:])
		if harms(r) {
			return i
		}
		i += size
	}
	return -1
}

func harms(r rune) bool {
	return r >= 0x7f && r <= 0x9f || r >= 0x200b && r <= 0x200f || r >= 0x2028 && r <= 0x202e || r >= 0x2060 && r <= 0x2069 || r == 0xfeff
}
