package main

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/doorman-go/session"
)

//go:embed templates/*.html
var templates embed.FS

//go:embed static
var static embed.FS

// pages holds the templates by name, each with the layout around it, and the addresses of the static files.
type pages struct {
	templates map[string]*template.Template
	assets    map[string]string
}

func loadPages() (pages, error) {
	p := pages{templates: map[string]*template.Template{}, assets: map[string]string{}}
	layout, err := template.ParseFS(templates, "templates/layout.html")
	if err != nil {
		return p, err
	}
	files, err := fs.Glob(templates, "templates/*.html")
	if err != nil {
		return p, err
	}
	for _, file := range files {
		page, err := layout.Clone()
		if err == nil {
			page, err = page.ParseFS(templates, file)
		}
		if err != nil {
			return p, err
		}
		p.templates[strings.TrimSuffix(path.Base(file), ".html")] = page
	}
	for _, name := range []string{"style.css", "icon.svg", "session.js"} {
		content, err := fs.ReadFile(static, "static/"+name)
		if err != nil {
			return p, err
		}
		sum := sha256.Sum256(content)
		p.assets[name] = "/static/" + name + "?" + base64.RawURLEncoding.EncodeToString(sum[:9])
	}
	return p, nil
}

// staticFiles serves what is embedded. The addresses change with the content, so browsers may keep it.
func staticFiles() http.Handler {
	files := http.FileServerFS(static)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/") { // no listings
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
		files.ServeHTTP(w, r)
	})
}

// A view is what the templates see. Data is the page's own.
type view struct {
	User    *user // nil for a visitor
	Flashes []session.Flash
	Here    string // where to come back to after choosing a language
	Bare    bool   // without navigation
	Data    any

	locale  locale
	locales []locale
	assets  map[string]string
	now     time.Time
}

// T returns a text in the visitor's language.
func (v view) T(message string, args ...any) string { return v.locale.text(message, args...) }

// Date, DateTime and Ago write times in the visitor's language.
func (v view) Date(t time.Time) string     { return v.locale.date(t) }
func (v view) DateTime(t time.Time) string { return v.locale.dateTime(t) }
func (v view) Ago(t time.Time) string      { return v.locale.ago(v.now.Sub(t)) }

// Machine returns a time for the attribute datetime.
func (v view) Machine(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// Lang, Locales and Asset serve the layout.
func (v view) Lang() string             { return v.locale.Tag }
func (v view) Locales() []locale        { return v.locales }
func (v view) Asset(name string) string { return v.assets[name] }

// A form is what was entered and is shown again, and what is wrong with it, by field.
type form struct {
	Values map[string]string
	Errors map[string]string
}

func newForm(values map[string]string) form {
	return form{Values: values, Errors: map[string]string{}}
}

// require notes a field that was left empty.
func (f form) require(field, value, message string) {
	if value == "" {
		f.Errors[field] = message
	}
}

// render answers with a page. All pages tell who is signed in, so none is kept in a cache, nor for the back button.
func (a *app) render(w http.ResponseWriter, r *http.Request, status int, page, here string, data any) {
	s := session.FromContext(r.Context())
	v := a.view(a.locales.of(r), data)
	v.Here = here
	if name := s.User(); name != "" {
		found, err := a.users.find(r.Context(), name)
		if err != nil {
			a.fail(w, r, err)
			return
		}
		v.User = &found
	}
	v.Flashes = s.Flashes()
	a.write(w, r, status, page, v)
}

func (a *app) view(l locale, data any) view {
	return view{locale: l, locales: a.locales.all, assets: a.pages.assets, now: a.clock(), Data: data}
}

// write executes the template before anything is sent, so that an error can still be answered.
func (a *app) write(w http.ResponseWriter, r *http.Request, status int, page string, v view) {
	var body bytes.Buffer
	if err := a.pages.templates[page].ExecuteTemplate(&body, "layout", v); err != nil {
		a.log.ErrorContext(r.Context(), "template failed", "page", page, "error", err)
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = body.WriteTo(w)
}

// homePage is the data of the start page.
type homePage struct {
	SignedOut bool // just now
}

func (a *app) home(w http.ResponseWriter, r *http.Request) {
	signedOut := r.URL.Query().Has("signed-out") && session.FromContext(r.Context()).User() == ""
	a.render(w, r, http.StatusOK, "home", "/", homePage{signedOut})
}

func (a *app) notFound(w http.ResponseWriter, r *http.Request) {
	a.showError(w, r, http.StatusNotFound)
}

// errorTexts is what the error pages say.
var errorTexts = map[int]struct{ Title, Text, Link, LinkText string }{
	http.StatusUnauthorized: {"Please sign in again",
		"Your session is bound to the device that you signed in on, and this browser could not prove that it is on it.", "/login", "Sign in"},
	http.StatusForbidden: {"That did not come from here",
		"The request was sent by another website, so it was refused. If it was you, do it again on this site.", "/", "Go to the start page"},
	http.StatusNotFound: {"There is no such page",
		"The address may be mistyped, or the page has moved.", "/", "Go to the start page"},
	http.StatusConflict: {"Your session has ended",
		"It ended while your request was under way. Please sign in and try again.", "/login", "Sign in"},
	http.StatusUnprocessableEntity: {"That is not on offer",
		"Please choose one of the languages on the page.", "/", "Go to the start page"},
	http.StatusServiceUnavailable: {"We will be right back",
		"This page can’t be shown at the moment. Please try again shortly.", "/", "Go to the start page"},
	http.StatusInternalServerError: {"Something went wrong",
		"It is our fault, and we have noted it. Please try again.", "/", "Go to the start page"},
}

// showError answers with an error page, without touching the session.
func (a *app) showError(w http.ResponseWriter, r *http.Request, status int) {
	v := a.view(a.locales.preferred(r), errorTexts[status])
	v.Bare = true
	a.write(w, r, status, "error", v)
}
