package handler

import (
	"errors"
	"net/http"

	"go.uber.org/zap"

	"wimcast/api"
)

// makePageLink makes a link to the web page. It is the one POST of a viewer: it changes nothing, and what it opens is less than what the
// viewer has. The token is in the answer and nowhere else, the log included.
func (s *server) makePageLink(r *http.Request) (any, error) {
	if s.PageLink == nil {
		return nil, &statusError{http.StatusConflict, errors.New("the web page is off; next: set listen under [page] in wimcastd.toml and restart the daemon")}
	}
	who, _ := api.CallerOf(r.Context())
	link, err := s.PageLink(who)
	if err != nil {
		return nil, err
	}
	s.Log.Info("page link made", zap.Stringer("by", who), zap.Time("until", link.Expires))
	return link, nil
}
