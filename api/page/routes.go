package page

import "net/http"

// routes are the requests of the admin API that the page makes, and so all that a link or its cookie can ask. Each is a GET that a viewer
// may make. Left out is what the page doesn't show: bundles, PINs, logs of machines, servicing.
func routes() []string {
	return []string{
		"/v1/status",
		"/v1/doctor",
		"/v1/events",
		"/v1/images",
		"/v1/images/{ref}",
		"/v1/deployments",
		"/v1/sessions",
		"/v1/sessions/{id}/live",
		"/v1/queue",
		"/v1/point",
		"/v1/points",
		"/v1/fleet",
		"/v1/history/sessions",
		"/v1/history/sessions/{id}",
		"/v1/history/clients",
		"/v1/history/proof/{ref}",
	}
}

// asks returns a handler that has answer answer the routes, and nothing else.
func asks(answer http.HandlerFunc) *http.ServeMux {
	mux := http.NewServeMux()
	for _, path := range routes() {
		mux.HandleFunc("GET "+path, answer)
	}
	return mux
}
