package sqlstore_test

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/sqlstore"
	"github.com/doorman-go/session/storetest"
	"github.com/doorman-go/session/tests/kit"
)

func TestStore_KeepsTheContract(t *testing.T) {
	each(t, databases, func(t *testing.T, d database) {
		dsn, table := d.dsn(t), newTable()
		storetest.Run(t, func(t *testing.T) session.Store { return d.storeIn(t, d.open(t, dsn), table) })
	})
}

// oddUsers are names that databases take for one, cut, or can't keep.
func oddUsers() []string {
	return []string{
		"ada", "Ada", "ADA", "ada ", " ada", "áda", "ada\x00", "a\x00da", "'ada", `ada\`, "%", "🍵", "ß", "ss", strings.Repeat("u", 1024),
		strings.Repeat("u", 1023) + "v",
	}
}

func TestUsers_AreComparedByteByByte(t *testing.T) {
	each(t, databases, func(t *testing.T, d database) {
		s, _ := d.store(t)
		for i, user := range oddUsers() {
			r := newRecord(fmt.Sprint("id", i), user)
			r.Realm = strings.Repeat("r", 300)
			swap(t, s, session.Swap{New: r})
		}
		for i, user := range oddUsers() {
			listed, err := s.UserSessions(t.Context(), strings.Repeat("r", 300), user)
			require.NoError(t, err)
			require.Len(t, listed, 1, "%q", user)
			require.Equal(t, fmt.Sprint("id", i), listed[0].ID)
		}
	})
}

func TestLogin_KeepsEveryUserThatItAccepts(t *testing.T) {
	each(t, databases, func(t *testing.T, d database) {
		s, _ := d.store(t)
		app := kit.New(t, session.Config{}, s)
		for _, user := range oddUsers() {
			require.Equal(t, user, app.User(app.Login(user)))
			require.Len(t, app.Listed(user), 1, "%q", user)
		}
	})
}

// laxDSNs have the modes in which MySQL cuts and converts and says nothing.
func laxDSNs(dsn string) []string {
	var all []string
	for _, mode := range []string{"''", "'ANSI'", "'ANSI_QUOTES,NO_BACKSLASH_ESCAPES,PIPES_AS_CONCAT'", "'TRADITIONAL'", "'PAD_CHAR_TO_FULL_LENGTH'"} {
		for _, more := range []string{"", "&clientFoundRows=true&parseTime=true", "&collation=latin1_swedish_ci"} {
			all = append(all, dsn+"&sql_mode="+url.QueryEscape(mode)+more)
		}
	}
	return append(all, strings.Replace(dsn, "interpolateParams=true", "interpolateParams=false", 1))
}

func TestMySQL_AnyMode(t *testing.T) {
	for _, dsn := range laxDSNs(mySQL.dsn(t)) {
		s := mySQL.storeIn(t, mySQL.open(t, dsn), newTable())
		exercise(t, s)
		odd := newRecord(`id'\"`+"\x00é", "ada")
		odd.Note = `it's \ "here"`
		swap(t, s, session.Swap{New: odd})
		got, err := s.Load(t.Context(), token(odd))
		require.NoError(t, err)
		require.Equal(t, odd.Note, got.Note)
		_, err = s.Swap(t.Context(), token(odd), session.Swap{New: odd})
		require.NoError(t, err, "made before")
		_, err = s.Swap(t.Context(), token(odd), session.Swap{Old: newRecord("id", ""), New: next(odd, "another")})
		requireConflict(t, err, odd.ID, odd.Revision)
	}
}

func TestRecord_LargestComesBack(t *testing.T) {
	each(t, databases, func(t *testing.T, d database) {
		dsn := d.dsn(t)
		if d.dialect == sqlstore.MySQL {
			dsn += "&sql_mode=" + url.QueryEscape("''")
		}
		s := d.storeIn(t, d.open(t, dsn), newTable())
		r := newRecord("id", "ada")
		raw := make([]byte, 3<<20) // what can't be packed
		_, _ = rand.Read(raw)
		r.Values = session.NewValues(map[string]json.RawMessage{"large": json.RawMessage(`"` + base64.StdEncoding.EncodeToString(raw) + `"`)})
		swap(t, s, session.Swap{New: r})
		got, err := s.Load(t.Context(), token(r))
		require.NoError(t, err)
		require.Equal(t, string(r.Values.Get("large")), string(got.Values.Get("large")))
	})
}

