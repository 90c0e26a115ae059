// Package fec is the erasure code of a cast: it makes the parity symbols that
// repair a block, and gets a block back from any k of its symbols.
//
// The code is systematic Reed-Solomon over GF(2⁸), polynomial 0x11d. Symbols 0
// to k−1 are the block itself, symbols k to 255 are parity, and any k distinct
// ones give the block (docs/protocol.md, section 2). It is, byte for byte, the
// code that klauspost/reedsolomon builds by default: the Vandermonde matrix
// V[r][c] = r^c times the inverse of its top k rows. A test holds that, and that
// a parity symbol doesn't depend on how many others there are.
//
// That matrix needs no building. Byte b of all symbols of a block lies on one
// polynomial of degree below k, symbol i being its value at the point i; so every
// symbol is a sum of any k others, weighted by Lagrange's coefficients
//
//	y(x) = Σ y(s) · Π (x−t)/(s−t)    s over the known points, t over the others
//
// and encoding and decoding are the same thing: with x a parity point and the
// source symbols known it encodes, with x a lost point and any k symbols known it
// decodes. The products are sums of logarithms. So there is no matrix to keep, to
// invert or to cache, and what a loss costs is independent of whether its pattern
// was seen before. Only the data is moved by the library's vector kernels.
//
// A symbol may have any length. fec knows nothing of packets, blocks on disk or
// sessions; it keeps no buffer, reads no clock and starts no goroutine.
package fec
