package main

// winpeCommand is about the machine in the room: its boot image, and what runs in that.
type winpeCommand struct {
	Run winpeRunCommand `cmd:"" help:"In a boot image: wait for the network, find the distribution point and what this machine may have, and receive it."`
}
