package migrate_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/gob"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/boj/redistore"
	"github.com/gorilla/securecookie"
	"github.com/gorilla/sessions"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/internal/redistest"
	"github.com/doorman-go/session/migrate"
)

var (
	hashKey  = bytes.Repeat([]byte("h"), 32)
	blockKey = bytes.Repeat([]byte("b"), 32)
)

// gorillaStores makes each of these stores of gorilla: signed and encrypted cookies, files, and Redis.
var gorillaStores = map[string]func(t *testing.T) sessions.Store{
	"signed cookie": func(*testing.T) sessions.Store { return sessions.NewCookieStore(hashKey) },
	"sealed cookie": func(*testing.T) sessions.Store { return sessions.NewCookieStore(hashKey, blockKey) },
	"files":         func(t *testing.T) sessions.Store { return sessions.NewFilesystemStore(t.TempDir(), hashKey) },
	"redistore":     func(t *testing.T) sessions.Store { return newRediStore(t, redistest.Start(t)) },
}

func newRediStore(t *testing.T, server *redistest.Server) *redistore.RediStore {
	store, err := redistore.NewRediStoreWithPool(pool(t, server), hashKey)
	require.NoError(t, err)
	return store
}

func eachGorilla(t *testing.T, test func(t *testing.T, store sessions.Store)) {
	for name, store := range gorillaStores {
		t.Run(name, func(t *testing.T) { test(t, store(t)) })
	}
}

// setMaxAge sets the age as each of the stores has it set.
func setMaxAge(store sessions.Store, age int) {
	switch s := store.(type) {
	case *sessions.CookieStore:
		s.MaxAge(age)
	case *sessions.FilesystemStore:
		s.MaxAge(age)
	case *redistore.RediStore:
		s.SetMaxAge(age)
	}
}

func inMemory(store sessions.Store) bool {
	_, cookie := store.(*sessions.CookieStore)
	return cookie
}

func writeAda(s *sessions.Session) { s.Values["user"] = "ada" }

func TestFromGorilla_TakesOverWhatTheLibraryWrote(t *testing.T) {
	since := time.Now().Add(-time.Hour).Truncate(time.Second)
	eachGorilla(t, func(t *testing.T, store sessions.Store) {
		setMaxAge(store, 7200)
		cookie := writeGorilla(t, store, func(s *sessions.Session) {
			s.Values["user"], s.Values["since"], s.Values["n"] = "ada", since, 7
			s.AddFlash("welcome")
			s.AddFlash("beware", "warnings")
		})
		adopt := migrate.FromGorilla(store, gorillaName, keepAll)
		a := requireAdopted(t, adopt, cookie)
		assert.Equal(t, "ada", a.User)
		assert.True(t, a.AuthenticatedAt.Equal(since))
		assert.Equal(t, map[string]any{"n": 7, "_flash": []any{"welcome"}, "warnings": []any{"beware"}}, a.Values)
		assert.WithinDuration(t, time.Now().Add(2*time.Hour), a.Deadline, 30*time.Second)
		assert.True(t, a.Persistent)
		assert.NotEmpty(t, a.Token)
		assert.NotContains(t, a.Token, cookie.Value)
		assert.Equal(t, a.Token, requireAdopted(t, adopt, cookie).Token)
		other := writeGorilla(t, store, func(s *sessions.Session) { s.Values["user"] = "grace" })
		assert.NotEqual(t, a.Token, requireAdopted(t, adopt, other).Token)

		if inMemory(store) {
			assert.Nil(t, a.Forget, "there is nothing to end")
			return
		}
		require.NoError(t, a.Forget(t.Context()))
		old, _ := store.New(requestWith(cookie), gorillaName)
		assert.True(t, old.IsNew, "the old library still has it")
		gone, _ := requireRefused(t, adopt, cookie)
		requireNamed(t, a, gone)
		require.NoError(t, gone.Forget(t.Context()), "a second time is no error")
		requireAdopted(t, adopt, other)
	})
}

// A server store's cookie is another one after each Save, and still that session's.
func TestFromGorilla_OneTokenForAllCookiesOfASession(t *testing.T) {
	for _, name := range []string{"files", "redistore"} {
		store := gorillaStores[name](t)
		cookie := writeGorilla(t, store, writeAda)
		adopt := migrate.FromGorilla(store, gorillaName, keepAll)
		a := requireAdopted(t, adopt, cookie)
		id := idOf(t, store, cookie)
		assert.NotContains(t, a.Token, id, "what the store keeps does not tell the token")
		earlier := sealedAt(t, time.Now().Add(-time.Hour), id)
		assert.NotEqual(t, cookie.Value, earlier.Value)
		assert.Equal(t, a.Token, requireAdopted(t, adopt, earlier).Token, name)
	}
}

