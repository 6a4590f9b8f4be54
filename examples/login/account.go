package main

import (
	"errors"
	"net/http"
	"time"
	"unicode/utf8"

	"github.com/doorman-go/session"
)

// minPassword is the shortest password that may be chosen, in characters.
const minPassword = 8

// accountPage is the data of the account page. The rest it shows is the user's.
type accountPage struct {
	form      // of the password
	SignedIn  time.Time
	ExpiresAt time.Time
}

// MinPassword serves the template.
func (accountPage) MinPassword() int { return minPassword }

func (a *app) showAccount(w http.ResponseWriter, r *http.Request) {
	a.renderAccount(w, r, http.StatusOK, newForm(nil))
}

func (a *app) renderAccount(w http.ResponseWriter, r *http.Request, status int, password form) {
	s := session.FromContext(r.Context())
	a.render(w, r, status, "account", "/account", accountPage{password, s.AuthenticatedAt(), s.ExpiresAt()})
}

// changePassword asks for the current password, as a session left open must not be enough to take an account over.
func (a *app) changePassword(w http.ResponseWriter, r *http.Request) {
	l := a.locales.of(r)
	current, replacement := r.PostFormValue("current"), r.PostFormValue("new")
	entered := newForm(nil)
	entered.require("current", current, l.text("Enter your current password."))
	switch {
	case replacement == "":
		entered.Errors["new"] = l.text("Enter a new password.")
	case utf8.RuneCountInString(replacement) < minPassword:
		entered.Errors["new"] = l.text("Use at least %d characters.", minPassword)
	case replacement == current:
		entered.Errors["new"] = l.text("Choose a password that is not the current one.")
	}
	if len(entered.Errors) > 0 {
		a.renderAccount(w, r, http.StatusUnprocessableEntity, entered)
		return
	}
	version, err := a.users.changePassword(r.Context(), session.FromContext(r.Context()).User(), current, replacement)
	switch {
	case errors.Is(err, errNoMatch):
		entered.Errors["current"] = l.text("That is not your current password.")
		a.renderAccount(w, r, http.StatusUnauthorized, entered)
	case err != nil:
		a.fail(w, r, err)
	default:
		a.afterPasswordChange(w, r, version)
	}
}

// afterPasswordChange ends all other sessions of the user, and gives this one a new id. Those that the store could not
// be asked to end, revalidate ends at their next request.
func (a *app) afterPasswordChange(w http.ResponseWriter, r *http.Request, version int) {
	s := session.FromContext(r.Context())
	passwordVersion.Set(s, version)
	if _, err := a.sessions.RevokeUser(r.Context(), s.User(), s.ID()); err != nil {
		a.fail(w, r, err)
		return
	}
	if err := s.Regenerate(); err != nil {
		a.fail(w, r, err)
		return
	}
	s.Flash("success", a.locales.of(r).text("Your password is changed, and you are signed out everywhere else."))
	http.Redirect(w, r, "/account", http.StatusSeeOther)
}
