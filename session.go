package session

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/doorman-go/session/internal/jsonvalue"
)

// Session is the session of one request. FromContext returns it. The first method that needs its content loads it. Its
// changes are committed just before the first byte of the response, or when the handler returns. If it can't be loaded,
// it reads as empty and signed out, it refuses changes, and the client gets the answer of Config.ErrorHandler.
//
// The zero Session works, and is not stored. Use it with NewContext to test a handler. Several goroutines may use all
// methods at the same time.
type Session struct {
	request *request    // nil if the session is not stored
	config  *Config     // nil for the zero Session until it is used
	probe   bool        // Config.Revalidate gets this Session
	passive atomic.Bool // the request does not count as a use of the session

	loading sync.Mutex // held while the session is loaded, also while the application's Revalidate runs
	mu      sync.Mutex // never held while the application's code or the store runs; state is first set under both locks
	state   *state     // nil until loaded, so that a request that does not use its session allocates none
}

// state is a session as its request sees it: what was loaded, and the log of changes made to it since.
type state struct {
	base      *Record   // the log starts from it: live, or the tombstone of a session that ended elsewhere; nil for none
	token     Token     // opens base
	revoked   *Record   // the tombstone that the request's cookie opens, if its session was ended from outside
	present   bool      // the request has a cookie of the session's name, good or bad
	expired   bool      // its cookie opened a session that had expired
	begun     bool      // the session began in this request
	sealed    bool      // the session is in the cookie itself
	destroyed bool      // a Destroy was done
	log       []change  // the changes that are not committed yet
	view      draft     // base, with the log replayed on it
	settings  settings  // the settings of the changes that are committed
	made      int       // how many changes are committed
	doubt     *attempt  // a commit whose answer was lost
	touchAt   time.Time // when a touch is due; zero for never, and after a touch that failed
	unproven  *unproven // stands for a bound session whose device the request can't prove
	proved    []byte    // the secret of the session whose device the request has proved; nil for none

	adoptErr  error // the old library was not reached: only a Login can be committed
	loadErr   error // the load failed: nothing can be changed, and the error handler answers
	encodeErr error // a value that was set can't be stored: nothing is committed
	decodeErr error // a value that was read can't be decoded
}

// setBase makes base the record that the log starts from. Token opens it.
func (st *state) setBase(base *Record, token Token, now time.Time) {
	st.base, st.token, st.touchAt = base, token, time.Time{}
	if base == nil || base.Ended {
		return
	}
	st.sealed, st.touchAt = token.sealed(), base.touchAt(now)
}

// note adds a change to the log, and applies it to the view.
func (st *state) note(c change) {
	if st.log == nil {
		st.log = make([]change, 0, 4) // most requests make no more
	}
	st.log = append(st.log, c)
	if err := c.apply(&st.view); err != nil {
		st.encodeErr = cmp.Or(st.encodeErr, err)
	}
}

// begin notes that a session begins, if there is none.
func (st *state) begin(c *Config) {
	if !st.view.exists() && st.view.late == nil {
		st.note(begin{c.newToken(), c.Clock()})
	}
}

// defaultConfig is the configuration of the zero Session.
var defaultConfig = sync.OnceValue(func() *Config {
	config, err := Config{}.withDefaults(NewMemoryStore())
	if err != nil {
		panic(err) // a fault of this package
	}
	return &config
})

// newSession returns a loaded session that is not stored.
func newSession(config *Config, base *Record) *Session {
	st := &state{base: base, view: newDraft(config, base, settings{})}
	if base != nil && base.Binding.bound() {
		st.proved = append([]byte{}, base.Binding.Secret...)
	}
	return &Session{config: config, state: st}
}

// Detached returns a Session that reads like the one stored as record, and is not stored itself. It is for tests of
// handlers, with NewContext. Package sessiontest makes such sessions from a user and values.
func Detached(record *Record) *Session { return newSession(defaultConfig(), record) }

