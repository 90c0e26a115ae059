// Command room builds a room in network namespaces, prints how to enter each
// host, and removes everything, programs in it included, at an interrupt. It
// is for trying things by hand; as root:
//
//	go run ./test/lab/room -clients 4 -loss 5
//
// It needs Linux; package lab says what else.
package main
