//go:build linux

package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"wimcast/test/lab"
)

// uftp is UFTP (uftp-multicast.sourceforge.net) with AES-256-GCM: as fast as the link goes, ECDH
// with throwaway keys, and a round trip estimate that begins at what a LAN has.
type uftp struct{ *site }

func (*uftp) name() string    { return uftpName }
func (*uftp) missing() string { return firstMissing("uftp", "uftpd") }

// uftpGroup is where uftp announces.
var uftpGroup = netip.AddrFrom4([4]byte{230, 4, 4, 1})

func (u *uftp) run(ctx context.Context, c *testCase, m *measurement, started func()) (_ []string, err error) {
	var files []string
	ctx, cancel := u.bounded(ctx, c)
	defer cancel()
	var receivers []*process
	defer func() { killEach(receivers) }()
	var ids []string
	for i := range c.clients {
		host, dir := u.room.Client(i), u.output(i, ".uftp")
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
		receiver, err := launch(ctx, host, "uftpd", "-d", "-q", "-F", "@LOG", "-B", "16777216",
			"-K", "ec:prime256v1", "-I", host.Interface(), "-D", dir)
		if err != nil {
			return nil, err
		}
		receivers = append(receivers, receiver)
		ids = append(ids, uftpID(host))
		files = append(files, filepath.Join(dir, filepath.Base(u.file)))
	}
	defer func() { removeAfter(err, files) }()
	for i := range receivers {
		if err := u.room.Client(i).WaitMember(ctx, uftpGroup); err != nil {
			return nil, err
		}
	}
	started()
	server := u.room.Server()
	sender, err := launch(ctx, server, "uftp", "-q", "-R", "-1", "-b", "1400", "-B", "4194304", "-r", "0.05:0.01:1.0",
		"-Y", "aes256-gcm", "-e", "ecdh_ecdsa", "-h", "sha256", "-K", "prime256v1", "-I", server.Interface(),
		"-H", strings.Join(ids, ","), u.file)
	if err != nil {
		return nil, err
	}
	defer sender.end(os.Kill)
	// A receiver reports a file when the last byte of it is written; the two sides then go on talking.
	pending := len(receivers)
	err = until(ctx, func() (bool, error) {
		for i, receiver := range receivers {
			if m.ends[i].IsZero() && strings.Contains(receiver.wrote(), ";copied\n") {
				m.end(i)
				pending--
			}
		}
		if pending == 0 {
			return true, nil
		}
		return false, sender.alive()
	})
	if err != nil {
		return nil, err
	}
	m.finish()
	if err := sender.wait(ctx); err != nil {
		return nil, err
	}
	for _, receiver := range receivers {
		receiver.end(syscall.SIGTERM)
	}
	cpu, peak := spent(sender.cmd)
	m.SenderCPU, m.SenderMem = u.perGiB(cpu), peak
	u.clients(m, commandsOf(receivers))
	return files, nil
}

// uftpID is how uftp calls a host: by the number that its address is.
func uftpID(host *lab.Host) string {
	addr := host.Addr().As4()
	return fmt.Sprintf("0x%08X", binary.BigEndian.Uint32(addr[:]))
}
