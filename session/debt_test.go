package session

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"wimcast/multicast/wire"
)

// debtTwin is the debt of section 5 word by word: a list of every symbol sent and
// one of every NACK heard, and no other state.
type debtTwin struct {
	sent  map[uint32][]twinSymbol
	asked map[uint32][]twinNACK
}

type twinSymbol struct {
	at     time.Time
	number uint64
}

type twinNACK struct {
	at      time.Time
	after   int // symbols of the block that had been sent by then
	block   uint32
	n       int
	highest uint64
}

// hear notes a NACK that comes now.
func (w *debtTwin) hear(q twinNACK, now time.Time) {
	q.at, q.after = now, len(w.sent[q.block])
	w.asked[q.block] = append(w.asked[q.block], q)
}

// owed is the largest over all NACKs of what each lacked, less what was sent of the
// block above its highest packet number, as far as that was remembered when it came.
func (w *debtTwin) owed(block uint32) int {
	most := 0
	for _, q := range w.asked[block] {
		n := q.n
		for i, s := range w.sent[block] {
			remembered := i >= q.after || q.at.Sub(s.at) <= debtMemory
			if s.number > q.highest && remembered {
				n--
			}
		}
		most = max(most, n)
	}
	return most
}

// TestDebtTwin plays random turns, NACKs, their duplicates and late ones, and
// passing time against the twin. At the end everything is paid, and each NACK has got what it lacked.
func TestDebtTwin(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := seeded(seed)
			book, twin := newDebtBook(), &debtTwin{sent: map[uint32][]twinSymbol{}, asked: map[uint32][]twinNACK{}}
			now, number := instant(0), uint64(1)
			blocks := uint32(1 + r.IntN(6))
			pay := func(block uint32, n int) {
				// A turn leaves at one moment here, symbol by symbol or as a whole.
				if r.IntN(2) == 0 {
					book.paid(now, block, number, n)
				} else {
					for i := range n {
						book.paid(now, block, number+uint64(i), 1)
					}
				}
				for range n {
					twin.sent[block] = append(twin.sent[block], twinSymbol{now, number})
					number++
				}
				number++ // a status between turns
			}
			var last twinNACK
			for range 150 {
				now = now.Add(time.Duration(r.IntN(300)) * time.Millisecond)
				if r.IntN(40) == 0 {
					now = now.Add(debtMemory / 2)
				}
				book.forget(now)
				block := r.Uint32N(blocks)
				switch r.IntN(10) {
				case 0, 1, 2: // a turn of a needed block, or some parity nobody asked for
					pay(block, 1+r.IntN(40))
				case 3, 4, 5, 6:
					q := twinNACK{block: block, n: r.IntN(65), highest: uint64(r.Int64N(int64(number)))}
					if r.IntN(3) > 0 { // most clients are nearly up to date
						q.highest = number - 1 - uint64(r.Int64N(int64(min(number, 60))))
					}
					before := twin.owed(block)
					twin.hear(q, now)
					client := r.Uint32N(3)
					if got, want := book.ask(now, client, q.block, q.n, q.highest), twin.owed(block) > before; got != want {
						t.Fatalf("NACK %+v reported to add: %v, want %v", q, got, want)
					}
					last = q
				case 7: // the latest NACK once more, late or at once
					before := twin.owed(last.block)
					twin.hear(last, now)
					if got, want := book.ask(now, 9, last.block, last.n, last.highest), twin.owed(last.block) > before; got != want {
						t.Fatalf("a duplicate %+v reported to add: %v, want %v", last, got, want)
					}
				case 8:
					if block, entry := book.next(); entry != nil {
						if entry.symbols != twin.owed(block) {
							t.Fatalf("next says %d of block %d, want %d", entry.symbols, block, twin.owed(block))
						}
						pay(block, entry.symbols)
					}
				case 9:
					if r.IntN(6) == 0 {
						book.drop(block)
						delete(twin.asked, block)
					}
				}
				checkDebts(t, book, twin, blocks)
			}
			for block, entry := book.next(); entry != nil; block, entry = book.next() {
				pay(block, entry.symbols)
			}
			checkDebts(t, book, twin, blocks)
			for block, nacks := range twin.asked {
				for _, q := range nacks {
					got := 0
					for _, s := range twin.sent[block] {
						if s.number > q.highest {
							got++
						}
					}
					if got < q.n {
						t.Errorf("%+v got %d symbols only", q, got)
					}
				}
			}
			if len(book.owed) != 0 || book.queue != nil {
				t.Errorf("all is paid, and the book still holds %d debts, queue %v", len(book.owed), book.queue)
			}
			book.forget(now.Add(debtMemory + 1))
			if len(book.sent) != 0 || len(book.log) != 0 {
				t.Errorf("10 s after the last symbol the book remembers %v, log %v", book.sent, book.log)
			}
		})
	}
}

// checkDebts compares what the book promises with what the twin owes.
func checkDebts(t *testing.T, book *debtBook, twin *debtTwin, blocks uint32) {
	t.Helper()
	want := map[uint32]int{}
	for block := range blocks {
		if n := twin.owed(block); n > 0 {
			want[block] = n
		}
	}
	got := map[uint32]int{}
	for _, p := range book.promises(wire.MaxPromises) {
		got[p.Block] = int(p.Symbols)
	}
	if !maps.Equal(got, want) {
		t.Fatalf("promises %v, want %v", got, want)
	}
}

