package api

// PointAt is a row of a bundle's table of points: machines with an address in Prefix go to Server first.
type PointAt struct {
	Prefix string `json:"prefix"` // such as 10.1.0.0/16
	Server string `json:"server"` // host:port of a control channel
}
