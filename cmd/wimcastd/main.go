// Command wimcastd is the multicast distribution point daemon: it holds images and
// casts them to rooms.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	stdlog "log"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	"github.com/coreos/go-systemd/v22/daemon"
	"go.uber.org/zap"

	"wimcast/cmd/usage"
)

// version is stamped by the build.
var version = "dev"

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// commandLine is what wimcastd takes, as kong reads it.
type commandLine struct {
	Config  string           `help:"Configuration (default: /etc/wimcast/wimcastd.toml if it exists)." placeholder:"FILE"`
	Check   bool             `help:"Check the configuration and exit."`
	Version kong.VersionFlag `help:"Print the version and exit."`
}

// run is the program: flags, config, build, run, exit code.
func run(args []string, out, errOut io.Writer) int {
	var cli commandLine
	code := -1
	parser, err := kong.New(&cli,
		kong.Name("wimcastd"),
		kong.Description("Holds Windows images and casts them to rooms of machines by encrypted multicast."),
		kong.Vars{"version": version},
		kong.Writers(out, errOut),
		kong.Exit(func(c int) { code = c }),
	)
	if err != nil {
		panic("wimcastd: " + err.Error()) // the struct above is wrong
	}
	if asked, err := usage.Asked(parser.Model, manual(), args, out); asked {
		if err != nil {
			_, _ = fmt.Fprintf(errOut, "wimcastd: %v\n", err)
			return 1
		}
		return 0
	}
	_, err = parser.Parse(args)
	if code >= 0 {
		return code // --help, --version
	}
	if err != nil {
		_, _ = fmt.Fprintf(errOut, "wimcastd: %v; next: wimcastd --help\n", err)
		return 2
	}
	cfg, err := loadConfig(cli.Config)
	if err != nil {
		sayWrong(errOut, err)
		return 2
	}
	if cli.Check {
		_, _ = fmt.Fprintln(out, "configuration is good")
		return 0
	}
	logs := newLogs(errOut, cfg.Log.Level)
	defer func() { _ = logs.log.Sync() }()
	// What libraries say on their own.
	stdlog.SetFlags(0)
	stdlog.SetOutput(newForeignLog(logs.log, "other").Writer())
	if err := serve(cfg, cli.Config, logs); err != nil {
		logs.log.Error("stopped by an error", zap.Error(err))
		return 1
	}
	logs.log.Info("stopped")
	return 0
}

// serve runs the daemon until it is told to stop, then drains.
func serve(cfg config, path string, logs *logs) error {
	log := logs.log
	d, err := newDaemon(cfg, log)
	if err != nil {
		return err
	}
	d.recent = logs.recent
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)

	ended := d.start(ctx)
	lines := time.NewTicker(tellEvery)
	defer lines.Stop()
	go logs.run(ctx, lines.C)
	tell(log, daemon.SdNotifyReady+"\nSTATUS=serving at "+d.listening())
	log.Info("ready", zap.String("version", version), zap.String("listen", d.listening()), zap.String("interface", d.networks.names()),
		zap.String("state", cfg.State), zap.String("socket", cfg.Admin.Socket), zap.String("admin", d.adminListening()), zap.String("metrics", d.metricsListening()), zap.String("page", d.pageListening()))
	watchdog := watch(d, log)
	for {
		select {
		case err := <-ended:
			tell(log, daemon.SdNotifyStopping)
			d.close()
			return err
		case <-watchdog:
		case s := <-signals:
			if s == syscall.SIGHUP {
				tell(log, reloading())
				d.reload(path, logs.level)
				d.upkeep.round()
				tell(log, daemon.SdNotifyReady)
				continue
			}
			d.leave(signals)
			cancel(errors.New("stopped by signal"))
			d.close()
			return nil
		}
	}
}

// tell tells systemd, where it listens.
func tell(log *zap.Logger, state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		log.Warn("systemd can't be told", zap.Error(err))
	}
}

// watch reports to systemd's watchdog as long as the daemon answers itself. The
// returned channel never sends without one.
func watch(d *distributionPoint, log *zap.Logger) <-chan time.Time {
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil || interval == 0 {
		return nil
	}
	ticks := make(chan time.Time)
	go func() {
		for range time.Tick(interval / 3) {
			d.alive() // blocks when a session hangs; systemd then kills us
			tell(log, daemon.SdNotifyWatchdog)
		}
	}()
	return ticks
}
