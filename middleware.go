package session

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync/atomic"
)

// Manager puts sessions into requests. New makes it. Several goroutines may use it at the same time.
type Manager struct {
	store      Store
	config     Config
	attributes string // of a cookie that ends when the browser is closed
	removal    string // the line that removes the cookie
	storeName  string
	binding    *binding
	queue      queue
	forgets    forgets
	watches    watches
	warned     atomic.Bool
}

// New returns a Manager that stores sessions in store. Its error names every fault of the configuration.
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
	m := &Manager{store: store, storeName: storeName(store), config: config, attributes: config.attributes(), removal: config.removal()}
	m.binding = newBinding(&m.config)
	m.queue.store, m.queue.config = store, &m.config
	m.watches = watches{manager: m, byID: make(map[string]*watched), wake: make(chan struct{}, 1)}
	return m, nil
}

// answerError is the default ErrorHandler.
func answerError(w http.ResponseWriter, _ *http.Request, err error) {
	status := http.StatusInternalServerError
	switch {
	case isStoreFailure(err):
		status = http.StatusServiceUnavailable
	case errors.Is(err, ErrSessionEnded):
		status = http.StatusConflict
	case errors.Is(err, ErrTooManySessions):
		status = http.StatusForbidden
	}
	w.Header().Set("Cache-Control", "no-store")
	http.Error(w, http.StatusText(status), status)
}

// Middleware puts a Session into the context of each request to next, and commits it before the first byte of the
// response. A request that does not use its session never asks the store. If Middleware is mounted twice, the inner one
// does nothing.
//
// After a panic before the first byte no values are saved, but a Destroy is still done. If a recoverer inside
// Middleware answers for the handler, the changes are committed with its answer.
//
// With http.TimeoutHandler inside Middleware, changes before the time-out are committed with the 503, and later ones
// are reported. With it outside, a handler that is too slow still commits, although the client has got the 503. So use
// it inside, or keep logins quick.
//
// Several Managers may be stacked if their cookies have different names. Two with the same name are an error answer
// that names both. If the commit of the outer one fails, its answer replaces all that is inside, including the cookie
// of the inner one. So change only one Manager's ID in a request.
//
// A WebSocket needs a session whose cookie has already been sent: start the session in an earlier request. A library
// that writes status 101 with WriteHeader sends the cookie too. With a library that hijacks first, Hijack fails if a
// cookie must still be sent. To save changes on an open connection call Session.Save, or let the handler return.
//
// With Config.BindDevice, Middleware answers the browser's own requests below Config.BindPath, and next does not get
// them.
func (m *Manager) Middleware(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for outer := outerRequest(r.Context()); outer != nil; outer = outerRequest(outer.parent) {
			if outer.manager == m {
				next.ServeHTTP(w, r)
				return
			}
			if m.sharesName(outer.manager) {
				m.refuseName(w, r, outer.manager)
				return
			}
		}
		q := newRequest(m, w, r)
		if answer := m.binding.endpoint(r.URL.Path); answer != nil {
			q.serve(q.endpointHandler(answer))
			return
		}
		q.serve(next)
	})
}

// sharesName reports whether both Managers set cookies with the same name.
func (m *Manager) sharesName(other *Manager) bool {
	return slices.ContainsFunc(m.cookieNames(), func(name string) bool { return slices.Contains(other.cookieNames(), name) })
}

// cookieNames returns the name of the session's cookie, and that of the bound one, if there is one.
func (m *Manager) cookieNames() []string {
	if m.binding == nil {
		return []string{m.config.Name}
	}
	return []string{m.config.Name, m.binding.cookie.Name}
}

// refuseName answers a request that passes two Managers with the same cookie name: one of them would lose its sessions.
func (m *Manager) refuseName(w http.ResponseWriter, r *http.Request, outer *Manager) {
	err := fmt.Errorf("session: two Managers in one request have the cookie name %s, one with the realm %q on a %T and one with "+
		"the realm %q on a %T; give them different Config.Names", m.config.Name, outer.config.Realm, outer.store, m.config.Realm, m.store)
	m.log(r.Context(), slog.LevelError, "session: the response is an error: two Managers share a cookie name", "error", err)
	m.config.ErrorHandler(w, r, err)
}

// Preload loads the session before it calls next. If that fails, next is not called. It is for handlers with effects
// that must not happen without the session, and goes inside Middleware. It does not check that anybody is signed in.
func (m *Manager) Preload(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := m.Session(r.Context())
		st := s.open()
		failed := cmp.Or(st.loadErr, st.adoptErr)
		s.close()
		if failed == nil {
			next.ServeHTTP(w, r)
		}
	})
}

// Session returns this Manager's session, for stacked Managers. It panics without the middleware, unless NewContext has
// put a session into ctx.
func (m *Manager) Session(ctx context.Context) *Session {
	if s, ok := ctx.Value(managerKey{m}).(*Session); ok {
		return s
	}
	if s, ok := Lookup(ctx); ok && s.request == nil {
		return s
	}
	panic("session: no session of this Manager in the context; wrap the handler in Manager.Middleware")
}

// FromContext returns the session of the innermost Manager. It does not load it. It panics without the middleware.
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

// NewContext returns a context with s in it. Use it with the zero Session to test handlers.
func NewContext(ctx context.Context, s *Session) context.Context {
	return context.WithValue(ctx, sessionKey{}, s)
}

func (m *Manager) log(ctx context.Context, level slog.Level, message string, args ...any) {
	logger := m.config.Logger
	if logger == nil {
		logger = slog.Default()
	}
	logger.Log(ctx, level, message, args...)
}

func (m *Manager) warnInsecure(ctx context.Context, host string) {
	if m.warned.Swap(true) {
		return
	}
	m.log(ctx, slog.LevelWarn, "session: a Secure cookie was set on a plain-HTTP request, and browsers will drop it; "+
		"serve HTTPS, let the proxy in front send X-Forwarded-Proto, or for development set Config.Secure to session.Off",
		"host", host)
}
