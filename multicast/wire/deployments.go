package wire

import "encoding/binary"

// DeploymentsWanted asks which deployments the client may have, before any join (section 6.7).
//
//	u8 type | u8 version | u32 request | u16 first
type DeploymentsWanted struct {
	Request uint32
	First   uint16 // number of the first one wanted, from 0 on
}

// Append implements Message.
func (m *DeploymentsWanted) Append(b []byte) []byte {
	b = append(b, byte(TypeDeploymentsWanted), Version)
	b = binary.BigEndian.AppendUint32(b, m.Request)
	return binary.BigEndian.AppendUint16(b, m.First)
}

func parseDeploymentsWanted(r *reader) (*DeploymentsWanted, error) {
	m := new(DeploymentsWanted)
	r.check(r.u8() == Version)
	m.Request, m.First = r.u32(), r.u16()
	if err := r.end("deployments wanted"); err != nil {
		return nil, err
	}
	return m, nil
}

// Deployments answers DeploymentsWanted with as many as fit (section 6.7).
//
//	u8 type | u32 request | u16 first | u16 total | u8 count | count × deployment
type Deployments struct {
	Request uint32
	First   uint16 // number of List[0]
	Total   uint16 // that the client may have
	List    []Deployment
}

// Deployment is one that a client may have.
//
//	string name | string package | u32 index | u8 flags (1 direct) | u64 image size | 32 digest
type Deployment struct {
	Name    string
	Package string   // name@version
	Index   uint32   // of the image in the package, from 1 on; 0: none is named
	Direct  bool     // content is read directly from the distribution point, not downloaded first
	Size    uint64   // of the package, in bytes
	Digest  [32]byte // of its manifest, as in the welcome
}

const flagDirect = 1

// Parts of lengths, in bytes.
const (
	deploymentsHead = 1 + 4 + 2 + 2 + 1
	deploymentRest  = 1 + 1 + 4 + 1 + 8 + 32 // without the strings
)

// len returns the bytes that a deployment takes in a message.
func (d *Deployment) len() int {
	return deploymentRest + min(len(d.Name), maxText) + min(len(d.Package), maxText)
}

// Page returns the first deployments of list that fit into one message, at least one
// where there is any.
func Page(list []Deployment) []Deployment {
	room := MaxControl - deploymentsHead
	for i := range list {
		if room -= list[i].len(); room < 0 || i == maxCount {
			return list[:i]
		}
	}
	return list
}

// maxCount is the most that a count of one byte says.
const maxCount = 255

// Append implements Message.
func (m *Deployments) Append(b []byte) []byte {
	b = append(b, byte(TypeDeployments))
	b = binary.BigEndian.AppendUint32(b, m.Request)
	b = binary.BigEndian.AppendUint16(b, m.First)
	b = binary.BigEndian.AppendUint16(b, m.Total)
	list := m.List[:min(len(m.List), maxCount)]
	b = append(b, byte(len(list)))
	for i := range list {
		d := &list[i]
		b = appendText(b, d.Name)
		b = appendText(b, d.Package)
		b = binary.BigEndian.AppendUint32(b, d.Index)
		var flags byte
		if d.Direct {
			flags |= flagDirect
		}
		b = append(b, flags)
		b = binary.BigEndian.AppendUint64(b, d.Size)
		b = append(b, d.Digest[:]...)
	}
	return b
}

func parseDeployments(r *reader) (*Deployments, error) {
	m := &Deployments{Request: r.u32(), First: r.u16(), Total: r.u16()}
	count := int(r.u8())
	r.check(int(m.First)+count <= int(m.Total) && count*deploymentRest <= len(r.b))
	if r.failed {
		return nil, r.end("deployments")
	}
	m.List = make([]Deployment, count)
	for i := range m.List {
		d := &m.List[i]
		d.Name, d.Package, d.Index = r.text(), r.text(), r.u32()
		flags := r.u8()
		r.check(flags <= flagDirect)
		d.Direct = flags&flagDirect != 0
		d.Size = r.u64()
		r.copyTo(d.Digest[:])
	}
	if err := r.end("deployments"); err != nil {
		return nil, err
	}
	return m, nil
}