// TestDebtOldestFirst: paid in the order asked, whatever is added meanwhile.
func TestDebtOldestFirst(t *testing.T) {
	book := newDebtBook()
	for i, block := range []uint32{7, 3, 9, 3, 1, 7} {
		book.ask(instant(time.Duration(i)*time.Millisecond), 1, block, 5+i, 0)
	}
	want := []wire.Promise{{Block: 7, Symbols: 10}, {Block: 3, Symbols: 8}, {Block: 9, Symbols: 7}, {Block: 1, Symbols: 9}}
	if got := book.promises(10); !slices.Equal(got, want) {
		t.Errorf("promises %v, want %v", got, want)
	}
	if got := book.promises(2); !slices.Equal(got, want[:2]) {
		t.Errorf("two promises: %v, want %v", got, want[:2])
	}
	if got := book.promises(0); got != nil {
		t.Errorf("no promises wanted, got %v", got)
	}
	for i, p := range want {
		block, entry := book.next()
		if entry == nil || block != p.Block || entry.symbols != int(p.Symbols) {
			t.Fatalf("debt %d is block %d %+v, want %+v", i, block, entry, p)
		}
		book.paid(instant(time.Second), block, uint64(100*i+1), entry.symbols)
	}
	if block, entry := book.next(); entry != nil {
		t.Errorf("block %d still owes %+v", block, entry)
	}
}

// TestDebtWhoAsked: alone until somebody else asks for what is owed.
func TestDebtWhoAsked(t *testing.T) {
	book := newDebtBook()
	now := instant(0)
	book.ask(now, 4, 1, 10, 0)
	book.ask(now, 4, 1, 12, 0)
	if _, entry := book.next(); !entry.alone || entry.asker != 4 {
		t.Errorf("one client asked twice: %+v", entry)
	}
	if book.ask(now, 5, 1, 3, 0) {
		t.Error("a smaller NACK added something")
	}
	if _, entry := book.next(); entry.alone || entry.asker != 4 || entry.symbols != 12 {
		t.Errorf("two clients asked: %+v", entry)
	}
	book.paid(now, 1, 50, 12)
	book.ask(now, 6, 1, 2, 61)
	if _, entry := book.next(); !entry.alone || entry.asker != 6 || entry.symbols != 2 {
		t.Errorf("a debt after the paid one: %+v", entry)
	}
}

// TestDebtPacketEdges: exactly those packet numbers count that lie above the highest seen.
func TestDebtPacketEdges(t *testing.T) {
	book := newDebtBook()
	book.paid(instant(0), 1, 100, 10) // 100…109
	book.paid(instant(0), 1, 110, 5)  // …114, the same run
	book.paid(instant(0), 1, 200, 3)  // 200, 201, 202
	book.paid(instant(0), 2, 203, 9)
	for _, tc := range []struct {
		highest uint64
		want    int
	}{{0, 18}, {99, 18}, {100, 17}, {108, 9}, {109, 8}, {113, 4}, {114, 3}, {199, 3}, {200, 2}, {202, 0}, {1 << 60, 0}} {
		if got := book.sentAbove(1, tc.highest); got != tc.want {
			t.Errorf("above %d: %d symbols, want %d", tc.highest, got, tc.want)
		}
	}
	book.forget(instant(debtMemory))
	if got := book.sentAbove(1, 0); got != 18 {
		t.Errorf("after just 10 s it remembers %d symbols, want 18", got)
	}
	book.forget(instant(debtMemory + 1))
	if got := book.sentAbove(1, 0); got != 0 {
		t.Errorf("after more than 10 s it remembers %d symbols", got)
	}
}

// TestDebtSlowTurn: of a turn that takes long each symbol is remembered for 10 s, and none much longer.
func TestDebtSlowTurn(t *testing.T) {
	const apart, turn = 100 * time.Millisecond, 50 // symbols
	book := newDebtBook()
	for i := range turn {
		book.paid(instant(time.Duration(i)*apart), 1, uint64(100+i), 1)
	}
	for at := turn * apart; at <= 20*time.Second; at += apart {
		book.forget(instant(at))
		least, most := 0, 0
		for i := range turn {
			age := at - time.Duration(i)*apart
			if age <= 10*time.Second {
				least++
			}
			if age <= 12*time.Second {
				most++
			}
		}
		if got := book.sentAbove(1, 0); got < least || got > most {
			t.Errorf("%v after the first symbol it remembers %d, want %d to %d", at, got, least, most)
		}
	}
}

// TestDebtRevived: a paid debt that is asked for anew is the newest, and doesn't go before those that wait.
func TestDebtRevived(t *testing.T) {
	book := newDebtBook()
	now := instant(0)
	book.ask(now, 1, 1, 10, 0)
	book.ask(now, 1, 2, 10, 0)
	for round := range 5 {
		block, entry := book.next()
		if block == 2 {
			return
		}
		book.paid(now, block, uint64(100*round+1), entry.symbols)
		book.ask(now, 2, 1, 10, uint64(100*round+10)) // heard before the next turn is picked
	}
	t.Error("block 2 never gets its turn while block 1 is asked for again and again")
}