func setCodecs(store sessions.Store, codecs []securecookie.Codec) {
	switch s := store.(type) {
	case *sessions.CookieStore:
		s.Codecs = codecs
	case *sessions.FilesystemStore:
		s.Codecs = codecs
	case *redistore.RediStore:
		s.Codecs = codecs
	}
}

// A cookie of a CookieStore can't be ended, so that nobody may adopt it again by writing it differently.
func TestFromGorilla_OneTokenHoweverTheCookieIsWritten(t *testing.T) {
	store := sessions.NewCookieStore(hashKey)
	adopt := migrate.FromGorilla(store, gorillaName, keepAll)
	cookie, others := respelled(t, store)
	token := requireAdopted(t, adopt, cookie).Token
	require.NotEmpty(t, others)
	for _, other := range others {
		assert.Equal(t, token, requireAdopted(t, adopt, other).Token, "gorilla accepts it too")
	}
}

// respelled returns a cookie, and what else decodes to the same bytes: base64 leaves bits over at the end.
func respelled(t *testing.T, store *sessions.CookieStore) (cookie *http.Cookie, others []*http.Cookie) {
	for n := 1; ; n++ {
		cookie = writeGorilla(t, store, func(s *sessions.Session) { s.Values["user"] = strings.Repeat("a", n) })
		if strings.HasSuffix(cookie.Value, "=") {
			break
		}
	}
	content, err := base64.URLEncoding.DecodeString(cookie.Value)
	require.NoError(t, err)
	text := strings.TrimRight(cookie.Value, "=")
	padding := cookie.Value[len(text):]
	for _, last := range "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_" {
		other := text[:len(text)-1] + string(last) + padding
		same, err := base64.URLEncoding.DecodeString(other)
		if err == nil && bytes.Equal(same, content) && other != cookie.Value {
			others = append(others, &http.Cookie{Name: gorillaName, Value: other})
		}
	}
	return cookie, others
}

func TestFromGorilla_LeavesTheOldSessionUntilForget(t *testing.T) {
	eachGorilla(t, func(t *testing.T, store sessions.Store) {
		cookie := writeGorilla(t, store, writeAda)
		requireAdopted(t, migrate.FromGorilla(store, gorillaName, keepAll), cookie)
		old, err := store.New(requestWith(cookie), gorillaName)
		require.NoError(t, err)
		assert.Equal(t, "ada", old.Values["user"])
	})
}

func TestFromGorilla_NothingToTakeOver(t *testing.T) {
	eachGorilla(t, func(t *testing.T, store sessions.Store) {
		adopt := migrate.FromGorilla(store, gorillaName, keepAll)
		requireNothing(t, adopt)
		requireNothing(t, adopt, &http.Cookie{Name: gorillaName})
		requireNothing(t, adopt, &http.Cookie{Name: "another", Value: "x"})
		for _, value := range []string{"x", "MTcw", "%%%", strings.Repeat("A", 5000)} {
			a, _ := requireRefused(t, adopt, &http.Cookie{Name: gorillaName, Value: value})
			assert.Nil(t, a, "a cookie that nobody signed names nothing")
		}
		cookie := writeGorilla(t, store, writeAda)
		setCodecs(store, securecookie.CodecsFromPairs(bytes.Repeat([]byte("x"), 32)))
		requireRefused(t, adopt, cookie)
	})
}

// A store without keys is a mistake of the program's: it must not sign everybody out in silence.
func TestFromGorilla_AStoreWithoutKeys(t *testing.T) {
	cookie := writeGorilla(t, sessions.NewCookieStore(hashKey), writeAda)
	_, err := requireFailure(t, migrate.FromGorilla(sessions.NewCookieStore(nil), gorillaName, keepAll), cookie)
	assert.ErrorContains(t, err, "hash key is not set")
}

func TestFromGorilla_Keys(t *testing.T) {
	type number int
	type name string
	for _, key := range []any{number(0), name("name"), [1]int{7}, true, 2.5} {
		gob.Register(key)
	}
	store := sessions.NewCookieStore(hashKey)
	adopt := migrate.FromGorilla(store, gorillaName, keepAll)
	cookie := writeGorilla(t, store, func(s *sessions.Session) {
		s.Values[number(0)], s.Values[name("name")], s.Values[uint8(3)], s.Values[true] = "a", "b", "c", "d"
	})
	assert.Equal(t, map[string]any{"0": "a", "name": "b", "3": "c", "true": "d"}, requireAdopted(t, adopt, cookie).Values)

	for text, values := range map[string]map[any]any{
		"a key of it is a [1]int":         {[1]int{7}: "a"},
		"a key of it is a float64":        {2.5: "a"},
		`two of its keys are written "1"`: {"1": "a", 1: "b"},
	} {
		a, err := requireRefused(t, adopt, writeGorilla(t, store, func(s *sessions.Session) { s.Values = values }))
		require.ErrorContains(t, err, text)
		assert.NotEmpty(t, a.Token)
	}
}

