// Package sddl stands in the place of github.com/cloudsoda/sddl, which github.com/cloudsoda/go-smb2 imports for
// reading and writing security descriptors. That one is under the LGPL, which is more than a statically linked program under
// Apache-2.0 should carry for something that it never uses. go.mod replaces it with this: the same names, and an error.
package sddl

import "errors"

// SecurityDescriptor would be an owner, a group and access lists.
type SecurityDescriptor struct{}

// Binary returns nothing: there is no descriptor to be had.
func (*SecurityDescriptor) Binary() []byte { return nil }

// FromBinary fails: security descriptors aren't read in this program.
func FromBinary([]byte) (*SecurityDescriptor, error) {
	return nil, errors.New("security descriptors aren't supported")
}
