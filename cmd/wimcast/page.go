package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"time"
)

// pageCommand makes a link to the web page.
type pageCommand struct{}

// Run implements the command.
func (*pageCommand) Run(ctx context.Context, c *console) error {
	link, err := c.admin().MakePageLink(ctx)
	if err != nil {
		return err
	}
	return c.print(link, func(w io.Writer) {
		for _, url := range link.URLs {
			_, _ = fmt.Fprintln(w, printable(url))
		}
		_, _ = fmt.Fprintf(c.err, "it opens once, until %s; who opens it sees what a viewer sees for 12 hours, and changes nothing\n", link.Expires.Local().Format(time.TimeOnly))
		if !link.Loopback {
			return
		}
		if _, port, err := net.SplitHostPort(link.Listen); err == nil {
			_, _ = fmt.Fprintf(c.err, "the page is on the server alone; from another machine first: ssh -L %s:127.0.0.1:%s SERVER\n", printable(port), printable(port))
		}
	})
}
