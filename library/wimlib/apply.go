package wimlib

import (
	"bytes"
	"context"
	"regexp"
	"strconv"
)

// ApplyArgs is what Apply runs wimlib-imagex with. check has it hold the file against its integrity table first.
func ApplyArgs(file string, index int, to string, check bool) []string {
	args := []string{"apply", file, strconv.Itoa(index), to}
	if check {
		args = append(args, "--check")
	}
	return args
}

// Apply writes an image of a WIM below a folder that is there. Each file is held against its SHA-1 on the way. progress hears how far it is,
// 0 to 1, from one goroutine; nil: nobody does.
func Apply(ctx context.Context, file string, index int, to string, check bool, progress func(share float64)) error {
	return runTo(ctx, &progressWriter{tell: progress}, "", ApplyArgs(file, index, to, check)...)
}

// Shares of an apply's time that its steps take, about: making files, their data, their times and permissions.
var applySteps = map[string]struct{ from, to float64 }{
	"Creating files":             {0, 0.05},
	"Extracting file data":       {0.05, 0.95},
	"Applying metadata to files": {0.95, 1},
}

// maxLine bounds a line of progress, in bytes; what is beyond isn't one.
const maxLine = 400

// progressWriter reads the lines that wimlib-imagex prints on the way, such as
// "Extracting file data: 3 MiB of 5 MiB (60%) done", each ended by a carriage return.
type progressWriter struct {
	tell func(float64)
	line []byte
	last float64
}

var progressLine = regexp.MustCompile(`^([A-Z][a-z ]+): .*\((\d{1,3})%\)`)

// Write implements io.Writer.
func (w *progressWriter) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		i := bytes.IndexAny(rest, "\r\n")
		if i < 0 {
			w.line = append(w.line, rest[:min(len(rest), max(maxLine-len(w.line), 0))]...)
			break
		}
		w.line = append(w.line, rest[:min(i, max(maxLine-len(w.line), 0))]...)
		w.hear()
		w.line, rest = w.line[:0], rest[i+1:]
	}
	return len(p), nil
}

func (w *progressWriter) hear() {
	m := progressLine.FindSubmatch(w.line)
	if m == nil || w.tell == nil {
		return
	}
	step, known := applySteps[string(m[1])]
	percent, err := strconv.Atoi(string(m[2]))
	if !known || err != nil {
		return
	}
	if share := step.from + (step.to-step.from)*float64(min(percent, 100))/100; share > w.last {
		w.last = share
		w.tell(share)
	}
}
