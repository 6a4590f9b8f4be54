// Package session keeps HTTP sessions: a net/http middleware puts a [Session] into each request's context, a [Store]
// keeps it in a sealed cookie, in memory or in Redis, and the cookie has safe attributes unless told otherwise.
//
//	store, err := session.NewCookieStore(secrets...)
//	sessions, err := session.New(store, session.Config{})
//	http.ListenAndServe(":8080", sessions.Middleware(mux))
//
// In a handler, [FromContext] returns the session. The first method that needs its content loads it, and changes are
// committed just before the response's first byte: a commit that fails becomes an error response, and nothing that the
// handler wrote leaves. [Session.Login] gives a new id, which ends session fixation; [Session.Destroy] logs out. [Key]
// names a value of a type.
//
// A request that does not use its session costs the store nothing. One that is still under way when its session ends,
// by logout or revocation elsewhere, never brings it back. Requests of one session that change different values all
// keep their changes. What a cookie store can't promise is said at [CookieStore].
package session

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Session is one request's session. FromContext returns it; the first method that needs its content loads it, and what
// the methods change is committed just before the first byte of the response, or when the handler returns. If it can't
// be loaded it reads as empty and signed out, refuses changes, and the client gets Config.ErrorHandler's answer.
//
// The zero Session works and is kept by nobody: use it with NewContext to test a handler. All methods are safe for use
// by several goroutines.
type Session struct {
	keeper keeper  // nil for the zero Session
	config *Config // nil for the zero Session until it is used

	mu    sync.Mutex
	state *state // nil until loaded: a request that does not use its session has no need of one
}

// keeper is what stands behind a Session: one request and the store. Its methods are called with the Session's lock
// held, but for notify and save.
type keeper interface {
	load(*state) error
	started() bool                   // the response's header has been sent
	closed() bool                    // the request is over
	late(op string)                  // a change came after that
	notify()                         // deliver what happened meanwhile
	save(ctx context.Context) error  // commit
	report(key string, decode error) // a stored value does not fit
}

// defaultConfig is what the zero Session goes by.
var defaultConfig = sync.OnceValue(func() *Config {
	config, err := Config{}.withDefaults(NewMemoryStore())
	if err != nil {
		panic(err) // a fault of this package
	}
	return &config
})

// newSession returns a loaded session that is kept by nobody.
func newSession(config *Config, st *state) *Session {
	st.config = config
	return &Session{config: config, state: st}
}

// open locks and loads the session.
func (s *Session) open() *state {
	s.mu.Lock()
	if s.state != nil {
		return s.state
	}
	if s.config == nil {
		s.config = defaultConfig()
	}
	s.state = &state{config: s.config}
	if s.keeper != nil {
		s.load()
	}
	return s.state
}

var errLoadPanicked = errors.New("session: it was not loaded, since that panicked")

// load asks the keeper. If that panics, as Config.Revalidate or a store may, the panic goes on, and who uses the session
// all the same finds that it could not be loaded.
func (s *Session) load() {
	returned := false
	defer func() {
		if !returned {
			s.state = &state{config: s.config, loadErr: errLoadPanicked}
			s.mu.Unlock()
		}
	}()
	s.state.loadErr = s.keeper.load(s.state)
	returned = true
}

// used tells whether a method has loaded the session.
func (s *Session) used() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state != nil
}

// close unlocks the session and lets out the events that came up meanwhile.
func (s *Session) close() {
	s.mu.Unlock()
	if s.keeper != nil {
		s.keeper.notify()
	}
}

// change makes a change that needs no answer.
func (s *Session) change(op string, f func(*state)) {
	st := s.open()
	defer s.close()
	switch {
	case st.loadErr != nil: // the response will be the error handler's
	case s.keeper != nil && s.keeper.closed():
		s.keeper.late(op)
	default:
		f(st)
	}
}

// now returns the time by the Manager's clock. The zero Session must be loaded.
func (s *Session) now() time.Time { return s.config.now() }

// Get reads the value of key into dst, a pointer, and tells whether there was one. It leaves dst alone if there is
// none, or if the value does not fit, which Err then tells. A number read into an any becomes a json.Number.
func (s *Session) Get(key string, dst any) bool {
	raw := s.raw(key)
	return raw != nil && s.decoded(key, raw, dst)
}

