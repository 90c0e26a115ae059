package handler

import (
	"context"
	"crypto/rand"
	"net/http"
	"strings"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"wimcast/api"
)

// requestLength is the length of a request's id: 60 random bits, so that no two of a fleet's are alike in its logs' life.
const requestLength = 12

// request is what is known of a request beside what net/http does.
type request struct {
	id     string // in the answer's header, in the log, and in the history; drawn here, never taken from whoever asks
	logged bool   // a line of the log says what it did
}

type requestKey struct{}

// begun gives a request its id, and tells whoever asks.
func begun(w http.ResponseWriter, r *http.Request) *http.Request {
	q := &request{id: strings.ToLower(rand.Text()[:requestLength])}
	w.Header().Set(api.RequestHeader, q.id)
	return r.WithContext(context.WithValue(r.Context(), requestKey{}, q))
}

// requestOf returns what is known of a request; of one that didn't come by ServeHTTP nothing.
func requestOf(r *http.Request) *request {
	if q, ok := r.Context().Value(requestKey{}).(*request); ok {
		return q
	}
	return &request{}
}

// did logs what a request did, with its id and who made it: one line, in place of the general one.
func (s *server) did(r *http.Request, message string, fields ...zap.Field) {
	s.log(r, zapcore.InfoLevel, message, fields...)
}

func (s *server) log(r *http.Request, level zapcore.Level, message string, fields ...zap.Field) {
	q := requestOf(r)
	q.logged = true
	who, _ := api.CallerOf(r.Context())
	s.Log.Log(level, message, append(fields, zap.String("request", q.id), zap.Stringer("by", who))...)
}
