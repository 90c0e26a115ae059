package pin

import (
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"net/netip"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/argon2"
)

// Bounds of what an operator sets.
const (
	// DefaultFor is how long a room is open when nothing else is said.
	DefaultFor = time.Hour
	leastFor   = time.Minute
	mostFor    = 24 * time.Hour
	// MinLength is the least length of a PIN, in characters.
	MinLength = 6
	// MaxLength is the most.
	MaxLength = 64
	// digits is how long a PIN is that is drawn here; longDigits for rooms that are open for more than shortFor.
	digits, longDigits = 6, 8
	shortFor           = 2 * time.Hour
	maxRooms           = 1000
	maxRoomName        = 64 // bytes, as of certificates' names
)

// The slow hash: argon2id with the least that OWASP's Password Storage Cheat Sheet recommends.
const (
	hashTime   = 2
	hashMemory = 19 << 10 // KiB; one hash at a time, so this is all that guessing can cost
	hashLanes  = 1
	hashLength = 32
	saltLength = 16
)

// Implementation constants.
const (
	maxWaiting  = 64 // for the slow hash; beyond it they come again
	comeAgain   = time.Second
	closedAgain = 5 * time.Second // how often a client looks whether its room was opened
	passFor     = 12 * time.Hour  // a cast, and machines that come back to it
	maxPasses   = 20_000
)

// Result says how a try ended. It is a closed set, fit for a label.
type Result string

// The results.
const (
	Right   Result = "right"
	Wrong   Result = "wrong"
	Limited Result = "limited" // not looked at: too many tries
	Closed  Result = "closed"  // nobody has set a PIN
	Pass    Result = "pass"    // let in by the pass of an earlier try
)

// Results returns the closed list, in a fixed order.
func Results() []Result { return []Result{Right, Wrong, Limited, Closed, Pass} }

// State is what a certificate's holder finds.
type State int

// The states.
const (
	IsClosed State = iota // no PIN is set: nobody gets in
	IsWanted              // a PIN is set
	IsOpen                // open without one, for a time
)

// Who tries.
type Who struct {
	Name   string     // of the certificate
	Serial string     // of the certificate
	Alone  bool       // the certificate is one machine's
	Addr   netip.Addr // where it comes from
}

// Room is what an operator may see: never the PIN.
type Room struct {
	Room      string // the certificates' name, or a pattern
	Set       time.Time
	Until     time.Time
	Open      bool // without a PIN
	Right     int  // tries
	Wrong     int
	Addresses int // that have been wrong
}

// RefusedError refuses a try.
type RefusedError struct {
	Result Result
	Again  time.Duration // with Limited and Closed: when to come again
}

func (e *RefusedError) Error() string { return "PIN: " + string(e.Result) }

// room is an open room.
type room struct {
	Room

	salt, hash   []byte
	known, fresh bucket
	wrong        map[netip.Addr]time.Time // addresses, and when they last were
	told         int                      // wrong tries when the operator was last told
}

type pass struct {
	room, serial string
	until        time.Time
}

// Book keeps the PINs. Safe for concurrent use.
type Book struct {
	alarm    func(text string)
	slow     func(pin string, salt []byte) []byte
	checking chan struct{} // holds a token while a slow hash runs

	mu      sync.Mutex // guards what follows; never held while hashing
	rooms   map[string]*room
	sources sources
	checks  bucket
	waiting int
	passes  map[[sha256.Size]byte]pass
	counts  map[Result]uint64
}

// New returns an empty book. alarm is told, in one sentence, when somebody guesses; it may be nil.
func New(alarm func(text string)) *Book {
	return &Book{
		alarm: alarm, slow: slow, checking: make(chan struct{}, 1), rooms: map[string]*room{}, sources: sources{}, passes: map[[sha256.Size]byte]pass{}, counts: map[Result]uint64{},
	}
}

