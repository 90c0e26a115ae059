// Command wimcastd is the multicast distribution point daemon: it holds images and
// casts them to rooms.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/term"
)

// version is stamped by the build.
var version = "dev"

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run is the program: flags, config, build, run, exit code.
func run(args []string, out, errOut io.Writer) int {
	flags := flag.NewFlagSet("wimcastd", flag.ContinueOnError)
	flags.SetOutput(errOut)
	path := flags.String("config", "", "configuration `file` (default "+defaultConfig+" if it exists)")
	check := flags.Bool("check", false, "check the configuration and exit")
	showVersion := flags.Bool("version", false, "print the version and exit")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return 2
	}
	if *showVersion {
		_, _ = fmt.Fprintln(out, version)
		return 0
	}
	cfg, err := loadConfig(*path)
	if err != nil {
		_, _ = fmt.Fprintf(errOut, "wimcastd: %v\n", err)
		return 2
	}
	if *check {
		_, _ = fmt.Fprintln(out, "configuration is good")
		return 0
	}
	log, level := newLogger(errOut, cfg.Log.Level)
	defer func() { _ = log.Sync() }()
	if err := serve(cfg, *path, log, level); err != nil {
		log.Error("stopped", zap.Error(err))
		return 1
	}
	return 0
}

// newLogger logs readable lines to a terminal and JSON elsewhere.
func newLogger(w io.Writer, level string) (*zap.Logger, zap.AtomicLevel) {
	enabled := zap.NewAtomicLevel()
	_ = enabled.UnmarshalText([]byte(level)) // checked with the config
	cfg := zap.NewProductionEncoderConfig()
	cfg.TimeKey, cfg.EncodeTime, cfg.EncodeDuration = "time", zapcore.RFC3339NanoTimeEncoder, zapcore.StringDurationEncoder
	encoder := zapcore.NewJSONEncoder(cfg)
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		cfg.EncodeTime = zapcore.TimeEncoderOfLayout(time.TimeOnly)
		cfg.EncodeLevel = zapcore.CapitalColorLevelEncoder
		encoder = zapcore.NewConsoleEncoder(cfg)
	}
	core := zapcore.NewCore(encoder, zapcore.Lock(zapcore.AddSync(w)), enabled)
	// Strangers can make us log; more than that of one message a second is left out.
	return zap.New(zapcore.NewSamplerWithOptions(core, time.Second, 100, 100)), enabled
}

// serve runs the daemon until it is told to stop, then drains.
func serve(cfg config, path string, log *zap.Logger, level zap.AtomicLevel) error {
	d, err := newDaemon(cfg, log)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)

	ended := d.start(ctx)
	tell(log, daemon.SdNotifyReady+"\nSTATUS=serving at "+d.listening())
	log.Info("ready", zap.String("version", version), zap.String("listen", d.listening()), zap.String("interface", d.networks.names()),
		zap.String("state", cfg.State), zap.String("socket", cfg.Admin.Socket), zap.String("admin", d.adminListening()), zap.String("metrics", d.metricsListening()))
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
				d.reload(path, level)
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
