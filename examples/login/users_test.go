package main

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/sessiontest"
)

func TestUsersInAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users of the room?.db")
	u, err := openUsers(t.Context(), path)
	require.NoError(t, err)
	version, err := u.changePassword(t.Context(), "ada", "analytical-engine", "punched-cards")
	require.NoError(t, err)
	assert.Equal(t, 2, version)
	require.NoError(t, u.close())
	require.FileExists(t, path)

	u, err = openUsers(t.Context(), path)
	require.NoError(t, err, "the migrations are applied once")
	defer func() { assert.NoError(t, u.close()) }()
	found, err := u.authenticate(t.Context(), "ADA", "punched-cards")
	require.NoError(t, err, "and the seeds do not come back")
	assert.Equal(t, "ada", found.Username)
	assert.Equal(t, 2, found.PasswordVersion)
	_, err = u.authenticate(t.Context(), "ada", "analytical-engine")
	assert.ErrorIs(t, err, errNoMatch)
}

func TestUsersWhereThereCanBeNoFile(t *testing.T) {
	_, err := openUsers(t.Context(), filepath.Join(t.TempDir(), "missing", "users.db"))
	assert.ErrorContains(t, err, "database")
}

func TestRevalidate(t *testing.T) {
	u, err := openUsers(t.Context(), "")
	require.NoError(t, err)
	defer func() { assert.NoError(t, u.close()) }()
	version := func(n int) sessiontest.Values { return sessiontest.Values{string(passwordVersion): n} }
	for name, c := range map[string]struct {
		seed sessiontest.Seed
		ends bool
	}{
		"a visitor":       {sessiontest.Seed{}, false},
		"ada":             {sessiontest.Seed{User: "ada", Values: version(1)}, false},
		"an old password": {sessiontest.Seed{User: "ada", Values: version(0)}, true},
		"no version":      {sessiontest.Seed{User: "ada"}, true},
		"no such user":    {sessiontest.Seed{User: "charles", Values: version(1)}, true},
	} {
		_, s := sessiontest.Context(t.Context(), c.seed)
		err := u.revalidate(t.Context(), s.Session)
		assert.Equal(t, c.ends, errors.Is(err, session.ErrSessionEnded), "%s: %v", name, err)
	}
	require.NoError(t, u.db.Close())
	_, s := sessiontest.Context(t.Context(), sessiontest.Seed{User: "ada", Values: version(1)})
	err = u.revalidate(t.Context(), s.Session)
	require.Error(t, err)
	assert.NotErrorIs(t, err, session.ErrSessionEnded, "a database that is away ends nothing")
}

func TestPasswordHashes(t *testing.T) {
	hash, err := hashPassword(t.Context(), "correct horse")
	require.NoError(t, err)
	assert.True(t, strings.HasPrefix(hash, "$argon2id$v=19$m=19456,t=2,p=1$"), hash)
	other, err := hashPassword(t.Context(), "correct horse")
	require.NoError(t, err)
	assert.NotEqual(t, hash, other, "each has its own salt")

	for password, want := range map[string]bool{"correct horse": true, "correct horse ": false, "": false} {
		match, err := checkPassword(t.Context(), hash, password)
		require.NoError(t, err)
		assert.Equal(t, want, match)
	}
	cheaper, err := checkPassword(t.Context(), "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$RtGsHK5yjFTEPARZiYbNU3Nb1lVvKaMaB7vLSyZVJ1w", "x")
	require.NoError(t, err)
	assert.False(t, cheaper)
	for _, bad := range []string{
		"", "x", "$2b$12$abc", "$argon2id$v=18$m=64,t=1,p=1$c29tZXNhbHQ$c29tZXNhbHQ", "$argon2id$v=19$m=64,t=0,p=1$c29tZXNhbHQ$c29tZXNhbHQ",
		"$argon2id$v=19$m=64,t=1,p=1$!$c29tZXNhbHQ", "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$", "$argon2id$v=19$m=64$c29tZXNhbHQ$c29tZXNhbHQ",
	} {
		_, err := checkPassword(t.Context(), bad, "x")
		assert.ErrorIs(t, err, errBadHash, "%q", bad)
	}
}
