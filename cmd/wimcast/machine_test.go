package main

import (
	"testing"

	"wimcast/client/machine"
)

// TestThisMachine: the firmware's word goes into the join as it is.
func TestThisMachine(t *testing.T) {
	m, firmware := thisMachine("pc01"), machine.ReadSystem()
	if m.Host != "pc01" || m.UUID != firmware.UUID || m.Serial != firmware.Serial {
		t.Errorf("%+v, the firmware says %+v", m, firmware)
	}
	if thisMachine("").Host == "" {
		t.Error("no host name")
	}
}
