package migrate_test

import (
	"bytes"
	"context"
	"encoding/gob"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/gorilla/sessions"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/migrate"
)

// The code of docs/migrating.md, word for word; TestGuide sees to that, and the tests beside it run all of it.

// newFromSCS returns the Manager that takes the place of old. Old is as it was: the same store, codec and cookie.
func newFromSCS(store session.Store, old *scs.SessionManager) (*session.Manager, error) {
	return session.New(store, session.Config{
		Name:        "__Host-app",       // not the name of the old cookie
		Lifetime:    old.Lifetime,       // 24 hours in both, unless you set it
		IdleTimeout: -1,                 // none, as in scs, unless you set it. The default here is an hour
		Persistent:  old.Cookie.Persist, // scs: true. The default here is a cookie that goes with the browser
		Adopt:       migrate.FromSCS(old, convertSCS),
	})
}

// convertSCS says what the values of an old session mean here.
func convertSCS(values map[string]any, a *session.Adopted) error {
	if id, ok := values["authenticatedUserID"].(int); ok {
		a.User = strconv.Itoa(id)
	}
	a.AuthenticatedAt, _ = values["signedInAt"].(time.Time) // if your application kept it; else it is not known
	delete(values, "authenticatedUserID")
	delete(values, "signedInAt")
	a.Values = values // all others stay, under their keys
	return nil
}

const (
	cart     session.Key[[]string] = "cart"
	returnTo session.Key[string]   = "returnTo"
)

func signIn(w http.ResponseWriter, r *http.Request) {
	s := session.FromContext(r.Context())
	userID := checkPassword(r)
	// In scs: RenewToken, then Put of "authenticatedUserID". All other values stayed. Here those stay that you name.
	if err := s.Login(strconv.Itoa(userID), string(cart), string(returnTo)); err != nil {
		http.Error(w, "try again", http.StatusServiceUnavailable)
		return
	}
	target, ok := returnTo.Pop(s)
	if !ok {
		target = "/"
	}
	s.Flash("info", "You are signed in.")
	http.Redirect(w, r, target, http.StatusSeeOther)
}

func signOut(w http.ResponseWriter, r *http.Request) {
	s := session.FromContext(r.Context())
	// In scs: RenewToken, then Remove of "authenticatedUserID"; or Destroy.
	if err := s.Destroy(); err != nil {
		http.Error(w, "try again", http.StatusServiceUnavailable)
		return
	}
	s.Flash("info", "You are signed out.") // begins a new session, for a visitor
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// newFromGorilla returns the Manager that takes the place of a gorilla store. Old has the keys and Options that it had.
func newFromGorilla(store session.Store, old *sessions.CookieStore) (*session.Manager, error) {
	return session.New(store, session.Config{
		Name:        "__Host-app", // not the name of the old cookie
		Lifetime:    30 * 24 * time.Hour,
		IdleTimeout: -1,   // none, as in gorilla. The default here is an hour
		Persistent:  true, // as with a MaxAge
		Adopt:       migrate.FromGorilla(old, "session-name", convertGorilla),
	})
}

type gorillaKey int // a type of the old application, for its keys

const userKey gorillaKey = 0

func convertGorilla(values map[string]any, a *session.Adopted) error {
	user := fmt.Sprint(userKey) // keys are texts now: this one is "0"
	a.User, _ = values[user].(string)
	delete(values, user)
	a.Values = values
	return nil
}

// oldFlashes are those that gorilla kept and nobody has read yet.
const oldFlashes session.Key[[]string] = "_flash"

// takeFlashes returns the messages for the page, those of before the change first.
func takeFlashes(s *session.Session) (messages []string) {
	messages, _ = oldFlashes.Pop(s)
	for _, flash := range s.Flashes() {
		messages = append(messages, flash.Message)
	}
	return messages
}

// registerOldTypes registers what is still in old sessions, under the names that gob wrote: the path and name of the
// type.
func registerOldTypes() {
	gob.RegisterName("example.com/csrf.Tokens", map[string]string{})        // of a package that is gone
	gob.RegisterName("example.com/old/view.Flash", struct{ Text string }{}) // of a package that has moved
}

// accounts is the application's own table of users.
type accounts interface {
	// PasswordChangedAt returns when the user's password was changed last; the user may be gone.
	PasswordChangedAt(user string) (at time.Time, found bool, err error)
}

// checked returns a Convert that takes no session over whose user is gone, or has another password since the change.
func checked(users accounts, switchedAt time.Time, convert migrate.Convert) migrate.Convert {
	return func(values map[string]any, a *session.Adopted) error {
		if err := convert(values, a); err != nil || a.User == "" {
			return err
		}
		changedAt, found, err := users.PasswordChangedAt(a.User)
		switch {
		case err != nil:
			return err // the answer is 503, and the next request tries again
		case !found || changedAt.After(switchedAt):
			return fmt.Errorf("%w: a session of before the password was changed", session.ErrNotFound)
		}
		return nil
	}
}

// fiberStorage is what this needs of a fiber.Storage.
type fiberStorage interface {
	Get(id string) ([]byte, error)
	Delete(id string) error
}

// fromFiber returns a function for Config.Adopt that takes over the sessions of Fiber v2.
func fromFiber(storage fiberStorage) func(*http.Request) (*session.Adopted, error) {
	return func(r *http.Request) (*session.Adopted, error) {
		cookie, err := r.Cookie("session_id")
		if err != nil || cookie.Value == "" {
			return nil, nil
		}
		// Name the session beside each error too: it may have been taken over before.
		a := &session.Adopted{
			Token:   cookie.Value,
			Cookies: []*http.Cookie{{Name: "session_id", Path: "/"}},
			Forget:  func(context.Context) error { return storage.Delete(cookie.Value) },
		}
		data, err := storage.Get(cookie.Value)
		switch {
		case err != nil:
			return a, err
		case data == nil:
			return a, session.ErrNotFound
		}
		if err := gob.NewDecoder(bytes.NewReader(data)).Decode(&a.Values); err != nil {
			return a, fmt.Errorf("%w: the session of Fiber: %w", session.ErrNotFound, err)
		}
		a.User, _ = a.Values["user"].(string)
		delete(a.Values, "user")
		return a, nil
	}
}
