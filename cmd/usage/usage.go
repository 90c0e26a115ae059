// Package usage tells what a command line takes in other forms than --help: as a
// manual page, and as what a shell may complete. All of it is read from the model
// that kong parses by, so that there is one text. It knows no command of ours.
package usage

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/alecthomas/kong"
)

// Words that a program answers before it parses its command line. They are for the
// packages and for shells, and stand in no help.
const (
	manualWord   = "manual"   // prints the manual page
	completeWord = "complete" // what follows, without the program's name, is completed
)

// Asked answers the words above on out, and reports whether args began with one of
// them. manual is what the manual page has beyond the model.
func Asked(app *kong.Application, manual Manual, args []string, out io.Writer) (bool, error) {
	if len(args) == 0 {
		return false, nil
	}
	switch args[0] {
	case manualWord:
		date, err := sourceDate()
		if err != nil {
			return true, err
		}
		if len(args) == 2 { // the example of a configuration
			text, err := os.ReadFile(args[1])
			if err != nil {
				return true, fmt.Errorf("manual: read configuration: %w", err)
			}
			_, err = io.WriteString(out, Configuration(string(text), date))
			return true, err
		}
		_, err = io.WriteString(out, Page(app, manual, date))
		return true, err
	case completeWord:
		words := args[1:]
		if len(words) > 0 && words[0] == "--" {
			words = words[1:]
		}
		for _, c := range Complete(app.Node, words) {
			if _, err := fmt.Fprintf(out, "%s\t%s\n", c.Word, c.Help); err != nil {
				return true, err
			}
		}
		return true, nil
	}
	return false, nil
}

// sourceDate is the day that pages bear: that of the commit where a package is made
// (SOURCE_DATE_EPOCH, seconds), so that the same source gives the same page.
func sourceDate() (time.Time, error) {
	epoch := os.Getenv("SOURCE_DATE_EPOCH")
	if epoch == "" {
		return time.Now().UTC(), nil
	}
	seconds, err := strconv.ParseInt(epoch, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("manual: SOURCE_DATE_EPOCH: %w", err)
	}
	return time.Unix(seconds, 0).UTC(), nil
}
