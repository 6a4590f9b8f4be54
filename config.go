package session

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"reflect"
	"strings"
	"time"
	"unicode/utf8"
)

// Config is the configuration of a Manager. Its zero value is safe: a cookie for this host only, sent over HTTPS (and
// to http://localhost), out of reach of scripts and of cross-site POSTs, gone when the browser closes, for a session of
// at most a day and an hour of idleness.
type Config struct {
	// Name is the cookie's name. The default is "__Host-session"; "__Secure-session" with a Domain or another Path; and
	// "session" with Secure: Off, since browsers hold the prefixes to their promise (RFC 6265bis, section 4.1.3). Change it
	// whenever Domain, Path or Partitioned change: a browser keeps the cookie with the old attributes beside the new one.
	Name string

	// Realm keeps apart what shares a store or a secret: tokens, seals, users' lists and revocations of different realms
	// never meet. Set it wherever a store or a secret is shared by several services. The default is the cookie's name.
	// Managers with one realm have all of it in common. It has at most 256 bytes.
	Realm string

	// Domain makes the cookie go to a domain and all hosts below it. The default is this host only.
	Domain string

	// Path limits the cookie to paths below it; it is no security boundary. The default is "/".
	Path string

	// Secure keeps the cookie from plain HTTP. Chrome and Firefox make an exception for http://localhost, which Safari
	// does not. The default is On.
	Secure Switch

	// HttpOnly keeps the cookie from scripts. The default is On.
	HttpOnly Switch

	// SameSite is always sent. The default, and what http.SameSiteDefaultMode means here, is Lax. None needs Secure.
	SameSite http.SameSite

	// Partitioned keeps one cookie for each top-level site (CHIPS), for content that others embed; used with SameSite
	// None. It needs Secure. The default is off.
	Partitioned bool

	// Persistent gives the cookie a Max-Age, so that it survives closing the browser; SetPersistent does so for one
	// session. The default is a cookie that goes with the browser.
	Persistent bool

	// IdleTimeout ends a session that is not used for so long. The default is an hour, or Lifetime if that is
	// shorter; a negative value means none. Use is noted once in every twentieth of it.
	IdleTimeout time.Duration

	// Lifetime ends a session so long after it began, used or not. The default is 24 hours; the most is 400 days,
	// which is what browsers keep a cookie for.
	Lifetime time.Duration

	// MaxSize is the most bytes that a session may take in its binary form (Record.MarshalBinary), flashes included and
	// its latest revisions left out. A
	// change that would not fit fails the commit with ErrTooLarge. A session that is larger already can be read, made
	// smaller and ended. The default is 64 KiB. Beside it, a note has at most 256 bytes and a user's name 1 KiB.
	MaxSize int

	// StoreTimeout bounds each load and each commit; Manager.Sessions, Revoke and RevokeUser get ten times as long. The
	// default is a second, and the most is 30 seconds: a write in doubt must be settled within a tombstone's life.
	StoreTimeout time.Duration

	// MaxPerUser is the number of sessions a user may have at once; after a login over it the oldest end, at most 100 at
	// each login. If that fails the login stands, an event tells, and the next login ends more. The default is no limit.
	// It needs a store that can list (UserStore), which CookieStore can't.
	MaxPerUser int

	// OverLimit says what a login over MaxPerUser does. The default, EndOldest, is as above. Refuse fails the login with
	// ErrTooManySessions; it needs MaxPerUser, and costs a login three calls of the
	// store more: the record of its places, the list, and the place.
	OverLimit OverLimit

	// Revalidate is called after each load that found a session, with that session, to ask the application whether it
	// still stands: whether the user exists, or the password is the one it was. An error that wraps ErrSessionEnded
	// ends the session for good, and the request goes on without; any other is a failed load and ends nothing. It may
	// change the session, and its changes come first in the request's; Login, RenameUser, Destroy and Save return an
	// error in it. Its context ends after StoreTimeout, in addition to the load's own: it should heed that. The default
	// is no such check.
	Revalidate func(context.Context, *Session) error

	// Adopt takes live sessions over from the library that was used before, so that a change of the library signs nobody
	// out. It is called when a session is first used in a request that has no cookie that opens one, and at Destroy. It
	// looks for the old library's cookie and returns what the old store knows of that session, or nil for nothing to take
	// over.
	//
	// The session gets a new ID, and the response carries its cookie and removes the old ones. Since that answer may be
	// lost, the old cookie stands for the new session until a request has the new cookie, or for two minutes. Then
	// Adopted.Forget is called, by the process that adopted. For one more minute a request with the old cookie is a late
	// one, which can set nothing; after that it is a visitor's. Of several requests with one old token, one adopts, and the
	// others go on from its session. Each adoption leaves a small record in the store until the old session's deadline, or
	// for 400 days. Destroy ends both sessions; where the old store can't be reached, the answer is a StoreError.
	//
	// Adopt may return a Token beside an error, and should where the cookie itself tells it: what has become of an old
	// session is known by its token, also where the old store is down or has forgotten it. An error that wraps ErrNotFound
	// means that there is nothing to take over; so do values that can't be stored. An event and a log line say so, and
	// the request is a visitor's. Any other error is a StoreError, and nothing but a Login can be committed. After
	// StoreTimeout Adopt is left alone, whether it heeds its request's context or not. That context has no session of this
	// package, and the request no body. The default is to adopt nothing. With a CookieStore it needs WithRevocations.
	Adopt func(*http.Request) (*Adopted, error)

	// BindDevice binds sessions to the device where the browser can do that (Device Bound Session Credentials): after a
	// Login the browser makes a key that can't leave the device, and from then on a second, short-lived cookie has to prove
	// that the browser has the key. Without that proof a copied session cookie opens nothing. BindDevice is how long a
	// proof lasts: 10 minutes is a good choice, and under 5 minutes is refused, since browsers sign seldom. Other browsers
	// go on as before, unbound; see Session.DeviceBound. Middleware must get all requests below BindPath, so wrap the
	// router as a whole. It can't be used with Domain, Partitioned, Secure off, or NewSignedCookieStore. The default is
	// off.
	BindDevice time.Duration

	// BindGrace is how long after a Login a browser may register its key, and how long a session that was bound meanwhile
	// may be used without a proof, since requests may be under way. The default is a minute, and the most is BindDevice.
	BindGrace time.Duration

	// BindPath is the path below which Middleware answers what browsers ask for by themselves, each Manager below its
	// cookie's name. It must be below Path and reach the Middleware as it is. The default is
	// "/.well-known/device-bound-session" below Path.
	BindPath string

	// ClearSiteData sends Clear-Site-Data for cache, cookies and storage with the response to a Destroy; without cookies
	// where another session begins in the same response, whose cookie the browser would drop. The default is off.
	ClearSiteData bool

	// ErrorHandler answers a request whose session could not be loaded or saved; what the handler wrote is dropped, and
	// what is changed in the session from here on is not kept. All but ErrSessionEnded has been logged. It is not called
	// where the client hung up while the session was loaded. The default answers 503 to a StoreError, 409 to
	// ErrSessionEnded, 403 to ErrTooManySessions and 500 to all else, in plain text.
	ErrorHandler func(http.ResponseWriter, *http.Request, error)

	// OnEvent is told what happens to sessions. It is called in the request's goroutine and should be quick; only that an
	// Adopted.Forget failed may be told without a request. It may use
	// the request's session: what it changes is no part of the commit that it is told of, and is saved after that, or
	// reported where a cookie would be needed. The default is to tell nobody.
	OnEvent func(context.Context, Event)

	// Observe is called at the start of each operation on the store: a load, a commit, a list, a revocation, the check of a
	// session that is watched. What it returns, unless that is nil, is called at the end, with the operation's error. Its
	// context carries the request's values, without the session, and ends with the operation. It runs in the request's way,
	// several at the same time, and should be quick. The default is to observe nothing.
	Observe func(context.Context, StoreCall) (done func(error))

	// Logger gets warnings and errors. The default is slog.Default.
	Logger *slog.Logger

	// Clock tells the time. The default is time.Now.
	Clock func() time.Time
}

