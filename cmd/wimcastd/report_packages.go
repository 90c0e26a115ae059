package main

import (
	"wimcast/api"
	"wimcast/crypto"
	"wimcast/library/fleet/puller"
)

// pointPackages is how packages are at this point, in the words of its report.
func pointPackages(all []puller.Progress) []api.PointPackage {
	out := make([]api.PointPackage, 0, len(all))
	for i := range all {
		p := &all[i]
		one := api.PointPackage{
			Package: p.Reference, Revision: p.Revision, State: string(p.State), Priority: string(p.Priority), Bytes: max(0, p.Bytes), Total: max(0, p.Total), Rate: p.Rate,
			ETA: p.ETA.Seconds(), Since: p.Since, Error: p.Err, Retry: p.Retry, Validated: p.Validated, Held: p.Held,
		}
		if p.Digest != (crypto.Hash{}) {
			one.Digest = p.Digest.String()
		}
		out = append(out, one)
	}
	return out
}
