// Package puller is a point's side of a fleet: it makes the library what its site says.
//
// A [Puller] asks the registry now and then, by one small request, whether the point's tag stands for other assignments than before. New ones are proven (the
// site's signature, the point's name, a serial number that rises) and kept on disk, so that a point whose registry is away knows after a restart what
// it is to have. Then the library is made what they say: what is withdrawn leaves it, what is missing is pulled, one release at a
// time in the order of priorities, its blobs a few at a time. A blob counts when it was proven and synced, a release when all its
// blobs are there: until then the version before it serves, and whatever stops a pull, the next try goes on behind the last blob that was there.
//
// What is out of service is pulled again in the same way: only what is damaged of it travels.
//
// Failures have reasons, a closed set ([Reasons]). What fails is tried again after a while that doubles up to [maxBackOff]; nothing is ever half in
// service. It knows neither the registry's protocol nor the hours: whoever makes it plugs in both.
package puller