// Switch is an option that is on unless it is set to Off.
type Switch uint8

// The two states of a Switch.
const (
	On Switch = iota
	Off
)

// String returns "on" or "off".
func (s Switch) String() string {
	switch s {
	case On:
		return "on"
	case Off:
		return "off"
	}
	return fmt.Sprintf("Switch(%d)", uint8(s))
}

// MarshalText returns "on" or "off".
func (s Switch) MarshalText() ([]byte, error) {
	if s > Off {
		return nil, fmt.Errorf("session: %v is neither On nor Off", s)
	}
	return []byte(s.String()), nil
}

// UnmarshalText reads "on", "off", "true" or "false".
func (s *Switch) UnmarshalText(text []byte) error {
	switch string(text) {
	case "on", "true":
		*s = On
	case "off", "false":
		*s = Off
	default:
		return fmt.Errorf("session: a switch is %q, and must be on, off, true or false", text)
	}
	return nil
}

// UnmarshalJSON reads the texts that UnmarshalText reads, and true and false without quotes. Null leaves the switch as it
// is.
func (s *Switch) UnmarshalJSON(raw []byte) error {
	switch string(raw) {
	case "null":
		return nil
	case "true", "false":
		return s.UnmarshalText(raw)
	}
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		return fmt.Errorf("session: a switch must be on, off, true or false: %w", err)
	}
	return s.UnmarshalText([]byte(text))
}

