package screen

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/muesli/cancelreader"
	"golang.org/x/term"
)

// What a terminal is told. Each terminal since the VT100, and each console since Windows 10, knows them.
const (
	enterScreen = "\x1b[?1049h\x1b[2J\x1b[?25l" // the other screen, cleared, without a cursor
	leaveScreen = "\x1b[m\x1b[?25h\x1b[?1049l"  // and back to what was there
	clearAll    = "\x1b[2J"
	clearLine   = "\x1b[K"
)

// tty is a terminal that is taken whole, and given back.
type tty struct {
	in, out *os.File // in may be nil: no keys
	restore []func() // what gives it back, the latest last
	reader  cancelreader.CancelReader
	keys    chan []byte
	read    chan struct{} // closed when nobody reads keys any more

	lines []string // as drawn
	width int
	high  int
}

// takeTTY takes a terminal. When it fails, the terminal is as it was.
func takeTTY(in, out *os.File) (t *tty, err error) {
	t = &tty{in: in, out: out, keys: make(chan []byte), read: make(chan struct{})}
	defer func() {
		if err != nil {
			t.giveBack()
		}
	}()
	restore, err := prepareOutput(out)
	if err != nil {
		return nil, fmt.Errorf("prepare the terminal: %w", err)
	}
	t.restore = append(t.restore, restore)
	if in == nil {
		close(t.read)
	} else if err := t.takeKeys(); err != nil {
		return nil, fmt.Errorf("read keys: %w", err)
	}
	t.restore = append(t.restore, func() { _, _ = out.WriteString(leaveScreen) })
	if _, err := out.WriteString(enterScreen); err != nil {
		return nil, fmt.Errorf("prepare the terminal: %w", err)
	}
	return t, nil
}

// takeKeys has each key told when it is pressed, and not shown.
func (t *tty) takeKeys() error {
	before, err := term.MakeRaw(int(t.in.Fd()))
	if err != nil {
		close(t.read)
		return err
	}
	t.restore = append(t.restore, func() { _ = term.Restore(int(t.in.Fd()), before) })
	if t.reader, err = cancelreader.NewReader(t.in); err != nil {
		close(t.read)
		return err
	}
	stop := make(chan struct{})
	t.restore = append(t.restore, func() {
		close(stop)
		if t.reader.Cancel() {
			<-t.read // else the read ends with the program: some consoles don't let one be called back
		}
		_ = t.reader.Close()
	})
	go func() {
		defer close(t.read)
		buf := make([]byte, 256)
		for {
			n, err := t.reader.Read(buf)
			if n > 0 {
				select {
				case t.keys <- append([]byte(nil), buf[:n]...):
				case <-stop:
					return
				}
			}
			if err != nil {
				return
			}
		}
	}()
	return nil
}

// giveBack leaves the terminal as it was. Giving it back again does nothing.
func (t *tty) giveBack() {
	for _, restore := range slices.Backward(t.restore) {
		restore()
	}
	t.restore = nil
}

// size returns the window's size, and forgets what is drawn when that has changed. It is asked for with each drawing: not every
// system tells of a change.
func (t *tty) size() (width, height int) {
	width, height = Size(t.out)
	if width != t.width || height != t.high {
		t.width, t.high, t.lines = width, height, nil
	}
	return width, height
}

// draw shows lines from the top: only those that changed, in one write.
func (t *tty) draw(text string) error {
	lines := strings.Split(text, "\n")
	var b strings.Builder
	if t.lines == nil {
		b.WriteString(clearAll)
	}
	for i := range max(len(lines), len(t.lines)) {
		line, was := "", ""
		if i < len(lines) {
			line = lines[i]
		}
		if i < len(t.lines) {
			was = t.lines[i]
		}
		if line != was {
			fmt.Fprintf(&b, "\x1b[%d;1H%s%s", i+1, line, clearLine)
		}
	}
	t.lines = lines
	if b.Len() == 0 {
		return nil
	}
	if _, err := t.out.WriteString(b.String()); err != nil {
		return fmt.Errorf("draw: %w", err)
	}
	return nil
}

// errPanic says that the screen has a fault; the terminal has been given back.
var errPanic = errors.New("the screen failed")
