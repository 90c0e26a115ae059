// Command room builds a room in network namespaces, prints how to enter each
// host, and removes everything, programs in it included, at an interrupt. It
// is for trying things by hand; as root:
//
//	go run ./test/lab/room -clients 4 -loss 5
//
// It needs Linux; package lab says what else.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"text/tabwriter"
	"time"

	"wimcast/test/lab"
)

// queueTime is the length of a limited cable's queue, as an office switch's.
const queueTime = 10 * time.Millisecond

type options struct {
	config lab.Config
	loss   float64 // percent
	rate   float64 // Mbit/s
}

func main() {
	var o options
	flag.IntVar(&o.config.Clients, "clients", 4, "how many clients")
	flag.IntVar(&o.config.MTU, "mtu", 0, "MTU of every cable in bytes (default 1500)")
	flag.Float64Var(&o.loss, "loss", 0, "percent of packets that each client loses")
	flag.Float64Var(&o.rate, "rate", 0, "limit of the server's cable in Mbit/s (default none)")
	whole := flag.Bool("frames-whole", false, "let 64 KB frames pass the cables uncut")
	flag.Parse()
	if *whole {
		o.config.Frames = lab.FramesWhole
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) (err error) {
	room, err := lab.New(ctx, o.config)
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := room.Close(); err == nil {
			err = closeErr
		}
	}()
	if o.rate > 0 {
		if err := room.Server().SetRate(ctx, int64(o.rate*1e6), queueTime); err != nil {
			return err
		}
	}
	for _, client := range room.Clients() {
		if o.loss > 0 {
			if err := client.SetLoss(ctx, o.loss); err != nil {
				return err
			}
		}
	}
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "HOST\tADDRESS\tENTER WITH")
	for _, host := range append([]*lab.Host{room.Server()}, room.Clients()...) {
		fmt.Fprintf(table, "%s\t%s\tnsenter --net=%s\n", host.Name(), host.Addr(), host.Namespace())
	}
	fmt.Fprintf(table, "switch\t\tnsenter --net=%s\n", room.Switch())
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, "interrupt to remove the room and end every program in it")
	<-ctx.Done()
	return nil
}