const (
	defaultIdle         = time.Hour
	defaultLifetime     = 24 * time.Hour
	defaultStoreTimeout = time.Second
	maxStoreTimeout     = doubtWindow // so that a creation in doubt is settled within half a tombstone's life
	defaultMaxSize      = 64 << 10
	maxNote             = 256                  // bytes
	maxUser             = 1 << 10              // bytes
	maxRealm            = 256                  // bytes
	maxLifetime         = 400 * 24 * time.Hour // what browsers cap a cookie's lifetime at (RFC 6265bis, section 5.5)
	maxCookie           = 4096                 // bytes of name and value that browsers accept (RFC 6265bis, section 5.6)
	maxAttribute        = 1024                 // bytes of an attribute's value that browsers accept (likewise)
)

// withDefaults returns c with its zero values filled in, and an error that names every fault.
func (c Config) withDefaults(store Store) (Config, error) {
	faults := c.faults(store)
	if c.Path == "" {
		c.Path = "/"
	}
	if c.Name == "" {
		c.Name = c.defaultName()
	}
	c.Realm = cmp.Or(c.Realm, c.Name)
	c.MaxSize = cmp.Or(c.MaxSize, defaultMaxSize)
	if c.SameSite == 0 || c.SameSite == http.SameSiteDefaultMode {
		c.SameSite = http.SameSiteLaxMode
	}
	c.Domain = strings.TrimPrefix(c.Domain, ".")
	c.Lifetime = cmp.Or(c.Lifetime, defaultLifetime)
	c.IdleTimeout = idleOrDefault(c.IdleTimeout, c.Lifetime)
	c.StoreTimeout = cmp.Or(c.StoreTimeout, defaultStoreTimeout)
	c.Clock = inMicroseconds(c.Clock)
	faults = append(faults, c.cookieFaults()...)
	faults = append(faults, c.bindFaults(store)...)
	c.BindGrace = cmp.Or(c.BindGrace, defaultBindGrace)
	if len(faults) > 0 {
		return c, errors.New("session: invalid configuration: " + strings.Join(faults, "; "))
	}
	return c, nil
}

// inMicroseconds returns clock, or time.Now, to the precision that stores keep.
func inMicroseconds(clock func() time.Time) func() time.Time {
	if clock == nil {
		clock = time.Now
	}
	return func() time.Time { return clock().Truncate(time.Microsecond) }
}

// idleOrDefault resolves an idle timeout as Config and SetLifetime take it: zero for the default, negative for none,
// which is zero in a Record.
func idleOrDefault(idle, lifetime time.Duration) time.Duration {
	switch {
	case idle < 0:
		return 0
	case idle == 0:
		return min(defaultIdle, lifetime)
	}
	return idle
}

func (c Config) defaultName() string {
	switch {
	case c.Secure == Off:
		return "session"
	case c.Domain != "" || c.Path != "/":
		return "__Secure-session"
	}
	return "__Host-session"
}

