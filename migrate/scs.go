package migrate

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"time"

	"github.com/alexedwards/scs/v2"

	"github.com/doorman-go/session"
)

// rememberMe is the key under which scs keeps the argument of RememberMe.
const rememberMe = "__rememberMe"

// FromSCS returns a function for session.Config.Adopt that takes over the sessions of manager. Manager must have the
// same Store, Codec, Cookie and HashTokenInStore as the one that wrote them. Do not mount its middleware any more: it
// would write sessions again that were taken over.
//
// From the old session come its values, its deadline, also after SetDeadline, and whether its cookie is persistent,
// also after RememberMe. Scs does not store when the user signed in. There is nothing to take over if scs does not find
// the session, if the session is past scs's IdleTimeout, or if its Codec can't decode it. The cookie must have another
// name than session.Config.Name.
//
// FromSCS panics if manager or convert is nil, or if scs.New did not make manager, so that the program learns of it at
// its start.
func FromSCS(manager *scs.SessionManager, convert Convert) func(*http.Request) (*session.Adopted, error) {
	switch {
	case convert == nil:
		panic("migrate: FromSCS needs a Convert")
	case manager == nil || manager.Store == nil || manager.Codec == nil || manager.Cookie.Name == "":
		panic("migrate: FromSCS needs a manager of scs.New, with a Store, a Codec and a name for its cookie")
	}
	return func(r *http.Request) (*session.Adopted, error) {
		token, found := oldCookie(r, manager.Cookie.Name)
		if !found {
			return nil, nil
		}
		a := newFromSCS(manager, token)
		b, found, err := findSCS(r.Context(), manager, token)
		switch {
		case err != nil:
			return a, fmt.Errorf("migrate: ask the store of scs: %w", err)
		case !found:
			return a, errGone
		}
		var values map[string]any
		if a.Deadline, values, err = manager.Codec.Decode(b); err != nil {
			return a, unreadable(err)
		}
		if remembered, _ := values[rememberMe].(bool); remembered {
			a.Persistent = true
		}
		delete(values, rememberMe)
		return a, convert.apply(values, a)
	}
}

// newFromSCS returns the answer for a session as far as it is known before its store is asked.
func newFromSCS(manager *scs.SessionManager, token string) *session.Adopted {
	return &session.Adopted{
		Token:      token,
		Persistent: manager.Cookie.Persist,
		Cookies:    []*http.Cookie{removeSCS(manager.Cookie)},
		Forget:     func(ctx context.Context) error { return deleteSCS(ctx, manager, token) },
	}
}

// removeSCS returns the cookie that removes the manager's cookie.
func removeSCS(c scs.SessionCookie) *http.Cookie {
	return &http.Cookie{
		Name: c.Name, Domain: c.Domain, Path: c.Path, Secure: c.Secure, HttpOnly: c.HttpOnly, SameSite: c.SameSite,
		Partitioned: c.Partitioned, MaxAge: -1, Expires: time.Unix(1, 0),
	}
}

// findSCS asks the manager's store as the manager does: with a context, if the store has methods for that. The other
// methods of such a store may panic.
func findSCS(ctx context.Context, manager *scs.SessionManager, token string) (b []byte, found bool, err error) {
	store, ok := manager.Store.(interface {
		FindCtx(context.Context, string) ([]byte, bool, error)
	})
	if ok {
		return store.FindCtx(ctx, scsKey(manager, token))
	}
	return manager.Store.Find(scsKey(manager, token))
}

// deleteSCS deletes the session in the manager's store. For these stores it is no error if the session is gone.
func deleteSCS(ctx context.Context, manager *scs.SessionManager, token string) error {
	store, ok := manager.Store.(interface {
		DeleteCtx(context.Context, string) error
	})
	if ok {
		return store.DeleteCtx(ctx, scsKey(manager, token))
	}
	return manager.Store.Delete(scsKey(manager, token))
}

// scsKey returns the key under which the manager's store keeps the session.
func scsKey(manager *scs.SessionManager, token string) string {
	if !manager.HashTokenInStore {
		return token
	}
	hash := sha256.Sum256([]byte(token))
	return base64.RawURLEncoding.EncodeToString(hash[:])
}
