package session

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// TestRateTrace draws docs/rate.svg when asked to, from the bed of rate_bed_test.go:
//
//	WIMCAST_TRACE=../docs/rate.svg go test ./session -run TestRateTrace
func TestRateTrace(t *testing.T) {
	file := os.Getenv("WIMCAST_TRACE")
	if file == "" {
		t.Skip("WIMCAST_TRACE names no file to draw to")
	}
	const left, width, height, gap = 60, 640, 130, 50
	var svg strings.Builder
	panel := 0
	draw := func(title string, b *bed, d time.Duration, speed func(time.Duration) float64) {
		c, top := b.casts[0], float64(30+panel*(height+gap))
		panel++
		x := func(at time.Duration) float64 { return left + at.Seconds()/d.Seconds()*width }
		y := func(rate float64) float64 { return top + height - min(rate/mbit200, 1.3)/1.3*height }
		var rate, link, tcp strings.Builder
		const every = 50 * time.Millisecond
		var flow float64
		for at := time.Duration(0); at < d; at += every {
			b.shared.speed = speed(at)
			b.run(every)
			fmt.Fprintf(&rate, "%.1f,%.1f ", x(at), y(c.law.rate*(bedPacket+bedWire)/bedPacket))
			fmt.Fprintf(&link, "%.1f,%.1f ", x(at), y(b.shared.speed))
			if len(b.tcp) > 0 {
				fmt.Fprintf(&tcp, "%.1f,%.1f ", x(at), y((b.tcp[0].received-flow)/every.Seconds()*(tcpPacket+20+bedWire)/tcpPacket))
				flow = b.tcp[0].received
			}
		}
		fmt.Fprintf(&svg, "<text x=\"%d\" y=\"%.0f\">%s</text>\n<rect x=\"%d\" y=\"%.0f\" width=\"%d\" height=\"%d\" fill=\"none\" stroke=\"#bbb\"/>\n",
			left, top-8, title, left, top, width, height)
		fmt.Fprintf(&svg, "<text x=\"%d\" y=\"%.0f\" text-anchor=\"end\">25 MB/s</text>\n<text x=\"%d\" y=\"%.0f\" text-anchor=\"end\">%v</text>\n",
			left-4, y(mbit200)+4, left+width, top+height+16, d)
		for _, line := range []struct{ points, style string }{{link.String(), "#999\" stroke-dasharray=\"4 3"}, {tcp.String(), "#d97706"}, {rate.String(), "#1d4ed8"}} {
			fmt.Fprintf(&svg, "<polyline fill=\"none\" stroke=\"%s\" points=\"%s\"/>\n", line.style, line.points)
		}
	}
	steady := func(time.Duration) float64 { return mbit200 }

	b := newBed(mbit200, 10*time.Millisecond)
	b.cast(112e6, 4)
	draw("A link of 200, 50, 200 Mbit/s (dashed), queue of 10 ms: the rate", b, 15*time.Second, func(at time.Duration) float64 {
		if at >= 5*time.Second && at < 10*time.Second {
			return mbit200 / 4
		}
		return mbit200
	})

	b = newBed(mbit200, 10*time.Millisecond)
	c := b.cast(112e6, 4)
	b.at = append(b.at, func(b *bed) {
		if b.now.Sub(instant(0)) == 5*time.Second {
			for _, client := range c.clients {
				client.loss = always(0.05)
			}
		}
	})
	draw("5 % random loss at each of four clients from 5 s on", b, 15*time.Second, steady)

	b = newBed(mbit200, 10*time.Millisecond)
	b.cast(112e6, 4)
	b.flow().from = b.now.Add(3 * time.Second)
	draw("Beside one TCP flow (CUBIC) from 3 s on: the rate, and what TCP gets (lighter)", b, 15*time.Second, steady)

	out := fmt.Sprintf("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n%s</svg>\n",
		left+width+20, 30+panel*(height+gap), svg.String())
	if err := os.WriteFile(file, []byte(out), 0o644); err != nil {
		t.Fatal(err)
	}
}
