package handler

import (
	"net"
	"os/user"
	"strconv"

	"golang.org/x/sys/unix"

	"wimcast/api"
	"wimcast/crypto/keyex"
)

// socketCaller says who is at the other end of the admin socket: SO_PEERCRED, the
// credentials of the process when it connected (unix(7)).
func socketCaller(c net.Conn) api.Caller {
	who := api.Caller{Role: string(keyex.Operator), UID: -1}
	socket, ok := c.(*net.UnixConn)
	if !ok {
		return who
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return who
	}
	_ = raw.Control(func(fd uintptr) {
		if credentials, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			who.UID = int(credentials.Uid)
		}
	})
	if who.UID >= 0 {
		if u, err := user.LookupId(strconv.Itoa(who.UID)); err == nil {
			who.Name = u.Username
		}
	}
	return who
}
