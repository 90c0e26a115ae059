package wim

import "testing"

// slack is what may be taken beyond the file's measure, in bytes: room for maxImages images,
// and for the fuzzing engine, whose memory is counted too.
const slack = 16 << 20

// FuzzOpen holds that nothing panics, that errors are the package's, and that memory stays
// in proportion to the file.
func FuzzOpen(f *testing.F) {
	for _, s := range []sample{
		{},
		{images: 1, data: 30, chunk: 50},
		{images: 2, data: 300, chunk: 100, pipable: true, flags: 0x40082},
		{images: 1, data: 60, version: 0xe00, flags: 0x80002, entry: 0x10, chunk: 1000},
		{images: 2, xml: mediaXML, chunk: 7},
		{images: 1, xml: `<?xml version="1.0" encoding="UTF-16"?><!DOCTYPE x [<!ENTITY a "b">]><WIM><IMAGE INDEX="0x1"><NAME>&a;</NAME></IMAGE></WIM>`},
		{images: 1, xml: "<WIM><a><a><a></a></a></a><IMAGE INDEX='1'><![CDATA[x]]></IMAGE><!-- -->\ufffd</WIM>\x00"},
	} {
		b, _ := s.build()
		f.Add(b)
	}
	f.Add([]byte("MSWIM\x00\x00\x00"))
	f.Add([]byte(magicPipe))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 1<<20 {
			return
		}
		var opened, lookup, integrity error
		took := allocated(func() { opened, lookup, integrity = use(t, b) })
		known(t, opened)
		known(t, lookup)
		known(t, integrity)
		if bound := slack + uint64(256*len(b)); took > bound {
			t.Errorf("took %d bytes for %d", took, len(b))
		}
	})
}

// FuzzXML is the same for the XML alone, which FuzzOpen rarely keeps whole.
func FuzzXML(f *testing.F) {
	f.Add(mediaXML, uint8(2))
	f.Add(`<?xml version="1.0" encoding="UTF-16"?><!DOCTYPE x [<!ENTITY a "b">]><WIM><IMAGE INDEX="0x1"><NAME>&a;</NAME></IMAGE></WIM>`, uint8(1))
	f.Add("<WIM><a><a><a></a></a></a><IMAGE INDEX='1'><![CDATA[x]]></IMAGE><!-- -->\ufffd</WIM>\x00", uint8(1))
	f.Add(`<WIM><IMAGE INDEX="2"/><IMAGE INDEX="1"/></WIM>`, uint8(2))
	f.Fuzz(func(t *testing.T, text string, images uint8) {
		b, _ := sample{images: int(images), xml: text}.build()
		if len(b) > maxXML {
			return
		}
		var opened error
		took := allocated(func() { opened, _, _ = use(t, b) })
		known(t, opened)
		if bound := slack + uint64(256*len(b)); took > bound {
			t.Errorf("took %d bytes for %d", took, len(b))
		}
	})
}
