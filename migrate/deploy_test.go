package migrate_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session"
)

// What docs/migrating.md says of old and new instances side by side, and of a roll-back.

// at asks an instance of the old or the new program.
func (s *site) at(isNew bool) { s.switched.Store(isNew) }

func TestDeploy_SideBySide(t *testing.T) {
	eachSite(t, func(t *testing.T, s *site) {
		jar := s.signIn()
		s.at(true)
		require.Equal(t, adasPage, s.get(jar, "/"), "it is taken over")
		s.at(false)
		assert.Equal(t, visitorsPage, s.get(jar, "/"), "the browser does not have the old cookie any more")
		s.at(true)
		assert.Equal(t, adasPage, s.get(jar, "/"))

		s.at(false)
		stays := s.signIn()
		assert.Equal(t, adasPage, s.get(stays, "/"), "who has been at no new instance sees no change")

		s.get(jar, "/sign-in") // at an old instance again
		s.at(true)
		before := s.count(session.EventAdopted)
		assert.Equal(t, adasPage, s.get(jar, "/"))
		assert.Equal(t, before, s.count(session.EventAdopted), "the session that was taken over goes on")
		again := cookieIn(jar, s.cookie)
		require.NotNil(t, again)
		s.get(jar, "/sign-out")
		assert.Equal(t, visitorsPage, s.newPage(again), "and a sign-out ends both")
		assert.Nil(t, cookieIn(jar, s.cookie))
	})
}

func TestDeploy_RollBackAndSecondTry(t *testing.T) {
	eachSite(t, func(t *testing.T, s *site) {
		seen, unseen := s.signIn(), s.signIn()
		s.at(true)
		require.Equal(t, adasPage, s.get(seen, "/"))
		s.at(false)
		assert.Equal(t, visitorsPage, s.get(seen, "/"))
		assert.Equal(t, adasPage, s.get(unseen, "/"))

		second, err := session.New(s.store, session.Config{Name: "__Host-app2", Adopt: s.adopt})
		require.NoError(t, err)
		s.manager = second
		s.at(true)
		assert.Equal(t, visitorsPage, s.get(seen, "/"), "the session of the first try is not opened")
		assert.Equal(t, adasPage, s.get(unseen, "/"))
	})
}
