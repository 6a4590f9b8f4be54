package migrate

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"reflect"
	"time"

	"github.com/boj/redistore"
	"github.com/gorilla/securecookie"
	"github.com/gorilla/sessions"

	"github.com/doorman-go/session"
)

// FromGorilla returns a function for session.Config.Adopt that takes over the sessions that store keeps under name.
// Store must have the same keys and Options as the one that wrote them, and the keys must be in the same order in all
// instances. When an old session ends depends on the store:
//
//   - CookieStore: the session ends when the store's Options.MaxAge has passed since the cookie was written, or the
//     codecs' own age if that is shorter. If MaxAge has passed and gorilla still accepts the cookie, it was written
//     with a longer MaxAge, and then only the codecs' age counts. There is no old session to end.
//   - FilesystemStore: the same. The end of the old session deletes its file.
//   - RediStore of github.com/boj/redistore: the session ends when its key in Redis expires, or when the codecs refuse
//     the cookie, whichever is earlier.
//   - any other store: the end is not known. It is read by gorilla's interface.
//
// Gorilla does not store the MaxAge or other Options that were set for one session, so Persistent and Cookies follow
// the store's Options. If your sessions had others, give FromGorilla a store of its own with the longest MaxAge that
// was used, and decide in Convert.
//
// A key that is not a string comes to Convert as fmt.Sprint writes it: with "type key int" and "const user key = 0" it
// is "0". Keys other than texts, integers and booleans are errors that name them. So are two keys that are written
// alike. Flashes come as a value: a []any under "_flash", or under the key that AddFlash was given.
//
// There is nothing to take over if no key opens the cookie, if it is too old, if the store does not have the session,
// or if the session can't be decoded. The cookie must have another name than session.Config.Name.
//
// FromGorilla panics if store or convert is nil or name is empty, so that the program learns of it at its start.
func FromGorilla(store sessions.Store, name string, convert Convert) func(*http.Request) (*session.Adopted, error) {
	if store == nil || name == "" || convert == nil {
		panic("migrate: FromGorilla needs a store, the name of its sessions, and a Convert")
	}
	return func(r *http.Request) (*session.Adopted, error) {
		value, found := oldCookie(r, name)
		if !found {
			return nil, nil
		}
		old, end, err := loadGorilla(store, r, name, value)
		if old == nil {
			return nil, err
		}
		a := newFromGorilla(store, old, name, value)
		if err != nil {
			return a, err
		}
		values, err := textKeys(old.Values)
		if err != nil {
			return a, unreadable(err)
		}
		a.Deadline = end
		return a, convert.apply(values, a)
	}
}

// newFromGorilla returns the answer for a session as far as it is known before its values are read.
func newFromGorilla(store sessions.Store, old *sessions.Session, name, value string) *session.Adopted {
	options := old.Options
	if options == nil { // a store of another package
		options = &sessions.Options{Path: "/"}
	}
	a := &session.Adopted{
		Token:      gorillaToken(codecsOf(store), old.ID, value),
		Persistent: options.MaxAge > 0,
		Cookies:    []*http.Cookie{removeGorilla(name, *options)},
	}
	if old.ID != "" {
		a.Forget = forgetGorilla(store, name, old.ID)
	}
	return a
}

// loadGorilla returns the old session and its end. The session is nil if the cookie names none. If there is an error,
// the session has only its ID.
func loadGorilla(
	store sessions.Store, r *http.Request, name, value string,
) (old *sessions.Session, end time.Time, err error) {
	now := session.Now(r.Context())
	ages := codecAges(codecsOf(store))
	if rediStore, ok := store.(*redistore.RediStore); ok {
		old, end, err = openRediStore(rediStore, r, name, now)
		return old, earlier(end, sealEnd(value, now, ages...)), err
	}
	old, err = openGorilla(store, r, name)
	if len(ages) == 0 || err != nil {
		return old, time.Time{}, err
	}
	if age := old.Options.MaxAge; age > 0 {
		ages = append(ages, seconds(age))
	}
	return old, sealEnd(value, now, ages...), nil
}

// codecsOf returns the codecs of the stores that are known here.
func codecsOf(store sessions.Store) []securecookie.Codec {
	switch s := store.(type) {
	case *sessions.CookieStore:
		return s.Codecs
	case *sessions.FilesystemStore:
		return s.Codecs
	case *redistore.RediStore:
		return s.Codecs
	}
	return nil
}

