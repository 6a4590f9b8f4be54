package session

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
)

// Manager puts sessions into requests. It is made by New and safe for use by several goroutines.
type Manager struct {
	store      Store
	config     Config
	attributes string // of the cookie, as long as it goes with the browser
	queue      queue
	warned     sync.Once
}

// New returns a Manager that keeps sessions in store, or an error that names every fault of the configuration.
func New(store Store, cfg Config) (*Manager, error) {
	config, err := cfg.withDefaults(store)
	if err != nil {
		return nil, err
	}
	if checked, ok := store.(interface{ Check() error }); ok {
		if err := checked.Check(); err != nil {
			return nil, err
		}
	}
	if config.ErrorHandler == nil {
		config.ErrorHandler = answerError
	}
	return &Manager{store: store, config: config, attributes: config.attributes()}, nil
}

// answerError is the default ErrorHandler.
func answerError(w http.ResponseWriter, _ *http.Request, err error) {
	var store *StoreError
	status := http.StatusInternalServerError
	switch {
	case errors.As(err, &store):
		status = http.StatusServiceUnavailable
	case errors.Is(err, ErrSessionEnded):
		status = http.StatusConflict
	}
	w.Header().Set("Cache-Control", "no-store")
	http.Error(w, http.StatusText(status), status)
}

// Middleware puts a Session into the context of each request to next, and commits it before the response's first byte.
// A request that does not use the session costs the store nothing. Mounted twice, the inner one steps aside.
//
// A panic before the first byte saves no values, though a Destroy is done. A recoverer inside the middleware answers in
// the handler's place, and what was set is committed with its answer. With http.TimeoutHandler inside, what was set
// before the time-out is committed with the 503, and what is set later is reported; with it outside, a handler that was
// too slow still commits when it gets there, though the client has its 503: put logins where they are quick.
//
// Of two managers stacked, the outer one's failed commit answers in place of all that is inside, the inner one's cookie
// included: change ids under one of them at a time.
//
// A WebSocket needs a session whose cookie has been sent: begin it in an earlier request. Libraries that write 101 with
// WriteHeader send the cookie along; with those that hijack first, Hijack fails while a cookie is still to be sent. What
// is set on an open connection is kept by Session.Save, or at the handler's return.
func (m *Manager) Middleware(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Context().Value(managerKey{m}) != nil {
			next.ServeHTTP(w, r)
			return
		}
		x := newExchange(m, w, r)
		returned := false
		defer func() { x.finish(returned) }() // a panic goes on, with its own stack
		next.ServeHTTP(x.response.withAbilities(abilities(w)), x.request)
		returned = true
	})
}

// Require loads the session before next, which is not called if that fails: for handlers with effects that must not
// happen then. It goes inside Middleware.
func (m *Manager) Require(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := m.Session(r.Context())
		failed := s.open().loadErr
		s.close()
		if failed == nil {
			next.ServeHTTP(w, r)
		}
	})
}

// Session returns this Manager's session where several managers are stacked. It panics without the middleware, unless
// NewContext has put a session there.
func (m *Manager) Session(ctx context.Context) *Session {
	if s, ok := ctx.Value(managerKey{m}).(*Session); ok {
		return s
	}
	if s, ok := Lookup(ctx); ok && s.keeper == nil {
		return s
	}
	panic("session: no session of this Manager in the context; wrap the handler in Manager.Middleware")
}

// FromContext returns the session of the innermost Manager, without I/O. It panics without the middleware.
func FromContext(ctx context.Context) *Session {
	s, ok := Lookup(ctx)
	if !ok {
		panic("session: no session in the context; wrap the handler in Manager.Middleware, or use session.NewContext in a test")
	}
	return s
}

// Lookup is FromContext for code that also runs without the middleware.
func Lookup(ctx context.Context) (*Session, bool) {
	s, ok := ctx.Value(sessionKey{}).(*Session)
	return s, ok
}

// NewContext returns a context with s in it. With the zero Session it is for tests of handlers.
func NewContext(ctx context.Context, s *Session) context.Context {
	return context.WithValue(ctx, sessionKey{}, s)
}

// Detached returns a Session that reads like the one stored as record, and is kept by nobody. It is for tests of
// handlers, with NewContext; package sessiontest makes such sessions of a user and values.
func Detached(record *Record) *Session {
	return newSession(defaultConfig(), &state{base: record})
}

func (m *Manager) log(ctx context.Context, level slog.Level, message string, args ...any) {
	logger := m.config.Logger
	if logger == nil {
		logger = slog.Default()
	}
	logger.Log(ctx, level, message, args...)
}

func (m *Manager) warnInsecure(ctx context.Context, host string) {
	m.warned.Do(func() {
		m.log(ctx, slog.LevelWarn, "session: a Secure cookie was set on a plain-HTTP request, and browsers will drop it; "+
			"serve HTTPS, let the proxy in front send X-Forwarded-Proto, or for development set Config.Secure to session.Off",
			"host", host)
	})
}
