package main

import (
	"errors"
	"net/http"
	"strings"

	"github.com/doorman-go/session"
)

// afterLogin is where people go who did not ask for a page in particular.
const afterLogin = "/account"

// loginPage is the data of the sign-in page.
type loginPage struct {
	form
	Next  string
	Sent  bool // from a page that needs a sign-in
	Again bool // signed in, but a while ago
}

func (a *app) showLogin(w http.ResponseWriter, r *http.Request) {
	user := session.FromContext(r.Context()).User()
	query := r.URL.Query()
	page := loginPage{
		form:  newForm(map[string]string{"username": user}),
		Next:  session.LocalPath(query.Get("next"), ""),
		Sent:  user == "" && query.Has("next"),
		Again: user != "" && query.Has("again"),
	}
	if user != "" && !page.Again {
		http.Redirect(w, r, session.LocalPath(page.Next, afterLogin), http.StatusSeeOther)
		return
	}
	a.render(w, r, http.StatusOK, "login", r.URL.RequestURI(), page)
}

func (a *app) login(w http.ResponseWriter, r *http.Request) {
	l := a.locales.of(r)
	username, password := strings.TrimSpace(r.PostFormValue("username")), r.PostFormValue("password")
	page := loginPage{
		form: newForm(map[string]string{"username": username}),
		Next: session.LocalPath(r.PostFormValue("next"), ""),
	}
	page.require("username", username, l.text("Enter your username."))
	page.require("password", password, l.text("Enter your password."))
	if len(page.Errors) > 0 {
		a.render(w, r, http.StatusUnprocessableEntity, "login", "/login", page)
		return
	}
	found, err := a.users.authenticate(r.Context(), username, password)
	switch {
	case errors.Is(err, errNoMatch):
		a.log.InfoContext(r.Context(), "sign-in refused", "address", r.RemoteAddr)
		page.Errors["form"] = l.text("That username and password do not match.")
		a.render(w, r, http.StatusUnauthorized, "login", "/login", page)
	case err != nil:
		a.fail(w, r, err)
	default:
		a.begin(w, r, found, page.Next)
	}
}

// begin signs a user in. Login comes first: it gives the session a new id, and drops what an anonymous visitor, or
// another user, left in it, except the language.
func (a *app) begin(w http.ResponseWriter, r *http.Request, u user, next string) {
	s := session.FromContext(r.Context())
	if err := s.Login(u.Username, string(localeKey)); err != nil {
		a.fail(w, r, err)
		return
	}
	passwordVersion.Set(s, u.PasswordVersion)
	s.SetNote(deviceOf(r))
	s.Flash("success", a.locales.of(r).text("Welcome, %s. You are signed in.", u.Name))
	http.Redirect(w, r, session.LocalPath(next, afterLogin), http.StatusSeeOther)
}

func (a *app) logout(w http.ResponseWriter, r *http.Request) {
	if err := session.FromContext(r.Context()).Destroy(); err != nil {
		a.fail(w, r, err)
		return
	}
	http.Redirect(w, r, "/?signed-out=1", http.StatusSeeOther)
}

// setPreferences chooses a language, signed in or not.
func (a *app) setPreferences(w http.ResponseWriter, r *http.Request) {
	chosen, ok := a.locales.find(r.PostFormValue("locale"))
	if !ok {
		a.showError(w, r, http.StatusUnprocessableEntity)
		return
	}
	localeKey.Set(session.FromContext(r.Context()), chosen.Tag)
	http.Redirect(w, r, session.LocalPath(r.PostFormValue("next"), "/"), http.StatusSeeOther)
}