// raw returns the value of key as the request sees it, or nil.
func (s *Session) raw(key string) json.RawMessage {
	st := s.open()
	defer s.close()
	return st.get(key)
}

// decoded reads raw into dst, without the lock: a type's own decoding is the application's code. It notes a value that
// does not fit, and leaves dst alone then.
func (s *Session) decoded(key string, raw json.RawMessage, dst any) bool {
	err := decode(key, raw, dst)
	if err == nil {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.misfit(key, err)
	return false
}

// misfit notes, with the lock held, a stored value that could not be read. It never blocks a commit.
func (s *Session) misfit(key string, err error) {
	s.state.decodeErr = cmp.Or(s.state.decodeErr, err)
	if s.keeper != nil {
		s.keeper.report(key, err)
	}
}

// Set stores value under key, as JSON made now: later changes to value do not matter. A value that can't be encoded, is
// not valid UTF-8 or takes over MaxValueSize bytes fails the commit, and so does a key that is not valid UTF-8.
func (s *Session) Set(key string, value any) {
	raw, err := encode(key, value)
	s.change("Set", func(st *state) {
		if err != nil {
			st.encodeErr = cmp.Or(st.encodeErr, err)
			return
		}
		st.set(key, raw, s.now())
	})
}

// Has tells whether there is a value under key.
func (s *Session) Has(key string) bool { return s.raw(key) != nil }

// Keys returns the keys that have values, sorted.
func (s *Session) Keys() []string {
	st := s.open()
	defer s.close()
	return st.keys()
}

// Delete removes the values of keys. A key without a value is no error.
func (s *Session) Delete(keys ...string) {
	s.change("Delete", func(st *state) { st.delete(keys...) })
}

// Clear removes all values and flashes. User, note and lifetime stay; see Destroy.
func (s *Session) Clear() {
	s.change("Clear", func(st *state) { st.clear() })
}

// Flash is a message for the next page.
type Flash struct {
	Category string `json:"category"`
	Message  string `json:"message"`
}

// Flash adds a message for a later request to read with Flashes. It is stored like a value, and fails the commit for the
// same reasons. Login drops the flashes there were: add them after it.
func (s *Session) Flash(category, message string) {
	raw, err := encode("flash", Flash{category, message})
	s.change("Flash", func(st *state) {
		if err != nil {
			st.encodeErr = cmp.Or(st.encodeErr, err)
			return
		}
		st.flash(raw, s.now())
	})
}

// Flashes returns the messages in the order they were added, and removes them. Two requests at once may both get them.
func (s *Session) Flashes() []Flash {
	var flashes []Flash
	s.change("Flashes", func(st *state) {
		for _, raw := range st.takeFlashes() {
			var flash Flash
			if err := decode("flash", raw, &flash); err != nil {
				s.misfit("flash", err)
				continue
			}
			flashes = append(flashes, flash)
		}
	})
	return flashes
}

// update makes f's change of a value, without holding the lock while f runs.
func (s *Session) update(key string, f updateFunc) {
	for {
		st := s.open()
		raw, version := st.get(key), st.version
		s.close()
		next, err := f(raw)
		if s.updateAt(version, key, next, err, f) {
			return
		}
	}
}

// updateAt notes an update unless the session changed since the version given.
func (s *Session) updateAt(version int, key string, raw json.RawMessage, err error, f updateFunc) (done bool) {
	done = true
	s.change("Update", func(st *state) {
		switch {
		case st.version != version:
			done = false
		case err != nil:
			st.encodeErr = cmp.Or(st.encodeErr, err)
		default:
			st.update(key, raw, f, s.now())
		}
	})
	return done
}

// lifecycle makes a change of the session itself, and returns why it can't be made.
func (s *Session) lifecycle(f func(*state) error) error {
	st := s.open()
	defer s.close()
	if st.loadErr != nil {
		return st.loadErr
	}
	if s.keeper != nil && s.keeper.closed() {
		return ErrResponseStarted
	}
	return f(st)
}

func (s *Session) responseStarted() bool { return s.keeper != nil && s.keeper.started() }

// Regenerate gives the session a new id and keeps its values and its lifetime. Call it when what the session may do
// grows; Login does so itself. Without a session it does nothing. Nil means that it will be done at the commit, before
// the response leaves: the old id is then dead, and only the response has the new one. It returns ErrSessionEnded if
// the session has ended, ErrResponseStarted if the cookie can't be sent any more, or the error of the load.
func (s *Session) Regenerate() error {
	return s.lifecycle(func(st *state) error {
		switch {
		case st.lapsed:
			return ErrSessionEnded
		case s.responseStarted():
			return ErrResponseStarted
		}
		st.renew()
		return nil
	})
}

// Login binds the session to user under a new id, with a new lifetime. Values and flashes are dropped, so that nothing
// crosses from one user, or from nobody, to another; but for the values of the keys in keep. Nil means that it will be
// done at the commit, as for Regenerate. It always starts a session, also where the old one has ended meanwhile. It
// returns an error for an empty user, ErrResponseStarted if the cookie can't be sent any more, or the error of the
// load.
func (s *Session) Login(user string, keep ...string) error {
	if user == "" {
		return errors.New("session: Login needs a user, and got an empty string")
	}
	if _, err := encode("user", user); err != nil {
		return err
	}
	return s.lifecycle(func(st *state) error {
		if s.responseStarted() {
			return ErrResponseStarted
		}
		st.login(user, keep, s.now())
		return nil
	})
}

// Destroy logs out: at the commit the record and the cookie go, even if the handler panics. Setting a value afterwards
// starts a new session. It returns the error of the load; and ErrResponseStarted if the cookie can't be removed any
// more, in which case the record still goes. After the handler has returned that is the answer too, and nothing is done:
// use Manager.Revoke.
func (s *Session) Destroy() error {
	return s.lifecycle(func(st *state) error {
		st.encodeErr = nil // it was about values that are gone
		if st.lapsed {
			st.pending = pending{}
			return nil
		}
		st.end()
		if s.responseStarted() {
			return ErrResponseStarted
		}
		return nil
	})
}

// Save commits now what was changed so far, for handlers that stream or hijack the connection, or that have to know.
// Config.StoreTimeout bounds it; a commit once begun is not cut short by the context's end. It returns
// ErrResponseStarted if a cookie would have to be sent and can't be, ErrSessionEnded if the session ended meanwhile,
// ErrCookieTooLarge, a *StoreError, or the error of a load or of a value's encoding. Unless the session ended, the
// changes are still there after an error, and the commit at the response's start tries again; what was done before, and
// only its reply lost, is not done twice within ten seconds, after which an Update may count again. As it puts the
// cookie into the response's header, it may not run while another goroutine uses that.
func (s *Session) Save(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.open()
	s.close()
	if s.keeper == nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.state.encodeErr
	}
	return s.keeper.save(ctx)
}

