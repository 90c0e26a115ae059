//go:build linux

package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// nginx is HTTPS as anybody would have it: nginx serves, each client runs curl, all at once. There
// is no multicast in it; it says what multicast is for.
type nginx struct{ *site }

func (*nginx) name() string    { return nginxName }
func (*nginx) missing() string { return firstMissing("nginx", "curl") }

const nginxConfig = `user root;
daemon off;
worker_processes auto;
pid %[1]s/nginx.pid;
error_log stderr warn;
events {}
http {
	access_log off;
	sendfile on;
	client_body_temp_path %[1]s/body;
	proxy_temp_path %[1]s/proxy;
	fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi;
	scgi_temp_path %[1]s/scgi;
	server {
		listen %[2]s ssl;
		ssl_certificate %[1]s/certificate.pem;
		ssl_certificate_key %[1]s/key.pem;
		ssl_protocols TLSv1.3;
		root %[3]s;
	}
}
`

func (n *nginx) run(ctx context.Context, c *testCase, m *measurement, started func()) (_ []string, err error) {
	var files []string
	ctx, cancel := n.bounded(ctx, c)
	defer cancel()
	dir, err := os.MkdirTemp(n.dir, "nginx-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	server := n.room.Server()
	address := net.JoinHostPort(server.Addr().String(), "443")
	if err := writeCertificate(dir, server.Addr().AsSlice()); err != nil {
		return nil, err
	}
	// The root has the image and nothing else in it.
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "root"), 0o700), os.Symlink(n.file, filepath.Join(dir, "root/image"))); err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(config, fmt.Appendf(nil, nginxConfig, dir, address, filepath.Join(dir, "root")), 0o600); err != nil {
		return nil, err
	}
	sender, err := launch(ctx, server, "nginx", "-e", "stderr", "-c", config)
	if err != nil {
		return nil, err
	}
	defer sender.end(os.Kill)
	err = until(ctx, func() (bool, error) {
		var conn net.Conn
		dialed := server.Do(func() (err error) {
			conn, err = net.DialTimeout("tcp", address, time.Second)
			return err
		})
		if dialed == nil {
			_ = conn.Close()
		}
		return dialed == nil, sender.alive()
	})
	if err != nil {
		return nil, err
	}
	started()
	var clients []*process
	defer func() { killEach(clients) }()
	defer func() { removeAfter(err, files) }()
	for i := range c.clients {
		file := n.output(i, ".curl")
		client, err := launch(ctx, n.room.Client(i), "curl", "--silent", "--show-error", "--fail", "--tlsv1.3",
			"--cacert", filepath.Join(dir, "certificate.pem"), "--output", file, "https://"+address+"/image")
		if err != nil {
			return nil, err
		}
		clients, files = append(clients, client), append(files, file)
	}
	for i, client := range clients {
		if err := client.wait(ctx); err != nil {
			return nil, err
		}
		m.ends[i] = client.at
	}
	m.finish()
	// The master reaps its workers, and what they used counts as its own.
	sender.end(syscall.SIGTERM)
	cpu, peak := spent(sender.cmd)
	m.SenderCPU, m.SenderMem = n.perGiB(cpu), peak
	n.clients(m, commandsOf(clients))
	return files, nil
}

// writeCertificate makes a certificate for an address and its key.
func writeCertificate(dir string, address net.IP) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bench"}, IPAddresses: []net.IP{address},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "certificate.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate}), 0o600),
		os.WriteFile(filepath.Join(dir, "key.pem"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600),
	)
}