func TestFromGorilla_RemovesTheCookieAsItWasSet(t *testing.T) {
	options := sessions.Options{
		Path: "/app", Domain: "example.com", MaxAge: 3600, Secure: true, HttpOnly: true, Partitioned: true,
		SameSite: http.SameSiteStrictMode,
	}
	eachGorilla(t, func(t *testing.T, store sessions.Store) {
		switch s := store.(type) {
		case *sessions.CookieStore:
			s.Options = &options
		case *sessions.FilesystemStore:
			s.Options = &options
		case *redistore.RediStore:
			s.Options = &options
		}
		a := requireAdopted(t, migrate.FromGorilla(store, gorillaName, keepAll), writeGorilla(t, store, writeAda))
		require.Len(t, a.Cookies, 1)
		assert.Equal(t, "old=; Path=/app; Domain=example.com; Expires=Thu, 01 Jan 1970 00:00:01 GMT; Max-Age=0; HttpOnly; "+
			"Secure; SameSite=Strict; Partitioned", a.Cookies[0].String())
	})
	assert.Equal(t, 3600, options.MaxAge, "the store's own options are left alone")
}

func TestFromGorilla_End(t *testing.T) {
	const day = 24 * time.Hour
	for name, c := range map[string]struct {
		store   func(*sessions.CookieStore)
		session int // its own MaxAge
		want    time.Duration
	}{
		"the default":               {func(*sessions.CookieStore) {}, 0, 30 * day},
		"set by MaxAge":             {func(s *sessions.CookieStore) { s.MaxAge(3600) }, 0, time.Hour},
		"set by Options":            {func(s *sessions.CookieStore) { s.Options = &sessions.Options{MaxAge: 3600} }, 0, time.Hour},
		"until the browser closes":  {func(s *sessions.CookieStore) { s.Options = &sessions.Options{} }, 0, 30 * day},
		"without end":               {func(s *sessions.CookieStore) { s.MaxAge(0) }, 0, 0},
		"a session's own, not kept": {func(s *sessions.CookieStore) { s.Options.MaxAge = 3600 }, 86400, time.Hour},
	} {
		store := sessions.NewCookieStore(hashKey)
		c.store(store)
		cookie := writeGorilla(t, store, func(s *sessions.Session) {
			writeAda(s)
			if c.session != 0 {
				s.Options.MaxAge = c.session
			}
		})
		a := requireAdopted(t, migrate.FromGorilla(store, gorillaName, keepAll), cookie)
		if c.want == 0 {
			assert.True(t, a.Deadline.IsZero(), name)
			continue
		}
		assert.WithinDuration(t, time.Now().Add(c.want), a.Deadline, 30*time.Second, name)
		assert.Equal(t, store.Options.MaxAge > 0, a.Persistent, name)
	}
}

// A cookie whose MaxAge by the store's Options has passed was written with a longer one if gorilla still accepts it.
func TestFromGorilla_ACookieThatIsOlderThanOptionsSay(t *testing.T) {
	store := sessions.NewCookieStore(hashKey)
	store.Options.MaxAge = 3600
	cookie := sealedAt(t, time.Now().Add(-2*time.Hour), map[any]any{"user": "ada"})
	a := requireAdopted(t, migrate.FromGorilla(store, gorillaName, keepAll), cookie)
	assert.WithinDuration(t, time.Now().Add(30*24*time.Hour-2*time.Hour), a.Deadline, 30*time.Second)

	endless := sessions.NewCookieStore(hashKey)
	endless.MaxAge(0)
	endless.Options.MaxAge = 3600
	a = requireAdopted(t, migrate.FromGorilla(endless, gorillaName, keepAll), cookie)
	assert.True(t, a.Deadline.IsZero())

	ahead := sealedAt(t, time.Now().Add(time.Minute), map[any]any{"user": "ada"}) // by a server whose clock is
	store.MaxAge(0)
	assert.True(t, requireAdopted(t, migrate.FromGorilla(store, gorillaName, keepAll), ahead).Deadline.IsZero())
	store.MaxAge(3600)
	requireRefused(t, migrate.FromGorilla(store, gorillaName, keepAll), cookie)
}

