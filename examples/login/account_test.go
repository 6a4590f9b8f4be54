package main

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session/sessiontest"
)

func TestPasswordChange(t *testing.T) {
	allStores(t, func(t *testing.T, s *site) {
		here, there, grace := s.ada(t), s.ada(t), s.member(t, "grace", "nanoseconds")
		before := here.cookie()
		a := here.post("/account/password", "current", "analytical-engine", "new", "punched-cards")
		require.Equal(t, http.StatusSeeOther, a.status)
		assert.NotEqual(t, before, here.cookie())
		assert.Contains(t, here.get(a.location).body, "Your password is changed")
		assert.True(t, here.signedIn())
		assert.False(t, there.signedIn())
		assert.True(t, grace.signedIn())

		thief := s.visitor(t)
		thief.takeCookie(before)
		assert.False(t, thief.signedIn(), "this session has a new id")

		assert.Equal(t, http.StatusUnauthorized, there.login("ada", "analytical-engine").status)
		assert.Equal(t, http.StatusSeeOther, there.login("ada", "punched-cards").status)
		assert.True(t, there.signedIn())
		assert.True(t, here.signedIn())
	})
}

func TestRefusedPasswordChange(t *testing.T) {
	cases := []struct {
		name, current, replacement string
		status                     int
		text                       string
	}{
		{"wrong current", "difference-engine", "punched-cards", 401, "That is not your current password."},
		{"no current", "", "punched-cards", 422, "Enter your current password."},
		{"no new", "analytical-engine", "", 422, "Enter a new password."},
		{"nothing", "", "", 422, "Enter a new password."},
		{"short", "analytical-engine", "sieben7", 422, "Use at least 8 characters."},
		{"short in characters", "analytical-engine", "äöüäöü", 422, "Use at least 8 characters."},
		{"the same", "analytical-engine", "analytical-engine", 422, "Choose a password that is not the current one."},
	}
	allStores(t, func(t *testing.T, s *site) {
		here, there := s.ada(t), s.ada(t)
		here.get("/account") // reads the flash
		before := here.cookie()
		for _, c := range cases {
			a := here.post("/account/password", "current", c.current, "new", c.replacement)
			assert.Equal(t, c.status, a.status, c.name)
			assert.Contains(t, a.body, c.text, c.name)
			assert.NotContains(t, a.body, "difference-engine", c.name)
		}
		assert.Equal(t, before, here.cookie())
		assert.True(t, there.signedIn())
		assert.Equal(t, http.StatusSeeOther, s.visitor(t).login("ada", "analytical-engine").status)
	})
}

// The store can't be asked to end the others at the moment of the change: the stamp in the session sees to it.
func TestPasswordChangeEndsOthersWithoutTheStore(t *testing.T) {
	store := sessiontest.NewStore()
	s := newSiteOn(t, store)
	here, there := s.ada(t), s.ada(t)
	store.Fail(sessiontest.End, 1, errAway)
	a := here.post("/account/password", "current", "analytical-engine", "new", "punched-cards")
	assert.Equal(t, http.StatusServiceUnavailable, a.status)
	assert.False(t, there.signedIn())
	assert.Equal(t, http.StatusSeeOther, here.login("ada", "punched-cards").status)
}

func TestOnlyOneOfTwoPasswordChangesWins(t *testing.T) {
	u, err := openUsers(t.Context(), "")
	require.NoError(t, err)
	defer func() { assert.NoError(t, u.close()) }()
	results := make(chan error, 8)
	for i := range cap(results) {
		go func() {
			_, err := u.changePassword(t.Context(), "ada", "analytical-engine", fmt.Sprintf("replacement %d", i))
			results <- err
		}()
	}
	won := 0
	for range cap(results) {
		if err := <-results; err == nil {
			won++
		} else {
			assert.ErrorIs(t, err, errNoMatch)
		}
	}
	assert.Equal(t, 1, won)
}

func TestSessionOfAUserWhoIsGone(t *testing.T) {
	allStores(t, func(t *testing.T, s *site) {
		p := s.ada(t)
		s.exec(t, "DELETE FROM users WHERE username = 'ada'")
		assert.False(t, p.signedIn())
		require.NoError(t, s.users.add(t.Context(), "ada", "Another Ada", "analytical-engine"))
		assert.False(t, p.signedIn(), "it has ended for good")
	})
}

func TestDatabaseOutageEndsNothing(t *testing.T) {
	allStores(t, func(t *testing.T, s *site) {
		p := s.ada(t)
		s.exec(t, "ALTER TABLE users RENAME TO away")
		a := p.get("/account")
		assert.Equal(t, http.StatusServiceUnavailable, a.status)
		sessiontest.NoSetCookie(t, a.header)
		assert.Equal(t, http.StatusInternalServerError, s.visitor(t).login("ada", "analytical-engine").status)
		s.exec(t, "ALTER TABLE away RENAME TO users")
		assert.True(t, p.signedIn())
	})
}

func (s *site) exec(t *testing.T, statement string) {
	_, err := s.users.db.ExecContext(t.Context(), statement)
	require.NoError(t, err)
}
