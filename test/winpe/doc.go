// Package winpe runs wimcast.exe, the real Windows build as it is released, under Wine on hosts of
// the lab: the nearest to Windows PE that can be had without Microsoft's media.
//
// A [Kit] is made once: the program, the DLL of directory shim that mends what Wine lacks, and a prefix
// (Wine's drive C: and registry). [Kit.Machine] gives a host of the lab a prefix of its own and is a
// [rig.Place]: what is started there with an .exe as the program is a Windows program.
//
// # One boot for each command
//
// Wine's server makes the sockets of all its programs, so it must run in the namespace of the host. Each command
// starts a server of its own and a namespace of processes around all of Wine: when the command ends, or is killed,
// the kernel ends the server and Wine's services with it. Killing a command is pulling the plug; nothing is left
// over, whatever happens. It costs a second at each start, which is what the server and its services take. At most
// one command runs on a machine at a time.
//
// It needs Linux on amd64, root, and the Debian packages wine64 and gcc-mingw-w64-x86-64-win32: [Supported].
package winpe