// sealedAt returns a cookie as a store with hashKey wrote it at a time that has passed.
func sealedAt(t *testing.T, at time.Time, holds any) *http.Cookie {
	content, err := securecookie.GobEncoder{}.Serialize(holds)
	require.NoError(t, err)
	sealed := strconv.FormatInt(at.Unix(), 10) + "|" + base64.URLEncoding.EncodeToString(content)
	mac := hmac.New(sha256.New, hashKey)
	mac.Write([]byte(gorillaName + "|" + sealed))
	value := base64.URLEncoding.EncodeToString(mac.Sum([]byte(sealed + "|")))
	return &http.Cookie{Name: gorillaName, Value: value}
}

// The Manager's clock decides what is over, where gorilla's is another one.
func TestFromGorilla_TheManagersClock(t *testing.T) {
	store := sessions.NewCookieStore(hashKey)
	store.MaxAge(3600)
	r := requestWith(writeGorilla(t, store, writeAda))
	later := time.Now().Add(2 * time.Hour)
	a, err := migrate.FromGorilla(store, gorillaName, keepAll)(
		r.WithContext(session.WithClock(t.Context(), func() time.Time { return later })))
	require.NoError(t, err)
	assert.WithinDuration(t, later.Add(-time.Hour), a.Deadline, 30*time.Second, "it is over")
}

func TestFromGorilla_FilesThatCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	store := sessions.NewFilesystemStore(dir, hashKey)
	cookie := writeGorilla(t, store, writeAda)
	adopt := migrate.FromGorilla(store, gorillaName, keepAll)
	before := requireAdopted(t, adopt, cookie)
	id := idOf(t, store, cookie)
	file := filepath.Join(dir, "session_"+id)
	require.NoError(t, os.WriteFile(file, []byte("no seal"), 0o600))
	a, _ := requireRefused(t, adopt, cookie)
	requireNamed(t, before, a)

	require.NoError(t, os.Remove(file))
	require.NoError(t, os.Mkdir(file, 0o700)) // so that it can be neither read nor removed
	require.NoError(t, os.WriteFile(filepath.Join(file, "x"), nil, 0o600))
	a, err := requireFailure(t, adopt, cookie)
	requireNamed(t, before, a)
	assert.NotContains(t, err.Error(), id, "the file's name tells the session's ID")
	err = a.Forget(t.Context())
	require.Error(t, err)
	assert.NotContains(t, err.Error(), id)
}

// strangeStore is a store by somebody else, such as one for a database: it is read by the interface.
type strangeStore struct {
	sessions.Store
	id      string
	deleted []string
	failure error
}

func (s *strangeStore) New(_ *http.Request, name string) (*sessions.Session, error) {
	old := sessions.NewSession(s, name)
	old.ID, old.Options, old.Values["user"] = s.id, nil, "ada"
	return old, s.failure
}

func (s *strangeStore) Save(_ *http.Request, w http.ResponseWriter, old *sessions.Session) error {
	if old.Options.MaxAge < 0 {
		s.deleted = append(s.deleted, old.ID)
	}
	http.SetCookie(w, sessions.NewCookie(old.Name(), "", old.Options))
	w.WriteHeader(http.StatusOK)
	_, err := w.Write([]byte("x"))
	return err
}

func TestFromGorilla_AStoreBySomebodyElse(t *testing.T) {
	store := &strangeStore{id: "17"}
	adopt := migrate.FromGorilla(store, gorillaName, keepAll)
	a := requireAdopted(t, adopt, &http.Cookie{Name: gorillaName, Value: "x"})
	assert.Equal(t, "17", a.Token)
	assert.Equal(t, "ada", a.User)
	assert.True(t, a.Deadline.IsZero(), "what is not known stays zero")
	require.NoError(t, a.Forget(t.Context()))
	assert.Equal(t, []string{"17"}, store.deleted)

	store.id = ""
	a = requireAdopted(t, adopt, &http.Cookie{Name: gorillaName, Value: "not base64!"})
	assert.NotContains(t, a.Token, "base64")
	assert.Nil(t, a.Forget)
	store.failure = errDown
	_, err := requireFailure(t, adopt, &http.Cookie{Name: gorillaName, Value: "x"})
	require.ErrorIs(t, err, errDown)
}

func TestFromGorilla_IsToldAtTheStart(t *testing.T) {
	store := sessions.NewCookieStore(hashKey)
	for name, build := range map[string]func(){
		"no store":   func() { migrate.FromGorilla(nil, gorillaName, keepAll) },
		"no name":    func() { migrate.FromGorilla(store, "", keepAll) },
		"no convert": func() { migrate.FromGorilla(store, gorillaName, nil) },
	} {
		assert.Panics(t, build, name)
	}
}

func newCookieStore() *sessions.CookieStore { return sessions.NewCookieStore(hashKey) }
