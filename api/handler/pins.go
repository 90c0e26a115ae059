package handler

import (
	"fmt"
	"net/http"
	"time"

	"go.uber.org/zap"

	"wimcast/api"
	"wimcast/crypto/pin"
)

// setPIN opens a room. The PIN goes into the answer where it was drawn here, and nowhere else: not into the log, and not into
// the record.
func (s *server) setPIN(r *http.Request) (any, error) {
	var request api.PINSet
	if err := read(r, &request); err != nil {
		return nil, err
	}
	if !(request.For >= 0 && request.For < 1e9) {
		return nil, bad("for_seconds: %v", request.For)
	}
	length, shown, drawn := time.Duration(request.For*float64(time.Second)), request.PIN, ""
	if shown == "" && !request.Open {
		drawn = pin.Draw(length)
		shown = drawn
	}
	room, err := s.PINs.Set(request.Room, shown, length, request.Open)
	if err != nil {
		return nil, bad("%w", err)
	}
	out := pinOf(&room)
	detail := fmt.Sprintf("%s until %s", room.Room, room.Until.UTC().Format(time.RFC3339))
	if room.Open {
		detail += ", without a PIN"
	}
	s.record(r, api.HistoryAction{Action: "pin set", Detail: detail}, nil)
	s.did(r, "PIN set", zap.String("room", room.Room), zap.Time("until", room.Until), zap.Bool("open", room.Open))
	out.Drawn = drawn
	return out, nil
}

func (s *server) listPINs(*http.Request) (any, error) {
	list := []api.PIN{}
	for _, room := range s.PINs.List() {
		list = append(list, pinOf(&room))
	}
	return list, nil
}

func (s *server) clearPIN(r *http.Request) (any, error) {
	room := r.PathValue("room")
	if !s.PINs.Clear(room) {
		return nil, &statusError{http.StatusNotFound, fmt.Errorf("no PIN is set for %q; the passes that an earlier one gave are void; next: wimcast pin list", room)}
	}
	s.record(r, api.HistoryAction{Action: "pin clear", Detail: room}, nil)
	s.did(r, "PIN cleared", zap.String("room", room))
	return struct{}{}, nil
}

func pinOf(r *pin.Room) api.PIN {
	return api.PIN{Room: r.Room, Set: r.Set, Until: r.Until, Open: r.Open, Right: r.Right, Wrong: r.Wrong, Addresses: r.Addresses}
}
