package main

import (
	"embed"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"

	"golang.org/x/text/language"

	"github.com/doorman-go/session"
)

//go:embed locales/*.json
var catalogues embed.FS

// localeKey is the language that the visitor chose. It is kept across Login.
const localeKey session.Key[string] = "locale"

// A locale is a language that the pages are written in.
type locale struct {
	Tag      string
	Name     string // in the language itself
	messages map[string]string
}

// locales is the languages there are, the default first.
type locales struct {
	all     []locale
	matcher language.Matcher
}

func loadLocales() (locales, error) {
	l := locales{all: []locale{{Tag: "en", Name: "English"}, {Tag: "de", Name: "Deutsch"}, {Tag: "fr", Name: "Français"}}}
	var tags []language.Tag
	for i := range l.all {
		tag, err := language.Parse(l.all[i].Tag)
		if err != nil {
			return l, err
		}
		tags = append(tags, tag)
		if i == 0 {
			continue // messages are written in English where they are used
		}
		text, err := catalogues.ReadFile("locales/" + l.all[i].Tag + ".json")
		if err != nil {
			return l, err
		}
		if err := json.Unmarshal(text, &l.all[i].messages); err != nil {
			return l, fmt.Errorf("reading the messages of %s: %w", l.all[i].Tag, err)
		}
	}
	l.matcher = language.NewMatcher(tags)
	return l, nil
}

func (l locales) find(tag string) (locale, bool) {
	i := slices.IndexFunc(l.all, func(one locale) bool { return one.Tag == tag })
	if i < 0 {
		return locale{}, false
	}
	return l.all[i], true
}

// preferred returns the locale that the browser asks for.
func (l locales) preferred(r *http.Request) locale {
	_, i := language.MatchStrings(l.matcher, r.Header.Get("Accept-Language"))
	return l.all[i]
}

// of returns the locale that was chosen in this session, or else the one that the browser asks for.
func (l locales) of(r *http.Request) locale {
	chosen, _ := localeKey.Get(session.FromContext(r.Context()))
	if found, ok := l.find(chosen); ok {
		return found
	}
	return l.preferred(r)
}

// text returns a message in the locale's language, formatted as by fmt.Sprintf.
func (l locale) text(message string, args ...any) string {
	if translated, ok := l.messages[message]; ok {
		message = translated
	}
	if len(args) == 0 {
		return message
	}
	return fmt.Sprintf(message, args...)
}

// count is text for a number, with a message for one and another for all else.
func (l locale) count(n int, one, other string) string {
	if n == 1 {
		return l.text(one)
	}
	return l.text(other, n)
}

// dateTime returns a point in time as the language writes it. The messages are layouts of the package time.
func (l locale) dateTime(t time.Time) string {
	return t.UTC().Format(l.text("2 Jan 2006, 15:04")) + " UTC"
}

func (l locale) date(t time.Time) string { return t.UTC().Format(l.text("2 Jan 2006")) }

// ago returns how long ago t was.
func (l locale) ago(d time.Duration) string {
	switch {
	case d < time.Minute:
		return l.text("just now")
	case d < time.Hour:
		return l.count(int(d/time.Minute), "a minute ago", "%d minutes ago")
	case d < 24*time.Hour:
		return l.count(int(d/time.Hour), "an hour ago", "%d hours ago")
	}
	return l.count(int(d/(24*time.Hour)), "a day ago", "%d days ago")
}