// openGorilla asks a store for the session of the request's cookie. If there is an error, it still returns the session
// that the cookie names, if it names one.
func openGorilla(store sessions.Store, r *http.Request, name string) (*sessions.Session, error) {
	old, err := store.New(r, name)
	if old == nil || old.IsNew && old.ID == "" {
		old = nil
	}
	switch {
	case errors.Is(err, fs.ErrNotExist): // the error of a FilesystemStore
		return old, errGone
	case refusesCookie(err):
		return old, unreadable(err)
	case err != nil:
		return old, fmt.Errorf("migrate: ask the gorilla store: %w", withoutPath(err))
	case old == nil || old.IsNew:
		return old, errGone
	}
	return old, nil
}

// refusesCookie reports whether err means that the cookie can't be read. Otherwise the store can't answer, or was not
// set up.
func refusesCookie(err error) bool {
	refused, ok := errors.AsType[securecookie.MultiError](err)
	return ok && (refused.IsDecode() || !refused.IsUsage() && !refused.IsInternal())
}

// withoutPath takes the path out of a file system's error, because the name of a session's file is its ID.
func withoutPath(err error) error {
	if pathError, ok := errors.AsType[*fs.PathError](err); ok {
		return fmt.Errorf("%s: %w", pathError.Op, pathError.Err)
	}
	return err
}

// gorillaToken returns the token that identifies this session. Nobody can compute it from the content of the old store.
// For a server store it is a hash of the ID with the key that signs the cookies. If that key is not known, it is the
// ID. For a cookie that has the session in it, it is a hash of the decoded value: base64 has more than one spelling,
// and nobody may adopt a session twice by spelling its cookie differently.
func gorillaToken(codecs []securecookie.Codec, id, value string) string {
	var key []byte
	content := []byte(id)
	if id != "" {
		if key = codecKey(codecs); key == nil {
			return id
		}
	} else if decoded, err := base64.URLEncoding.DecodeString(value); err == nil {
		content = decoded
	} else {
		content = []byte(value)
	}
	hash := hmac.New(sha256.New, key)
	hash.Write([]byte("doorman migrate "))
	hash.Write(content)
	return base64.RawURLEncoding.EncodeToString(hash.Sum(nil))
}

// removeGorilla returns the cookie that removes the store's cookie.
func removeGorilla(name string, options sessions.Options) *http.Cookie {
	options.MaxAge = -1
	return sessions.NewCookie(name, "", &options)
}

// forgetGorilla returns the function that deletes a session in a server store. Gorilla does this by a Save with a
// negative age. The function does not keep the request.
func forgetGorilla(store sessions.Store, name, id string) func(context.Context) error {
	return func(ctx context.Context) error {
		old := sessions.NewSession(store, name)
		old.ID, old.Options = id, &sessions.Options{MaxAge: -1}
		r := (&http.Request{Method: http.MethodGet, URL: &url.URL{Path: "/"}, Header: http.Header{}}).WithContext(ctx)
		if err := store.Save(r, discard{}, old); err != nil {
			return fmt.Errorf("migrate: delete in the gorilla store: %w", withoutPath(err))
		}
		return nil
	}
}

// discard is a response for the cookie that a store sets when it deletes a session.
type discard struct{}

func (discard) Header() http.Header         { return http.Header{} }
func (discard) Write(b []byte) (int, error) { return len(b), nil }
func (discard) WriteHeader(int)             {}

// textKeys returns the values with their keys as texts.
func textKeys(values map[any]any) (map[string]any, error) {
	texts := make(map[string]any, len(values))
	for key, value := range values {
		text, err := textKey(key)
		if err != nil {
			return nil, err
		}
		if _, twice := texts[text]; twice {
			return nil, fmt.Errorf("two of its keys are written %q, one of them a %T", text, key)
		}
		texts[text] = value
	}
	return texts, nil
}

func textKey(key any) (string, error) {
	if key == nil {
		return "", errors.New("it has a value under the key nil")
	}
	kind := reflect.TypeOf(key).Kind()
	if kind == reflect.String || kind == reflect.Bool || kind >= reflect.Int && kind <= reflect.Uint64 {
		return fmt.Sprint(key), nil
	}
	return "", fmt.Errorf("a key of it is a %T; texts, integers and booleans can be taken over", key)
}
