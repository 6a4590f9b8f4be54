package main

import (
	"errors"
	"net/http"
	"time"

	"github.com/doorman-go/session"
)

// A device is a session as its user sees it.
type device struct {
	ID        string
	Name      string
	Current   bool // the one that asks
	Bound     bool // to the machine that its browser runs on
	FirstSeen time.Time
	LastSeen  time.Time
}

// A deviceView is what the template of one device sees.
type deviceView struct {
	view
	device
}

// Device joins a device with the view.
func (v view) Device(d device) deviceView { return deviceView{v, d} }

// Binds reports whether the page tells which sessions are bound.
func (v deviceView) Binds() bool {
	page, ok := v.Data.(sessionsPage)
	return ok && page.Binds
}

// sessionsPage is the data of the page "where you are signed in".
type sessionsPage struct {
	Here    device
	Others  []device
	Listed  bool // the store can list sessions
	Binds   bool // browsers are offered to bind sessions to their device
	Problem string
}

func (a *app) showSessions(w http.ResponseWriter, r *http.Request) {
	a.renderSessions(w, r, http.StatusOK, "")
}

func (a *app) renderSessions(w http.ResponseWriter, r *http.Request, status int, problem string) {
	s := session.FromContext(r.Context())
	page := sessionsPage{
		Here:    device{ID: s.ID(), Name: deviceOf(r), Current: true, Bound: s.DeviceBound(), FirstSeen: s.AuthenticatedAt(), LastSeen: a.clock()},
		Listed:  true,
		Binds:   a.binds,
		Problem: problem,
	}
	infos, err := a.sessions.Sessions(r.Context(), s.User())
	switch {
	case errors.Is(err, errors.ErrUnsupported): // sealed cookies are kept by the browsers alone
		page.Listed = false
	case err != nil:
		a.fail(w, r, err)
		return
	}
	for _, info := range infos {
		if info.ID != s.ID() {
			page.Others = append(page.Others, device{
				ID: info.ID, Name: info.Note, Bound: info.DeviceBound, FirstSeen: info.AuthenticatedAt, LastSeen: info.LastUsedAt,
			})
		}
	}
	a.render(w, r, status, "sessions", "/account/sessions", page)
}

// revoke ends one session of the user. Whether the id is somebody else's or nobody's makes no difference.
func (a *app) revoke(w http.ResponseWriter, r *http.Request) {
	s, l, id := session.FromContext(r.Context()), a.locales.of(r), r.PostFormValue("id")
	if id == s.ID() {
		a.logout(w, r)
		return
	}
	if id == "" {
		a.renderSessions(w, r, http.StatusUnprocessableEntity, l.text("Choose a session to end."))
		return
	}
	err := a.sessions.Revoke(r.Context(), s.User(), id)
	switch {
	case errors.Is(err, session.ErrNotFound):
		a.renderSessions(w, r, http.StatusNotFound, l.text("There is no such session. It may have ended already."))
	case err != nil:
		a.fail(w, r, err)
	default:
		s.Flash("success", l.text("That session has been ended."))
		http.Redirect(w, r, "/account/sessions", http.StatusSeeOther)
	}
}

func (a *app) revokeOthers(w http.ResponseWriter, r *http.Request) {
	s := session.FromContext(r.Context())
	if _, err := a.sessions.RevokeUser(r.Context(), s.User(), s.ID()); err != nil {
		a.fail(w, r, err)
		return
	}
	s.Flash("success", a.locales.of(r).text("You are signed out everywhere else."))
	http.Redirect(w, r, "/account/sessions", http.StatusSeeOther)
}