// faults finds what is wrong with the options as they were given.
func (c Config) faults(store Store) (faults []string) {
	add := func(wrong bool, fault string) {
		if wrong {
			faults = append(faults, fault)
		}
	}
	_, lists := store.(UserStore)
	add(isNil(store), "the store is nil")
	add(c.Secure > Off, "Secure must be On or Off")
	add(c.HttpOnly > Off, "HttpOnly must be On or Off")
	add(c.SameSite < 0 || c.SameSite > http.SameSiteNoneMode, "SameSite is none of the values of http.SameSite")
	add(c.SameSite == http.SameSiteNoneMode && c.Secure == Off, "SameSite None needs Secure, or browsers refuse the cookie")
	add(c.Partitioned && c.Secure == Off, "Partitioned needs Secure, or browsers refuse the cookie")
	if fault := lifetimeFault(c.IdleTimeout, c.Lifetime, defaultLifetime); fault != "" {
		faults = append(faults, fault)
	}
	add(c.MaxSize < 0, "MaxSize is negative")
	add(c.StoreTimeout < 0, "StoreTimeout is negative")
	add(c.StoreTimeout > maxStoreTimeout, "StoreTimeout is over 30 seconds, the time within which a write whose answer was lost has to be settled")
	add(len(c.Realm) > maxRealm || !utf8.ValidString(c.Realm), "Realm is longer than 256 bytes, or not valid UTF-8")
	add(c.MaxPerUser < 0, "MaxPerUser is negative")
	cookies, inCookie := store.(*CookieStore)
	add(c.Adopt != nil && inCookie && cookies != nil && cookies.ended == nil && cookies.fault == nil,
		"Adopt needs a store that can keep which sessions were adopted: a server store, or CookieStore.WithRevocations")
	add(c.OverLimit > Refuse, "OverLimit must be EndOldest or Refuse")
	add(c.OverLimit == Refuse && c.MaxPerUser == 0, "OverLimit Refuse needs MaxPerUser")
	add(c.MaxPerUser > 0 && !lists, "MaxPerUser needs a store that can list a user's sessions (UserStore)")
	return faults
}

// lifetimeFault tells what is wrong with a pair of limits as Config and SetLifetime take them, or returns "".
func lifetimeFault(idle, lifetime, otherwise time.Duration) string {
	switch {
	case lifetime < 0:
		return "Lifetime is negative; a session always has an absolute limit"
	case lifetime > maxLifetime:
		return "Lifetime is over 400 days, which browsers cut to 400"
	case idle > cmp.Or(lifetime, otherwise):
		return fmt.Sprintf("IdleTimeout %v is longer than Lifetime %v", idle, cmp.Or(lifetime, otherwise))
	}
	return ""
}

// cookieFaults finds what is wrong with the cookie, once its name and path are known. http.Cookie.Valid accepts much
// of this.
func (c Config) cookieFaults() (faults []string) {
	add := func(wrong bool, format string, args ...any) {
		if wrong {
			faults = append(faults, fmt.Sprintf(format, args...))
		}
	}
	valid := func(probe http.Cookie) bool { return probe.Valid() == nil }
	add(!valid(http.Cookie{Name: c.Name}), "Name %q is no valid cookie name", c.Name)
	add(len(c.Name) > 256, "Name is longer than 256 bytes")
	add(c.Domain != "" && !valid(http.Cookie{Name: "n", Domain: c.Domain}), "Domain %q is no valid cookie domain", c.Domain)
	add(c.Path[0] != '/' || !valid(http.Cookie{Name: "n", Path: c.Path}), "Path %q is no valid cookie path; it starts with a slash", c.Path)
	add(len(c.Domain) > maxAttribute || len(c.Path) > maxAttribute, "Domain or Path is longer than 1024 bytes, which browsers ignore")

	host, secure := hasPrefix(c.Name, "__Host-"), hasPrefix(c.Name, "__Secure-")
	httpOnly := hasPrefix(c.Name, "__Http-") || hasPrefix(c.Name, "__Host-Http-")
	add(host && c.Domain != "", "a __Host- cookie can't have a Domain; name it __Secure-")
	add(host && c.Path != "/", "a __Host- cookie must have the Path /; name it __Secure-")
	add((host || secure || httpOnly) && c.Secure == Off, "the cookie's name %s needs Secure; with Secure: Off use a name without prefix", c.Name)
	add(httpOnly && c.HttpOnly == Off, "the cookie's name %s needs HttpOnly", c.Name)
	return faults
}

// hasPrefix ignores case, as browsers do when they hold a name to its prefix.
func hasPrefix(name, prefix string) bool {
	return len(name) >= len(prefix) && strings.EqualFold(name[:len(prefix)], prefix)
}

func isNil(store Store) bool {
	v := reflect.ValueOf(store)
	return !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil()
}
