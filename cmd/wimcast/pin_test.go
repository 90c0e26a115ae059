package main

import (
	"context"
	"errors"
	"strings"
	"testing"
)

// TestPINAsker: the PIN that was named is shown first, and once; then somebody is asked, with the reason.
func TestPINAsker(t *testing.T) {
	var prompts []string
	typed := []string{" 123456 ", " "}
	p := &pinAsker{named: "000000", ask: func(_ context.Context, prompt string) (string, error) {
		prompts = append(prompts, prompt)
		if len(typed) == 0 {
			return "", errNobody
		}
		next := typed[0]
		typed = typed[1:]
		return next, nil
	}}
	for _, want := range []string{"000000", "123456"} {
		if got, err := p.pin(t.Context(), "room12 wants a PIN\x1b[2J"); got != want || err != nil {
			t.Errorf("%q, %v; want %q", got, err, want)
		}
	}
	if len(prompts) != 1 || !strings.HasPrefix(prompts[0], "room12 wants a PIN") || strings.Contains(prompts[0], "\x1b") {
		t.Errorf("asked: %q", prompts)
	}
	if got, err := p.pin(t.Context(), "again"); err == nil || !strings.Contains(err.Error(), "no PIN was typed") {
		t.Errorf("nothing typed: %q, %v", got, err)
	}
	if _, err := p.pin(t.Context(), "again"); !errors.Is(err, errNobody) {
		t.Errorf("nobody there: %v", err)
	}
}
