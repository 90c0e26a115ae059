package fec

// field is GF(2⁸) with polynomial x⁸+x⁴+x³+x²+1 (0x11d) and generator 2, as
// tables. Addition is exclusive or, and so is subtraction.
type field struct {
	log [256]uint8 // log[0] isn't used
	exp [256]uint8 // exp[255] is exp[0]
}

// order is that of the field's multiplicative group.
const order = 255

func (f *field) fill() {
	x := 1
	for i := range order {
		f.exp[i], f.log[x] = uint8(x), uint8(i)
		if x <<= 1; x > 0xff {
			x ^= 0x11d
		}
	}
	f.exp[order] = f.exp[0]
}

// distance is the logarithm of the difference of two points that aren't the same.
func (f *field) distance(a, b int) int { return int(f.log[a^b]) }