// open loads the session if it is not loaded yet. It returns the session's state, and holds the lock until close.
func (s *Session) open() *state {
	s.mu.Lock()
	if s.state != nil {
		return s.state
	}
	s.mu.Unlock()
	s.load()
	s.mu.Lock()
	return s.state
}

var errLoadPanicked = errors.New("session: it was not loaded, because the load panicked")

// load loads the session once. Config.Revalidate or the store may panic. The panic is passed on, and later uses of the
// session find that it could not be loaded.
func (s *Session) load() {
	s.loading.Lock()
	defer s.loading.Unlock()
	if s.state != nil {
		return
	}
	if s.config == nil {
		s.config = defaultConfig()
	}
	st := &state{view: newDraft(s.config, nil, settings{})}
	failure := errLoadPanicked
	defer func() {
		if failure != nil {
			st = &state{loadErr: failure, view: newDraft(s.config, nil, settings{})}
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.state = st
	}()
	if s.request == nil {
		failure = nil
		return
	}
	failure = s.request.load(st)
}

// close unlocks the session. Then it tells the events and log lines that were noted meanwhile. While a commit of the
// request is under way, the commit tells them.
func (s *Session) close() {
	untold := s.request != nil && len(s.request.untold) > 0 && !s.request.commits.underWay()
	s.mu.Unlock()
	if untold {
		s.request.tellAll()
	}
}

// change makes a change that has no error to return. After the end of the request it reports the change as lost. So it does
// if the session can't be loaded, unless the response will be the error handler's.
func (s *Session) change(op string, f func(*state)) {
	st := s.open()
	defer s.close()
	switch {
	case s.request != nil && s.request.stage == finished:
		s.request.reportLate(op)
	case st.loadErr == nil:
		f(st)
	case s.cookieSent() && s.request.failure == nil:
		s.request.reportNotKept(st.loadErr)
	}
}

// Get reads the value of key into dst, which is a pointer, and reports whether there was one. If there is none, dst
// stays as it is. The same holds for a value that does not fit, and then Err says so. A number that is read into an any
// becomes a json.Number.
func (s *Session) Get(key string, dst any) bool {
	raw := s.raw(key)
	return raw != nil && s.decode(key, raw, dst)
}

// isLoaded reports whether the session could be loaded. It loads it first.
func (s *Session) isLoaded() bool {
	st := s.open()
	defer s.close()
	return st.loadErr == nil
}

// raw returns the value of key as the request sees it, or nil.
func (s *Session) raw(key string) json.RawMessage {
	st := s.open()
	defer s.close()
	return st.view.get(key)
}

// decode reads raw into dst. It does not hold the lock, because a type's own decoding is the application's code. If the
// value does not fit, it notes that, and leaves dst as it is.
func (s *Session) decode(key string, raw json.RawMessage, dst any) bool {
	err := jsonvalue.Decode(raw, dst)
	if err == nil {
		return true
	}
	err = fmt.Errorf("session: the stored value of key %q does not fit: %w", key, err)
	s.mu.Lock()
	defer s.close()
	s.state.decodeErr = cmp.Or(s.state.decodeErr, err)
	if s.request != nil {
		s.request.addLine(slog.LevelWarn, "session: a stored value can't be read", err, "key", key)
	}
	return false
}

// fail notes that a value can't be stored. Nothing is committed then.
func (s *Session) fail(op string, err error) {
	s.change(op, func(st *state) { st.encodeErr = cmp.Or(st.encodeErr, err) })
}

// Set stores value under key. The value is encoded as JSON now, so later changes to it do not count. The commit fails
// if the value can't be encoded, if JSON would alter it, or if the key is not valid UTF-8.
func (s *Session) Set(key string, value any) {
	raw, err := encodeValue(key, value)
	if err != nil {
		s.fail("Set", err)
		return
	}
	s.change("Set", func(st *state) {
		st.begin(s.config)
		st.note(set{key, raw})
	})
}

// Has reports whether there is a value under key.
func (s *Session) Has(key string) bool { return s.raw(key) != nil }

// Keys returns the keys that have values, sorted.
func (s *Session) Keys() []string {
	st := s.open()
	defer s.close()
	var keys []string
	for key := range st.view.values().All() {
		keys = append(keys, key)
	}
	return keys
}

// Delete removes the values of keys. A key without a value is not an error: another request may have set it a moment
// ago.
func (s *Session) Delete(keys ...string) {
	s.change("Delete", func(st *state) { st.note(remove{slices.Clone(keys)}) })
}

// Clear removes all values and flashes, including those that another request adds meanwhile. User, note and lifetime
// stay. To end the session, use Destroy.
func (s *Session) Clear() {
	s.change("Clear", func(st *state) { st.note(clearAll{}) })
}

// Flash is a message for the next page.
type Flash struct {
	Category string `json:"category"`
	Message  string `json:"message"`
}

const flashIDSize = 6 // bytes of randomness, unique among the flashes of one session

// Flash adds a message that a later request reads with Flashes. Text that is not valid UTF-8 fails the commit. Login
// drops earlier flashes, so call Flash after Login.
func (s *Session) Flash(category, message string) {
	if err := checkTexts("flash", category, message); err != nil {
		s.fail("Flash", err)
		return
	}
	s.change("Flash", func(st *state) {
		st.begin(s.config)
		st.note(flash{StoredFlash{ID: randomText(flashIDSize), Category: category, Message: message}})
	})
}

// Flashes returns the messages in the order in which they were added, and removes them. A HEAD request does not remove
// them, because its response shows nobody a message. Two requests at the same time may both get them.
func (s *Session) Flashes() []Flash {
	var flashes []Flash
	if !s.isLoaded() {
		return nil
	}
	s.change("Flashes", func(st *state) {
		ids := make(map[string]bool)
		for _, f := range st.view.record.Flashes {
			flashes = append(flashes, Flash{f.Category, f.Message})
			ids[f.ID] = true
		}
		if len(ids) > 0 && (s.request == nil || s.request.outer.Method != http.MethodHead) {
			st.note(takeFlash{ids})
		}
	})
	return flashes
}

// maxUpdateTries is how often an Update starts again because its value was changed by another goroutine of the request.
const maxUpdateTries = 1000

var errUpdateUsesSession = errors.New("its function must not change the session")

// update replaces a value by f's result. It does not hold the lock while f runs.
func (s *Session) update(key string, f updateFunc) {
	for range maxUpdateTries {
		old := s.raw(key)
		raw, err := f(old)
		if err != nil {
			s.fail("Update", err)
			return
		}
		if s.noteUpdate(key, old, raw, f) {
			return
		}
	}
	s.fail("Update", fmt.Errorf("session: Update of key %q: %w", key, errUpdateUsesSession))
}

// noteUpdate notes an update that has changed the value from old to raw, unless the value is another one now.
func (s *Session) noteUpdate(key string, old, raw json.RawMessage, f updateFunc) (noted bool) {
	noted = true
	s.change("Update", func(st *state) {
		if noted = string(st.view.get(key)) == string(old); !noted {
			return
		}
		st.begin(s.config)
		st.log = append(st.log, update{key, f})
		st.view.edit(key, raw)
	})
	return noted
}

// lifecycle makes a change of the session itself. It returns an error if the change can't be made.
func (s *Session) lifecycle(f func(*state) error) error {
	st := s.open()
	defer s.close()
	if st.loadErr != nil {
		return st.loadErr
	}
	if s.request != nil && s.request.stage == finished {
		return ErrResponseStarted
	}
	return f(st)
}

// cookieSent reports whether the response's header has been sent. The caller holds the lock.
func (s *Session) cookieSent() bool { return s.request != nil && s.request.stage != open }

// errInRevalidate is the error of methods that Config.Revalidate must not call.
var errInRevalidate = errors.New("session: it can't be called in Config.Revalidate")

// Regenerate gives the session a new ID, and keeps its values and its lifetime. Call it when the session gets more
// rights. Login does so itself. Without a session it does nothing.
//
// The new ID is stored by the commit, before the response leaves. From then on the old ID is invalid, and only this
// response has the new one. A session gets a new ID at most once in 200 ms: a second Regenerate waits.
//
// It returns ErrSessionEnded if the session has ended, ErrUnproven if the request can't prove its device,
// ErrResponseStarted if it is too late to send the cookie, or the error of the load.
func (s *Session) Regenerate() error {
	return s.lifecycle(func(st *state) error {
		switch {
		case st.adoptErr != nil:
			return st.adoptErr
		case st.view.late != nil:
			return st.endedError()
		case s.cookieSent():
			return ErrResponseStarted
		case st.view.exists():
			st.note(regenerate{s.config.newToken()})
		}
		return nil
	})
}

// Login starts a new session for user, with a new ID and a new lifetime. It drops all values and flashes except the
// values of the keys in keep. The change is saved when the response starts; from then on the old ID is invalid.
//
// Login starts a session even if the old one has ended meanwhile. Then it keeps no values. It returns an error for a
// user that is empty or longer than 1 KiB, ErrResponseStarted if it is too late to send the cookie, or the error of the
// load. With Config.OverLimit Refuse the commit may fail with ErrTooManySessions.
func (s *Session) Login(user string, keep ...string) error {
	if err := checkUser("Login", user); err != nil {
		return err
	}
	if s.probe {
		return errInRevalidate
	}
	return s.lifecycle(func(st *state) error {
		if s.cookieSent() {
			return ErrResponseStarted
		}
		st.adoptErr = nil
		st.note(login{s.config.newToken(), s.config.Clock(), user, slices.Clone(keep), s.config.newBindSecret()})
		return nil
	})
}

// RenameUser changes the user's name and keeps the session: for example after a change of the e-mail address by which
// users are known. The session gets a new ID. Values, lifetime and AuthenticatedAt stay.
//
// Other sessions of the user keep the old name. To end them, call Manager.RevokeUser with the old name and with this
// session's ID as an exception: for a minute the old ID still leads to this session. RenameUser returns an error if
// nobody is signed in, for a name that is empty or longer than 1 KiB, and the errors of Regenerate.
func (s *Session) RenameUser(user string) error {
	if err := checkUser("RenameUser", user); err != nil {
		return err
	}
	return s.changeSignedIn("RenameUser", func(r regenerate) change { return rename{r, user} })
}

// changeSignedIn gives the session a new ID, and makes another change of it with that. Somebody must be signed in.
func (s *Session) changeSignedIn(op string, with func(regenerate) change) error {
	if s.probe {
		return errInRevalidate
	}
	return s.lifecycle(func(st *state) error {
		switch {
		case st.adoptErr != nil:
			return st.adoptErr
		case st.view.late != nil:
			return st.endedError()
		case st.view.record.User == "":
			return errors.New("session: " + op + " needs a session that is signed in")
		case s.cookieSent():
			return ErrResponseStarted
		}
		st.note(with(regenerate{s.config.newToken()}))
		return nil
	})
}

// Destroy logs out. The commit ends the stored session and removes the cookie, even if the handler panics. A value that
// is set afterwards starts a new session.
//
// It returns the error of the load. It returns ErrResponseStarted if it is too late to remove the cookie; the stored
// session ends even then, unless the handler has already returned. In that case nothing is done: use Manager.Revoke. A
// request that can't prove the device of its session gets ErrUnproven, and nothing is done, because the request may be
// a thief's.
func (s *Session) Destroy() error {
	if s.probe {
		return errInRevalidate
	}
	return s.lifecycle(func(st *state) error {
		if st.adoptErr != nil {
			return st.adoptErr
		}
		if st.isUnproven() {
			return ErrUnproven
		}
		st.encodeErr = nil // it was about values that are gone now
		st.note(destroy{})
		if s.cookieSent() && st.base != nil {
			return ErrResponseStarted
		}
		return nil
	})
}

// Save commits now what was changed so far. It is for handlers that stream, that hijack the connection, or that need to
// know the result. It asks the store even if nothing was changed, so a stream can learn whether its session is still
// valid. Config.StoreTimeout bounds it. A commit that has begun goes on when ctx ends.
//
// It returns ErrResponseStarted if a cookie is needed and it is too late to send one, ErrSessionEnded if the session
// has ended, ErrUnproven if the request can't prove the session's device, ErrTooManySessions if a Login was
// refused, ErrCookieTooLarge, ErrTooLarge, a *StoreError, or the error of a load or of encoding a value.
//
// After an error the changes are kept, unless the session ended or a Login was refused, and the commit at the start of the response tries
// again. A change whose answer was lost is not made twice.
func (s *Session) Save(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.probe {
		return errInRevalidate
	}
	st := s.open()
	err := cmp.Or(st.loadErr, st.adoptErr, st.encodeErr)
	s.close()
	if s.request == nil || err != nil {
		return err
	}
	return s.request.save(ctx)
}

// SetPersistent decides whether this session's cookie survives closing the browser, in place of Config.Persistent. A
// later Login starts from the configuration again, unless SetPersistent was called in the same request.
func (s *Session) SetPersistent(persistent bool) {
	s.change("SetPersistent", func(st *state) { st.note(setting{settings{persistent: &persistent}}) })
}

// SetLifetime gives this session limits of its own, counted from its start: for example for "remember me". Call it
// after Login. Zero means the Manager's limit. A negative idle means no idle limit. With SetPersistent(true) the cookie
// lives as long. The rules of Config.IdleTimeout and Config.Lifetime hold, and limits that break them fail the commit.
func (s *Session) SetLifetime(idle, lifetime time.Duration) {
	s.change("SetLifetime", func(st *state) {
		if fault := lifetimeFault(idle, lifetime, s.config.Lifetime); fault != "" {
			st.encodeErr = cmp.Or(st.encodeErr, fmt.Errorf("session: SetLifetime: %s", fault))
			return
		}
		st.note(setting{settings{limits: &limits{idle, lifetime}}})
	})
}

// SetNote stores a note with the session, such as the name of a device. Manager.Sessions shows it. A note that is
// longer than 256 bytes or not valid UTF-8 fails the commit. Login drops the note of an earlier request. A note alone
// does not start a session.
func (s *Session) SetNote(note string) {
	s.setText("SetNote", "note", note, maxNote, settings{note: &note})
}

// setText makes a setting that is a text of at most so many bytes.
func (s *Session) setText(op, what, text string, most int, set settings) {
	err := checkTexts(what, text)
	if err == nil && len(text) > most {
		err = fmt.Errorf("session: %s: the %s has %d bytes, and may have %d", op, what, len(text), most)
	}
	if err != nil {
		s.fail(op, err)
		return
	}
	s.change(op, func(st *state) { st.note(setting{set}) })
}

// Err returns the first error of loading the session, of encoding a value, or of reading a stored value. An error of
// the last kind does not fail the commit.
func (s *Session) Err() error {
	st := s.open()
	defer s.close()
	return cmp.Or(st.loadErr, st.adoptErr, st.encodeErr, st.decodeErr)
}

// checkUser returns an error for a name that no session can have.
func checkUser(op, user string) error {
	switch {
	case user == "":
		return errors.New("session: " + op + " needs a user, and got an empty string")
	case len(user) > maxUser:
		return fmt.Errorf("session: %s: the user's name has %d bytes, and may have %d", op, len(user), maxUser)
	}
	return checkTexts("user", user)
}