// Draw draws a PIN for a room that shall be open for so long.
func Draw(length time.Duration) string {
	n := digits
	if length > shortFor {
		n = longDigits
	}
	v, _ := rand.Int(rand.Reader, new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil)) // never fails
	return fmt.Sprintf("%0*d", n, v)
}

// Set opens a room to those who show the PIN, for so long (0: DefaultFor), in place of what was set for it. With
// open it wants none, and pin is empty. name is the certificates', or a pattern as path.Match has it.
func (b *Book) Set(name, pin string, length time.Duration, open bool) (Room, error) {
	if length == 0 {
		length = DefaultFor
	}
	switch _, err := path.Match(name, ""); {
	case err != nil || name == "" || len(name) > maxRoomName || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return Room{}, fmt.Errorf("room %.80q: want the name of a bundle, or a pattern such as lab12-*", name)
	case length < leastFor || length > mostFor:
		return Room{}, fmt.Errorf("open for %v: want %v to %v", length, leastFor, mostFor)
	case open && pin != "":
		return Room{}, errors.New("a room that is open wants no PIN: leave one of them out")
	case !open && (len(pin) < MinLength || len(pin) > MaxLength || strings.ContainsFunc(pin, func(r rune) bool { return r <= ' ' || r > '~' })):
		return Room{}, fmt.Errorf("the PIN isn't %d to %d letters, digits and signs of ASCII without spaces", MinLength, MaxLength)
	}
	now := time.Now()
	r := &room{Room: Room{Room: name, Set: now, Until: now.Add(length), Open: open}, wrong: map[netip.Addr]time.Time{}}
	if !open {
		r.salt = make([]byte, saltLength)
		_, _ = rand.Read(r.salt)
		r.hash = b.slow(pin, r.salt)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.expire(now)
	if b.rooms[name] == nil && len(b.rooms) >= maxRooms {
		return Room{}, fmt.Errorf("%d rooms are open already; next: wimcast pin clear", maxRooms)
	}
	b.rooms[name] = r
	return r.Room, nil
}

func slow(pin string, salt []byte) []byte {
	return argon2.IDKey([]byte(pin), salt, hashTime, hashMemory, hashLanes, hashLength)
}

// Clear closes a room, and makes the passes void that it gave. It reports whether it was open.
func (b *Book) Clear(name string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.expire(time.Now())
	known := b.rooms[name] != nil
	delete(b.rooms, name)
	maps.DeleteFunc(b.passes, func(_ [sha256.Size]byte, p pass) bool { return p.room == name })
	return known
}

// List returns the rooms that are open, by name.
func (b *Book) List() []Room {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.expire(time.Now())
	list := []Room{}
	for _, name := range slices.Sorted(maps.Keys(b.rooms)) {
		r := b.rooms[name]
		r.Addresses = len(r.wrong)
		list = append(list, r.Room)
	}
	return list
}

// expire closes rooms whose time is up. The caller holds mu.
func (b *Book) expire(now time.Time) {
	maps.DeleteFunc(b.rooms, func(_ string, r *room) bool { return !now.Before(r.Until) })
}

// find returns the room of a certificate: the one of its name, else the pattern that was set last. The caller holds mu.
func (b *Book) find(now time.Time, name string) *room {
	b.expire(now)
	if r := b.rooms[name]; r != nil {
		return r
	}
	var found *room
	for pattern, r := range b.rooms {
		if fits, _ := path.Match(pattern, name); fits && (found == nil || r.Set.After(found.Set)) {
			found = r
		}
	}
	return found
}

// State says what the holder of a certificate finds.
func (b *Book) State(name string) State {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch r := b.find(time.Now(), name); {
	case r == nil:
		return IsClosed
	case r.Open:
		return IsOpen
	}
	return IsWanted
}

// Counts returns how many tries ended in each result. The caller owns it.
func (b *Book) Counts() map[Result]uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := maps.Clone(b.counts)
	for _, r := range Results() {
		out[r] += 0
	}
	return out
}
