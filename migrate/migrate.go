// Package migrate takes over the sessions of github.com/alexedwards/scs/v2 and github.com/gorilla/sessions, so that a
// service changes to github.com/doorman-go/session without signing anybody out. FromSCS and FromGorilla make the
// function for session.Config.Adopt. docs/migrating.md says how to deploy the change, and what can't be promised.
//
// The package is for the time of the change. Remove it, with the old library, when the old sessions have run out.
package migrate

import (
	"fmt"
	"net/http"

	"github.com/doorman-go/session"
)

// Convert translates the values of an old session. It sets User, Values and AuthenticatedAt:
//
//   - values are the values of the old session, as the old library decoded them: with its types, and nil for no value.
//     Convert may keep the map. For many applications a.Values = values is enough.
//   - a.User is "" when Convert is called. Without a User the session is a visitor's.
//   - a.Values is an empty map when Convert is called. A value that Convert does not put there is dropped.
//   - a.AuthenticatedAt is zero when Convert is called. Neither library stores when a user signed in. Set it only if
//     your application stored that time. The time of the last save is not it.
//   - a.Deadline is the end of the old session, or zero if the old library does not tell. Convert may make it earlier.
//     A later one has no effect.
//   - a.Persistent is what the old library tells. It may not know what your application set for one session, so Convert
//     may change it.
//
// An error that wraps session.ErrNotFound means that there is nothing to take over: the request is a visitor's. Any
// other error counts as a failure of the old store: the request is answered with 503, and the next one tries again.
type Convert func(values map[string]any, a *session.Adopted) error

// apply calls Convert with the values of an old session. Then it makes sure that Deadline is not later than the old
// end.
func (c Convert) apply(values map[string]any, a *session.Adopted) error {
	end := a.Deadline
	a.Values = make(map[string]any)
	if err := c(values, a); err != nil {
		return fmt.Errorf("migrate: convert the old session: %w", err)
	}
	if !end.IsZero() && (a.Deadline.IsZero() || a.Deadline.After(end)) {
		a.Deadline = end
	}
	return nil
}

// errGone is the error for a cookie whose session the old store does not have. The functions for Config.Adopt return
// the token together with this error and all others, because the session may be gone because it was adopted before.
var errGone = fmt.Errorf("migrate: the old store does not have the session: %w", session.ErrNotFound)

// unreadable returns the error for an old session, or a cookie, that can't be read.
func unreadable(err error) error {
	return fmt.Errorf("migrate: the old session can't be read (%w): %w", session.ErrNotFound, err)
}

// oldCookie returns the value of the old library's cookie. If there are several with this name, it is the first one,
// which the old library reads too.
func oldCookie(r *http.Request, name string) (value string, found bool) {
	cookie, err := r.Cookie(name)
	if err != nil || cookie.Value == "" {
		return "", false
	}
	return cookie.Value, true
}
