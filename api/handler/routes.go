package handler

import (
	"net/http"

	"wimcast/crypto/keyex"
)

// route is one method of one path.
//
// To add one: a line in routes, a method on server that takes the request and returns
// the answer (or a *statusError, or any error for 422), the types that go over the wire in
// package api with a method of api.Client, and the operation in api/openapi.json with
// every status that it can end in. TestRoutes and TestAnswers fail until the document and
// the server agree, and until a request of TestAnswers shows each of those statuses.
type route struct {
	method, path string
	role         keyex.Role // the least that is needed over HTTPS: Viewer, or Operator; or Worker or Point, which stand apart
	handle       func(*server, *http.Request) (any, error)
}

// routes is the whole API, in the order of the document. A viewer may only look, so
// whatever isn't a GET is the operator's, but for links to the web page, where there is only to look.
func routes() []route {
	const get, post, put, patch, del = http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete
	return []route{
		{get, "/v1/openapi.json", keyex.Viewer, (*server).document},
		{get, "/v1/status", keyex.Viewer, (*server).status},
		{get, "/v1/doctor", keyex.Viewer, (*server).doctor},
		{post, "/v1/support", keyex.Operator, (*server).supportBundle},
		{get, "/v1/events", keyex.Viewer, (*server).events},
		{get, "/v1/images", keyex.Viewer, (*server).listImages},
		{post, "/v1/images", keyex.Operator, (*server).addImage},
		{get, "/v1/images/{ref}", keyex.Viewer, (*server).showImage},
		{patch, "/v1/images/{ref}", keyex.Operator, (*server).changeImage},
		{del, "/v1/images/{ref}", keyex.Operator, (*server).removeImage},
		{post, "/v1/images/{ref}/distribute", keyex.Operator, (*server).distribute},
		{post, "/v1/images/{ref}/withdraw", keyex.Operator, (*server).withdraw},
		{post, "/v1/images/{ref}/verify", keyex.Operator, (*server).verifyImage},
		{get, "/v1/images/{ref}/updates", keyex.Viewer, (*server).imageUpdates},
		{post, "/v1/images/{ref}/rollback", keyex.Operator, (*server).rollback},
		{post, "/v1/images/{ref}/export", keyex.Operator, (*server).exportImage},
		{post, "/v1/images/import", keyex.Operator, (*server).importImage},
		{get, "/v1/point", keyex.Viewer, (*server).ownPoint},
		{get, "/v1/points", keyex.Viewer, (*server).listPoints},
		{post, "/v1/points", keyex.Operator, (*server).addPoint},
		{get, "/v1/points/{name}", keyex.Viewer, (*server).showPoint},
		{patch, "/v1/points/{name}", keyex.Operator, (*server).changePoint},
		{del, "/v1/points/{name}", keyex.Operator, (*server).removePoint},
		{get, "/v1/updates", keyex.Viewer, (*server).listUpdates},
		{post, "/v1/updates", keyex.Operator, (*server).addUpdate},
		{get, "/v1/updates/{name}", keyex.Viewer, (*server).showUpdate},
		{del, "/v1/updates/{name}", keyex.Operator, (*server).removeUpdate},
		{get, "/v1/schedules", keyex.Viewer, (*server).listSchedules},
		{post, "/v1/schedules", keyex.Operator, (*server).createSchedule},
		{post, "/v1/schedules/plan", keyex.Operator, (*server).planSchedule},
		{get, "/v1/schedules/{id}", keyex.Viewer, (*server).showSchedule},
		{post, "/v1/schedules/{id}/cancel", keyex.Operator, (*server).cancelSchedule},
		{post, "/v1/worker/job", keyex.Worker, (*server).claimJob},
		{get, "/v1/worker/job/{id}/image", keyex.Worker, (*server).jobImage},
		{put, "/v1/worker/job/{id}/image", keyex.Worker, (*server).uploadJob},
		{get, "/v1/worker/job/{id}/packages/{sum}", keyex.Worker, (*server).jobPackage},
		{post, "/v1/worker/job/{id}/report", keyex.Worker, (*server).reportJob},
		{get, "/v1/deployments", keyex.Viewer, (*server).listDeployments},
		{post, "/v1/deployments", keyex.Operator, (*server).createDeployment},
		{get, "/v1/deployments/{name}", keyex.Viewer, (*server).showDeployment},
		{patch, "/v1/deployments/{name}", keyex.Operator, (*server).changeDeployment},
		{del, "/v1/deployments/{name}", keyex.Operator, (*server).removeDeployment},
		{get, "/v1/sessions", keyex.Viewer, (*server).listSessions},
		{get, "/v1/sessions/{id}/live", keyex.Viewer, (*server).live},
		{patch, "/v1/sessions/{id}", keyex.Operator, (*server).changeSession},
		{post, "/v1/sessions/{id}/start", keyex.Operator, (*server).startSession},
		{post, "/v1/sessions/{id}/wait", keyex.Operator, (*server).waitLonger},
		{post, "/v1/sessions/{id}/cancel", keyex.Operator, (*server).cancelSession},
		{post, "/v1/sessions/{id}/stop", keyex.Operator, (*server).stopSession},
		{get, "/v1/queue", keyex.Viewer, (*server).queue},
		{post, "/v1/clients/{name}/evict", keyex.Operator, (*server).evict},
		{post, "/v1/clients/{name}/unicast", keyex.Operator, (*server).sendUnicast},
		{get, "/v1/pins", keyex.Viewer, (*server).listPINs},
		{post, "/v1/pins", keyex.Operator, (*server).setPIN},
		{del, "/v1/pins/{room}", keyex.Operator, (*server).clearPIN},
		{get, "/v1/logs", keyex.Viewer, (*server).listLogs},
		{get, "/v1/logs/{id}/{file}", keyex.Viewer, (*server).logFile},
		{del, "/v1/logs/{id}", keyex.Operator, (*server).removeLog},
		{get, "/v1/fleet", keyex.Viewer, (*server).fleet},
		{put, "/v1/points/{name}/status", keyex.Point, (*server).reportPoint},
		{post, "/v1/points/{name}/renew", keyex.Point, (*server).renewPoint},
		{get, "/v1/bundles", keyex.Viewer, (*server).listBundles},
		{post, "/v1/bundles", keyex.Operator, (*server).issueBundle},
		{del, "/v1/bundles/{which}", keyex.Operator, (*server).revokeBundle},
		{post, "/v1/page/tokens", keyex.Viewer, (*server).makePageLink},
		{get, "/v1/history/sessions", keyex.Viewer, (*server).historySessions},
		{get, "/v1/history/sessions/{id}", keyex.Viewer, (*server).historySession},
		{get, "/v1/history/clients", keyex.Viewer, (*server).historyClients},
		{get, "/v1/history/actions", keyex.Viewer, (*server).historyActions},
		{get, "/v1/history/proof/{ref}", keyex.Viewer, (*server).historyProof},
		{del, "/v1/history/clients/{name}", keyex.Operator, (*server).forget},
	}
}