func TestSwap_RefusesWhatAColumnWouldCut(t *testing.T) {
	each(t, databases, func(t *testing.T, d database) {
		s, _ := d.store(t)
		long := newRecord(strings.Repeat("i", 256), "ada")
		_, err := s.Swap(t.Context(), token(long), session.Swap{New: long})
		require.ErrorContains(t, err, "255 bytes")
		_, err = s.Load(t.Context(), token(long))
		require.ErrorIs(t, err, session.ErrNotFound)
		_, err = s.End(t.Context(), tombstoneOf(long, "2"))
		require.ErrorContains(t, err, "255 bytes")
		largest := newRecord(strings.Repeat("i", 255), "ada")
		largest.Revision = strings.Repeat("r", 255)
		swap(t, s, session.Swap{New: largest})
		require.Equal(t, largest.Revision, stored(t, s, largest.ID))
	})
}

// A login that meets somebody on either of its two IDs, or was made before, in whole or by half.
func TestSwap_OfTwoIsMadeWholeOrNotAtAll(t *testing.T) {
	each(t, databases, func(t *testing.T, d database) {
		s, db := d.store(t)
		login := func(old, fresh *session.Record) error {
			_, err := s.Swap(t.Context(), token(fresh), session.Swap{Old: old, New: tombstoneOf(old, "ended")}, session.Swap{New: fresh})
			return err
		}
		old, fresh, taken := newRecord("old", ""), newRecord("fresh", "ada"), newRecord("taken", "grace")
		swap(t, s, session.Swap{New: old})
		swap(t, s, session.Swap{New: taken})

		stale := next(old, "stale")
		requireConflict(t, login(stale, fresh), "old", "old-1")
		require.Equal(t, "", stored(t, s, "fresh"))
		requireConflict(t, login(old, next(taken, "another")), "taken", "taken-1")
		require.Equal(t, "old-1", stored(t, s, "old"), "and the first is not made")

		require.NoError(t, login(old, fresh))
		require.NoError(t, login(old, fresh), "made before")
		require.Equal(t, "ended", stored(t, s, "old"))
		_, err := db.Exec("DELETE FROM " + tableOf(s) + " WHERE user_hash IS NOT NULL AND NOT ended")
		require.NoError(t, err)
		require.NoError(t, login(old, fresh), "made before, and its second half is gone")
		require.Equal(t, "fresh-1", stored(t, s, "fresh"))
		swap(t, s, session.Swap{Old: fresh, New: next(fresh, "fresh-2")})
		requireConflict(t, login(old, fresh), "fresh", "fresh-2")
	})
}

func TestLoad_OfARowThatIsAnothers(t *testing.T) {
	each(t, databases, func(t *testing.T, d database) {
		s, db := d.store(t)
		swap(t, s, session.Swap{New: newRecord("a", "ada")})
		swap(t, s, session.Swap{New: newRecord("b", "ada")})
		_, err := db.Exec("UPDATE " + tableOf(s) + " SET record = (SELECT r FROM (SELECT record AS r FROM " + tableOf(s) +
			" WHERE revision = " + literal(d, "a-1") + ") AS x) WHERE revision = " + literal(d, "b-1"))
		require.NoError(t, err)
		_, err = s.Load(t.Context(), session.NewToken("b", ""))
		require.ErrorContains(t, err, "another session's")
		require.ErrorIs(t, err, session.ErrNotFound)
		listed, err := s.UserSessions(t.Context(), "shop", "ada")
		require.NoError(t, err)
		require.Len(t, listed, 1)
	})
}

// Two users may have one hash: those of the other one are not listed.
func TestUsers_OfOneHashAreKeptApart(t *testing.T) {
	each(t, databases, func(t *testing.T, d database) {
		s, db := d.store(t)
		swap(t, s, session.Swap{New: newRecord("a", "ada")})
		swap(t, s, session.Swap{New: newRecord("g", "grace")})
		table := tableOf(s)
		_, err := db.Exec("UPDATE " + table + " SET user_hash = (SELECT h FROM (SELECT user_hash AS h FROM " + table + " WHERE id = " +
			literal(d, "a") + ") AS x) WHERE id = " + literal(d, "g"))
		require.NoError(t, err)
		listed, err := s.UserSessions(t.Context(), "shop", "ada")
		require.NoError(t, err)
		require.Len(t, listed, 1)
		require.Equal(t, "a", listed[0].ID)
	})
}

// literal writes bytes as the database has them.
func literal(d database, text string) string {
	if d.dialect == sqlstore.Postgres {
		return fmt.Sprintf(`'\x%x'`, text)
	}
	return fmt.Sprintf("X'%x'", text)
}
