package main

// winpeCommand is about the machine in the room: its boot image, and what runs in that.
type winpeCommand struct {
	Inject winpeInjectCommand `cmd:"" help:"Put the client, a bundle and a start line into a Windows PE boot image, or take them out."`
	Run    winpeRunCommand    `cmd:"" help:"In a boot image: wait for the network, find the distribution point and what this machine may have, and receive it."`
}
