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

// Config is the configuration of a Manager. Its zero value is safe. The cookie is for this host only, is sent over
// HTTPS (and to http://localhost) only, is hidden from scripts, is not sent with POST requests of other sites, and ends
// with the browser. A session lasts for a day at most, and for an hour without use.
type Config struct {
	// Name is the cookie's name. The default is "__Host-session". With a Domain or another Path it is
	// "__Secure-session", and with Secure: Off it is "session": browsers accept these prefixes only with those
	// attributes (RFC 6265bis, section 4.1.3). Change the name when Domain, Path or Partitioned change: a browser keeps
	// the cookie with the old attributes beside the new one.
	Name string

	// Realm keeps services apart that share a store or a secret: their tokens, encrypted cookies, lists of users'
	// sessions and revocations never meet. Set it in each service that shares one. The default is the cookie's name.
	// Managers with the same realm share all of these. It has at most 256 bytes.
	Realm string

	// Domain makes the browser send the cookie to this domain and all hosts below it. The default is this host only.
	Domain string

	// Path makes the browser send the cookie only to paths below it. It is not a security boundary. The default is "/".
	Path string

	// Secure makes the browser send the cookie over HTTPS only. Chrome and Firefox make an exception for
	// http://localhost, and Safari does not. The default is On.
	Secure Switch

	// HttpOnly hides the cookie from scripts. The default is On.
	HttpOnly Switch

	// SameSite is always sent. The default is Lax, and http.SameSiteDefaultMode means Lax too. None needs Secure.
	SameSite http.SameSite

	// Partitioned makes the browser keep one cookie for each top-level site (CHIPS). It is for content that other sites
	// embed, together with SameSite None. It needs Secure. The default is off.
	Partitioned bool

	// Persistent gives the cookie a Max-Age, so that it survives closing the browser. Session.SetPersistent decides it
	// for one session. The default is a cookie that ends with the browser.
	Persistent bool

	// IdleTimeout ends a session that is not used for this time. The default is an hour, or Lifetime if that is
	// shorter. It must not be longer than Lifetime. A negative value means no idle limit. The store learns of a use at
	// most once in a twentieth of this time.
	IdleTimeout time.Duration

	// Lifetime ends a session this long after it began, whether it is used or not. The default is 24 hours. The maximum
	// is 400 days, because browsers keep no cookie longer.
	Lifetime time.Duration

	// MaxSize is how many bytes a session may take in its binary form (Record.MarshalBinary). Flashes count, and the
	// latest revisions do not. A change that does not fit fails the commit with ErrTooLarge. A session that is larger
	// already can be read, made smaller and ended. The default is 64 KiB. A note has a limit of its own, 256 bytes, and
	// so has a user's name, 1 KiB.
	MaxSize int

	// StoreTimeout bounds each load and each commit. Manager.Sessions, Revoke and RevokeUser get ten times as long, 30
	// seconds at most. The default is one second. The maximum is 30 seconds: a lost answer must be cleared up while
	// tombstones are kept, which is a minute.
	StoreTimeout time.Duration

	// MaxPerUser is how many sessions a user may have at the same time. After a login over the limit the user's oldest
	// sessions end, at most 100 at each login. If that fails, the login is still valid, an event says so, and the next
	// login ends the rest. The default is no limit. It needs a store that can list (UserStore), which a CookieStore
	// can't.
	MaxPerUser int

	// OverLimit says what a login over MaxPerUser does. The default, EndOldest, ends the oldest sessions. Refuse fails
	// the login with ErrTooManySessions. Refuse needs MaxPerUser, and costs a login three more calls of the store: the
	// record of its places, the list, and the place.
	OverLimit OverLimit

	// Revalidate asks the application whether a session may still be used, after each load that found one: whether the
	// user still exists, for example, or whether the password is still the same. An error that wraps ErrSessionEnded
	// ends the session for good, and the request goes on without one. Any other error is a failed load, and ends
	// nothing.
	//
	// Revalidate may change the session. Its changes come before those of the handler. Login, RenameUser, Destroy and
	// Save return an error in it. Its context ends StoreTimeout after the load did, and Revalidate should return then.
	// The default is no check.
	Revalidate func(context.Context, *Session) error

	// Adopt takes over live sessions of the library that was used before, so that the change signs nobody out. It is
	// called when a session is first used in a request whose cookie opens no session of this package, and at Destroy.
	// It looks for the old library's cookie, and returns what the old store knows of that session, or nil if there is
	// nothing to take over.
	//
	// The session gets a new ID. The response sets its cookie and removes the old ones. That response may be lost, so
	// the old cookie stands for the new session until a request has the new cookie, or for two minutes. Then
	// Adopted.Forget is called, by the process that adopted. For one more minute a request with the old cookie counts
	// as late, and can't set anything. After that it is a visitor's. If several requests have the same old token, one
	// of them adopts, and the others use its session. Each adoption keeps a small record in the store until the old
	// session's deadline, or for 400 days. Destroy ends both sessions. If the old store can't be reached, the answer is
	// a StoreError.
	//
	// Adopt may return a Token together with an error, and should do so if the cookie itself holds the token. The token
	// tells what became of an old session, even when the old store is down or has forgotten it. An error that wraps
	// ErrNotFound means that there is nothing to take over. So do values that can't be stored. An event and a log line
	// say so, and the request is a visitor's. Any other error is a StoreError, and then only a Login can be committed.
	//
	// The request does not wait for Adopt longer than StoreTimeout, even if Adopt ignores its context. Adopt's request
	// has no session of this package in its context, and no body. The default is to adopt nothing. With a CookieStore
	// it needs WithRevocations.
	Adopt func(*http.Request) (*Adopted, error)

	// BindDevice binds sessions to the device, if the browser supports it (Device Bound Session Credentials). After a
	// Login the browser makes a key that can't leave the device. From then on a second, short-lived cookie proves that
	// the browser has the key. Without that proof a copied session cookie opens nothing. BindDevice is how long a proof
	// lasts. 10 minutes is a good choice. Less than 5 minutes is refused, because browsers limit how often they sign.
	//
	// Browsers without support go on as before, unbound: see Session.DeviceBound. Middleware must get all requests
	// below BindPath, so wrap the whole router. BindDevice can't be used with Domain, Partitioned, Secure: Off, or
	// NewSignedCookieStore. The default is off.
	BindDevice time.Duration

	// BindGrace is how long after a Login a browser may register its key. For the same time a session that was bound
	// meanwhile can be used without a proof, because requests may be under way. The default is one minute, and the
	// maximum is BindDevice.
	BindGrace time.Duration

	// BindPath is the path below which Middleware answers the browser's own requests. Each Manager answers below its
	// cookie's name. It must be below Path, and must reach Middleware unchanged. The default is
	// "/.well-known/device-bound-session" below Path.
	BindPath string

	// ClearSiteData sends Clear-Site-Data for cache, cookies and storage with the response to a Destroy. If another
	// session begins in the same response, it leaves out cookies, because the browser would drop the new one. The
	// default is off.
	ClearSiteData bool

	// ErrorHandler answers a request whose session could not be loaded or saved. What the handler wrote is dropped, and
	// changes of the session from here on are not kept. The error has been logged, unless it is ErrSessionEnded. It is
	// not called if the client hung up during the load. The default answers 503 to a StoreError, 409 to
	// ErrSessionEnded, 403 to ErrTooManySessions and 500 to all other errors, in plain text.
	ErrorHandler func(http.ResponseWriter, *http.Request, error)

	// OnEvent is told what happens to sessions. It is called in the request's goroutine, and should be quick. Only a
	// failed Adopted.Forget may be told outside a request. OnEvent may use the request's session. What it changes is
	// not part of the commit that the event is about: it is saved after that, or reported if it would need a cookie.
	// The default is to tell nobody.
	OnEvent func(context.Context, Event)

	// Observe is called at the start of each operation on the store: a load, a commit, a list, a revocation, or the
	// check of a session that is watched. The function that it returns, if not nil, is called at the end with the
	// operation's error. Its context has the request's values, except the session, and ends with the operation. The
	// request waits for Observe, so it should be quick. Several calls may run at the same time. The default is to
	// observe nothing.
	Observe func(context.Context, StoreCall) (done func(error))

	// Logger gets warnings and errors. The default is slog.Default.
	Logger *slog.Logger

	// Clock tells the time. It may be called while the session is locked, so it must not use the session. The default is
	// time.Now.
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
	maxStoreTimeout     = doubtWindow // so that doubt about a new session is resolved within half a tombstone's life
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
	c.Path = cmp.Or(c.Path, "/")
	c.Name = cmp.Or(c.Name, c.defaultName())
	c.Realm = cmp.Or(c.Realm, c.Name)
	c.MaxSize = cmp.Or(c.MaxSize, defaultMaxSize)
	if c.SameSite == 0 || c.SameSite == http.SameSiteDefaultMode {
		c.SameSite = http.SameSiteLaxMode
	}
	c.Domain = strings.TrimPrefix(c.Domain, ".")
	c.Lifetime = cmp.Or(c.Lifetime, defaultLifetime)
	c.IdleTimeout = idleOrDefault(c.IdleTimeout, defaultIdle, c.Lifetime)
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

// inMicroseconds returns clock, or time.Now if clock is nil. The result has the precision that stores keep.
func inMicroseconds(clock func() time.Time) func() time.Time {
	if clock == nil {
		clock = time.Now
	}
	return func() time.Time { return clock().Truncate(time.Microsecond) }
}

// idleOrDefault resolves an idle timeout as Config and SetLifetime take it: zero means otherwise, and a negative one
// means none. In a Record, zero means none.
func idleOrDefault(idle, otherwise, lifetime time.Duration) time.Duration {
	if idle == 0 {
		return min(otherwise, lifetime)
	}
	return max(idle, 0)
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

// faultList is what is wrong with a configuration.
type faultList []string

// add adds a fault, if it is one.
func (f *faultList) add(wrong bool, format string, args ...any) {
	if wrong {
		*f = append(*f, fmt.Sprintf(format, args...))
	}
}

// faults finds what is wrong with the options as they were given.
func (c Config) faults(store Store) (faults faultList) {
	_, lists := store.(UserStore)
	faults.add(isNil(store), "the store is nil")
	faults.add(c.Secure > Off, "Secure must be On or Off")
	faults.add(c.HttpOnly > Off, "HttpOnly must be On or Off")
	faults.add(c.SameSite < 0 || c.SameSite > http.SameSiteNoneMode, "SameSite is none of the values of http.SameSite")
	faults.add(c.SameSite == http.SameSiteNoneMode && c.Secure == Off, "SameSite None needs Secure, or browsers refuse the cookie")
	faults.add(c.Partitioned && c.Secure == Off, "Partitioned needs Secure, or browsers refuse the cookie")
	fault := lifetimeFault(c.IdleTimeout, c.Lifetime, defaultLifetime)
	faults.add(fault != "", "%s", fault)
	faults.add(c.MaxSize < 0, "MaxSize is negative")
	faults.add(c.StoreTimeout < 0, "StoreTimeout is negative")
	faults.add(c.StoreTimeout > maxStoreTimeout, "StoreTimeout is over 30 seconds, the time within which a write whose answer was lost must be resolved")
	faults.add(len(c.Realm) > maxRealm || !utf8.ValidString(c.Realm), "Realm is longer than 256 bytes, or not valid UTF-8")
	faults.add(c.MaxPerUser < 0, "MaxPerUser is negative")
	cookies, inCookie := store.(*CookieStore)
	faults.add(c.Adopt != nil && inCookie && cookies != nil && cookies.ended == nil && cookies.fault == nil,
		"Adopt needs a store that can keep which sessions were adopted: a server store, or CookieStore.WithRevocations")
	faults.add(c.OverLimit > Refuse, "OverLimit must be EndOldest or Refuse")
	faults.add(c.OverLimit == Refuse && c.MaxPerUser == 0, "OverLimit Refuse needs MaxPerUser")
	faults.add(c.MaxPerUser > 0 && !lists, "MaxPerUser needs a store that can list a user's sessions (UserStore)")
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

// cookieFaults finds what is wrong with the cookie. Its name and path must be set. http.Cookie.Valid alone does not
// find all of this.
func (c Config) cookieFaults() (faults faultList) {
	valid := func(probe http.Cookie) bool { return probe.Valid() == nil }
	faults.add(!valid(http.Cookie{Name: c.Name}), "Name %q is no valid cookie name", c.Name)
	faults.add(len(c.Name) > 256, "Name is longer than 256 bytes")
	faults.add(c.Domain != "" && !valid(http.Cookie{Name: "n", Domain: c.Domain}), "Domain %q is no valid cookie domain", c.Domain)
	faults.add(c.Path[0] != '/' || !valid(http.Cookie{Name: "n", Path: c.Path}), "Path %q is no valid cookie path; it starts with a slash", c.Path)
	faults.add(len(c.Domain) > maxAttribute || len(c.Path) > maxAttribute, "Domain or Path is longer than 1024 bytes, which browsers ignore")

	host, secure := hasPrefix(c.Name, "__Host-"), hasPrefix(c.Name, "__Secure-")
	httpOnly := hasPrefix(c.Name, "__Http-") || hasPrefix(c.Name, "__Host-Http-")
	faults.add(host && c.Domain != "", "a __Host- cookie can't have a Domain; name it __Secure-")
	faults.add(host && c.Path != "/", "a __Host- cookie must have the Path /; name it __Secure-")
	faults.add((host || secure || httpOnly) && c.Secure == Off, "the cookie's name %s needs Secure; with Secure: Off use a name without prefix", c.Name)
	faults.add(httpOnly && c.HttpOnly == Off, "the cookie's name %s needs HttpOnly", c.Name)
	return faults
}

// hasPrefix ignores case, as browsers do when they apply the rules of a prefix.
func hasPrefix(name, prefix string) bool {
	return len(name) >= len(prefix) && strings.EqualFold(name[:len(prefix)], prefix)
}

func isNil(store Store) bool {
	v := reflect.ValueOf(store)
	return !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil()
}
