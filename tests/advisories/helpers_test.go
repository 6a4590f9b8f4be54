package advisories_test

import (
	"context"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/tests/kit"
)

// accessors are all methods of a Session that look at it or change it.
func accessors() map[string]func(*session.Session) {
	return map[string]func(*session.Session){
		"Get": func(s *session.Session) { s.Get("cart", new(string)) }, "Set": func(s *session.Session) { s.Set("cart", 1) },
		"Has": func(s *session.Session) { s.Has("cart") }, "Keys": func(s *session.Session) { s.Keys() },
		"Delete": func(s *session.Session) { s.Delete("cart") }, "Clear": func(s *session.Session) { s.Clear() },
		"Flash": func(s *session.Session) { s.Flash("a", "b") }, "Flashes": func(s *session.Session) { s.Flashes() },
		"Regenerate": kit.Regenerate, "Login": kit.LoginAda, "Destroy": kit.Logout,
		"Save": func(s *session.Session) { _ = s.Save(context.Background()) }, "Err": func(s *session.Session) { _ = s.Err() },
		"SetPersistent": func(s *session.Session) { s.SetPersistent(true) }, "SetNote": func(s *session.Session) { s.SetNote("n") },
		"SetLifetime": func(s *session.Session) { s.SetLifetime(0, 0) }, "ID": func(s *session.Session) { s.ID() },
		"IsNew": func(s *session.Session) { s.IsNew() }, "User": func(s *session.Session) { s.User() },
		"CreatedAt": func(s *session.Session) { s.CreatedAt() }, "AuthenticatedAt": func(s *session.Session) { s.AuthenticatedAt() },
		"AuthenticatedWithin": func(s *session.Session) { s.AuthenticatedWithin(1) }, "ExpiresAt": func(s *session.Session) { s.ExpiresAt() },
		"Key.Update": func(s *session.Session) { kit.Counter.Update(s, func(i int) int { return i }) },
		"Key.Pop":    func(s *session.Session) { kit.Counter.Pop(s) }, "Key.Get": func(s *session.Session) { kit.Counter.Get(s) },
	}
}