// SetPersistent decides whether this session's cookie survives closing the browser, in place of Config.Persistent. It,
// SetLifetime and SetNote are stored together: of two requests that call any of them at once, the last one counts. A
// later Login starts from the configuration again, but for what its own request has called.
func (s *Session) SetPersistent(persistent bool) {
	s.change("SetPersistent", func(st *state) { st.persistent = &persistent; st.attribute() })
}

// SetLifetime gives this session limits of its own, counted from its start, as for "remember me": call it after Login.
// Zero stands for the Manager's, a negative idle for none; with a SetPersistent the cookie lives as long. The rules of
// Config.IdleTimeout and Config.Lifetime hold, and a breach fails the commit.
func (s *Session) SetLifetime(idle, lifetime time.Duration) {
	s.change("SetLifetime", func(st *state) {
		if fault := lifetimeFault(idle, lifetime, st.config.Lifetime); fault != "" {
			st.encodeErr = cmp.Or(st.encodeErr, fmt.Errorf("session: SetLifetime: %s", fault))
			return
		}
		st.limits = &limits{idle, lifetime}
		st.attribute()
	})
}

// SetNote keeps a note with the session, such as a device's name, that Manager.Sessions shows. Login drops the note
// an earlier request set. It makes no session of its own.
func (s *Session) SetNote(note string) {
	_, err := encode("note", note)
	s.change("SetNote", func(st *state) {
		if err != nil {
			st.encodeErr = cmp.Or(st.encodeErr, err)
			return
		}
		st.note = &note
		st.attribute()
	})
}

// Err returns the first error of loading the session, of encoding a value, or of reading a stored value. The last kind
// does not keep a commit from succeeding.
func (s *Session) Err() error {
	st := s.open()
	defer s.close()
	return cmp.Or(st.loadErr, st.encodeErr, st.decodeErr)
}
