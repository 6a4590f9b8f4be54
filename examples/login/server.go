package main

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/doorman-go/session"
)

// app is the web application: its users in a database, their sessions in whatever store it was given.
type app struct {
	sessions *session.Manager
	users    *users
	locales  locales
	pages    pages
	clock    func() time.Time
	log      *slog.Logger
	binds    bool // sessions to devices, where the browser can
	handler  http.Handler
	closing  chan struct{} // closed by closeStreams
	streams  atomic.Int64  // how many streams of events were opened
}

// newApp sets the application up. Of the session's configuration the application decides what to do with errors and
// events, and when a session no longer stands; the rest is the caller's.
func newApp(store session.Store, config session.Config, u *users, log *slog.Logger) (*app, error) {
	locales, err := loadLocales()
	if err != nil {
		return nil, err
	}
	pages, err := loadPages()
	if err != nil {
		return nil, err
	}
	a := &app{users: u, locales: locales, pages: pages, clock: config.Clock, log: log, closing: make(chan struct{})}
	if a.clock == nil {
		a.clock = time.Now
	}
	a.binds = config.BindDevice > 0
	config.ErrorHandler = a.fail
	config.OnEvent = a.auditAnd(config.OnEvent)
	config.Revalidate = u.revalidate
	config.Logger = log
	if a.sessions, err = session.New(store, config); err != nil {
		return nil, err
	}
	a.handler = a.wrap(a.routes())
	return a, nil
}

// closeStreams ends the streams of events, which would keep the server from shutting down. It is called once.
func (a *app) closeStreams() { close(a.closing) }

func (a *app) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", a.healthz)
	mux.Handle("GET /static/", staticFiles())

	mux.HandleFunc("GET /{$}", a.home)
	mux.HandleFunc("GET /login", a.showLogin)
	mux.HandleFunc("POST /login", a.login)
	mux.HandleFunc("POST /logout", a.logout)
	mux.HandleFunc("POST /preferences", a.setPreferences)

	mux.HandleFunc("GET /account", signedIn("/account", a.showAccount))
	mux.HandleFunc("POST /account/password", signedIn("/account", a.changePassword))
	mux.HandleFunc("GET /account/sessions", signedIn("/account/sessions", a.showSessions))
	mux.HandleFunc("POST /account/sessions/revoke", signedIn("/account/sessions", recently(a.revoke)))
	mux.HandleFunc("POST /account/sessions/revoke-others", signedIn("/account/sessions", recently(a.revokeOthers)))

	mux.Handle("GET /session/events", a.sessions.Passive(http.HandlerFunc(a.events)))
	mux.Handle("GET /session/time-left", a.sessions.TimeLeft())
	mux.Handle("POST /session/time-left", a.sessions.TimeLeft())

	mux.HandleFunc("GET /", a.notFound)
	return mux
}

// maxBody is more than any of the forms needs.
const maxBody = 64 << 10

// wrap puts around the routes what all of them need.
func (a *app) wrap(routes http.Handler) http.Handler {
	crossOrigin := http.NewCrossOriginProtection()
	crossOrigin.SetDenyHandler(http.HandlerFunc(a.refuseCrossOrigin))
	return secureHeaders(crossOrigin.Handler(http.MaxBytesHandler(a.sessions.Middleware(routes), maxBody)))
}

func secureHeaders(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self'; img-src 'self'; "+
			"form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		next.ServeHTTP(w, r)
	})
}

// healthz never touches the session, so it answers whether the store does or not.
func (a *app) healthz(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte("ok\n"))
}

// signedIn calls next for people who are signed in. Others go to the sign-in page and from there to the page given. A
// session that can't be loaded reads as signed out, and then the session's error handler answers instead.
func signedIn(page string, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if session.FromContext(r.Context()).User() == "" {
			w.Header().Set("Cache-Control", "no-store")
			http.Redirect(w, r, "/login?next="+page, http.StatusSeeOther)
			return
		}
		next(w, r)
	}
}

// freshness is how long ago the password may have been given for what ends other sessions: a session left open on a
// shared computer should not be enough.
const freshness = 15 * time.Minute

// recently calls next if the password was given not long ago, and otherwise asks for it again.
func recently(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !session.FromContext(r.Context()).AuthenticatedWithin(freshness) {
			http.Redirect(w, r, "/login?again=1&next=/account/sessions", http.StatusSeeOther)
			return
		}
		next(w, r)
	}
}

// fail answers a request that went wrong, and is the session.Config's ErrorHandler. It leaves the session alone, which
// may be what failed.
func (a *app) fail(w http.ResponseWriter, r *http.Request, err error) {
	var store *session.StoreError
	switch {
	case errors.Is(err, session.ErrSessionEnded):
		a.showError(w, r, http.StatusConflict)
	case errors.Is(err, session.ErrUnproven):
		a.showError(w, r, http.StatusUnauthorized)
	case errors.As(err, &store):
		a.showError(w, r, http.StatusServiceUnavailable)
	case r.Context().Err() != nil: // the client hung up
		a.showError(w, r, http.StatusServiceUnavailable)
	default:
		a.log.ErrorContext(r.Context(), "request failed", "method", r.Method, "path", r.URL.Path, "error", err)
		a.showError(w, r, http.StatusInternalServerError)
	}
}

func (a *app) refuseCrossOrigin(w http.ResponseWriter, r *http.Request) {
	a.showError(w, r, http.StatusForbidden)
}

// auditAnd logs what happens to sessions, and tells next, unless that is nil.
func (a *app) auditAnd(next func(context.Context, session.Event)) func(context.Context, session.Event) {
	return func(ctx context.Context, e session.Event) {
		a.audit(ctx, e)
		if next != nil {
			next(ctx, e)
		}
	}
}

// audit logs what happens to sessions. The ID is public, and opens nothing.
func (a *app) audit(ctx context.Context, e session.Event) {
	a.log.InfoContext(ctx, "session", "event", e.Kind, "id", e.ID, "user", e.User, "reason", e.Reason)
}
