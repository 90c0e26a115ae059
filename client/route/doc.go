// Package route decides which of several distribution points a client goes to: in which order by where the machine stands, and which one is
// next when one is down, full, or hasn't got the package. It opens no connection and reads no clock; who does that tells it what came of it.
package route
