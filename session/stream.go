package session

import (
	"fmt"
	"slices"

	"wimcast/crypto"
	"wimcast/multicast/fec"
)

// symbolSizes are the symbol sizes of section 2, the largest first, with the
// UDP payload each needs.
var symbolSizes = []int{8192, 1408, 1344}

// defaultSymbol is what fits an Ethernet frame of 1,500 bytes.
const defaultSymbol = 1408

// validSymbol reports whether a welcome may name the symbol size.
func validSymbol(size int) bool { return slices.Contains(symbolSizes, size) }

// geometry is how an image becomes a stream of blocks and symbols (section 2).
type geometry struct {
	symbol   int   // bytes
	image    int64 // bytes
	manifest int64 // bytes
	m, b     int   // blocks of manifest and image
}

func newGeometry(imageSize int64, symbol int) geometry {
	manifest := crypto.ManifestLen(imageSize)
	return geometry{
		symbol: symbol, image: imageSize, manifest: manifest,
		m: crypto.BlockCount(manifest), b: crypto.BlockCount(imageSize),
	}
}

// blocks returns the length of the stream.
func (g *geometry) blocks() int { return g.m + g.b }

// length returns how many bytes block n of the stream has.
func (g *geometry) length(n int) int {
	if n < g.m {
		return crypto.BlockLen(g.manifest, n)
	}
	return crypto.BlockLen(g.image, n-g.m)
}

// k returns how many source symbols block n of the stream has.
func (g *geometry) k(n int) int { return (g.length(n) + g.symbol - 1) / g.symbol }

// packet returns the length of a symbol packet.
func (g *geometry) packet() int { return packetOverhead + g.symbol }

// codes keeps one erasure code for each k in use: the common one and at most two
// for the last blocks of manifest and image.
type codes map[int]*fec.Code

func (c codes) get(k int) *fec.Code {
	code := c[k]
	if code == nil {
		var err error
		if code, err = fec.New(k); err != nil {
			panic(fmt.Sprintf("session: erasure code for k = %d: %v", k, err))
		}
		c[k] = code
	}
	return code
}
