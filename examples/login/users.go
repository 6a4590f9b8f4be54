package main

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/doorman-go/session"
)

// A user as the database has it.
type user struct {
	Username        string
	Name            string
	PasswordVersion int // counts password changes
	CreatedAt       time.Time

	passwordHash string
}

var (
	errNoUser  = errors.New("no such user")
	errNoMatch = errors.New("no user with this name and password")
)

// seeds are the users that a new database begins with.
var seeds = []struct{ username, name, password string }{
	{"ada", "Ada Lovelace", "analytical-engine"},
	{"grace", "Grace Hopper", "nanoseconds"},
}

// users is the table of users.
type users struct {
	db    *sql.DB
	decoy string // the hash of a password that nobody has
}

func openUsers(ctx context.Context, path string) (*users, error) {
	db, err := openDatabase(ctx, path)
	if err != nil {
		return nil, err
	}
	u := &users{db: db}
	if u.decoy, err = hashPassword(ctx, rand.Text()); err == nil {
		err = u.seed(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return u, nil
}

func (u *users) close() error { return u.db.Close() }

// seed fills an empty table, so that there is somebody to sign in as.
func (u *users) seed(ctx context.Context) error {
	var filled bool
	if err := u.db.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM users)").Scan(&filled); err != nil || filled {
		return err
	}
	for _, seed := range seeds {
		if err := u.add(ctx, seed.username, seed.name, seed.password); err != nil {
			return fmt.Errorf("seeding the database: %w", err)
		}
	}
	return nil
}

func (u *users) add(ctx context.Context, username, name, password string) error {
	hash, err := hashPassword(ctx, password)
	if err != nil {
		return err
	}
	_, err = u.db.ExecContext(ctx, "INSERT INTO users (username, name, password_hash, created_at) VALUES (?, ?, ?, ?)",
		username, name, hash, time.Now().Unix())
	return err
}

// find returns the user, or errNoUser.
func (u *users) find(ctx context.Context, username string) (user, error) {
	var found user
	var created int64
	err := u.db.QueryRowContext(ctx,
		"SELECT username, name, password_version, created_at, password_hash FROM users WHERE username = ?", username).
		Scan(&found.Username, &found.Name, &found.PasswordVersion, &created, &found.passwordHash)
	if errors.Is(err, sql.ErrNoRows) {
		return user{}, errNoUser
	}
	if err != nil {
		return user{}, fmt.Errorf("reading a user: %w", err)
	}
	found.CreatedAt = time.Unix(created, 0).UTC()
	return found, nil
}

// authenticate returns the user with this name and password, or errNoMatch. A name that nobody has takes as long as a
// wrong password, so that the time does not tell which names there are.
func (u *users) authenticate(ctx context.Context, username, password string) (user, error) {
	found, err := u.find(ctx, username)
	hash := found.passwordHash
	switch {
	case errors.Is(err, errNoUser):
		hash = u.decoy
	case err != nil:
		return user{}, err
	}
	match, err := checkPassword(ctx, hash, password)
	switch {
	case err != nil:
		return user{}, err
	case !match || found.Username == "":
		return user{}, errNoMatch
	}
	return found, nil
}

// changePassword replaces the current password and returns the new one's version. It returns errNoMatch if current is
// not the password, or no longer since another request was faster.
func (u *users) changePassword(ctx context.Context, username, current, replacement string) (version int, err error) {
	found, err := u.authenticate(ctx, username, current)
	if err != nil {
		return 0, err
	}
	hash, err := hashPassword(ctx, replacement)
	if err != nil {
		return 0, err
	}
	err = u.db.QueryRowContext(ctx, `UPDATE users SET password_hash = ?, password_version = password_version + 1
		WHERE username = ? AND password_version = ? RETURNING password_version`,
		hash, found.Username, found.PasswordVersion).Scan(&version)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, errNoMatch
	}
	return version, err
}

// passwordVersion is the version of the password that the session's user signed in with.
const passwordVersion session.Key[int] = "password_version"

// revalidate ends a session whose user is gone, or has another password now: also one that the store could not be asked
// to end at the time. It is the session.Config's Revalidate.
func (u *users) revalidate(ctx context.Context, s *session.Session) error {
	if s.User() == "" {
		return nil
	}
	found, err := u.find(ctx, s.User())
	switch {
	case errors.Is(err, errNoUser):
		return fmt.Errorf("%w: %w", session.ErrSessionEnded, err)
	case err != nil:
		return err
	}
	if version, _ := passwordVersion.Get(s); version != found.PasswordVersion {
		return fmt.Errorf("%w: its password is no longer valid", session.ErrSessionEnded)
	}
	return nil
}
