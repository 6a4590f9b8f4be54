package session

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var (
	cookieSecret      = []byte("kZr8Qm2LxV7pT4wNc9YbHs3JdGf6AeUu")
	newerCookieSecret = []byte("Pq5XnW1vRt8KyB3mZd7LcJ0hGs4FaEu6")
	thirdCookieSecret = []byte("u3VbT9xMn6QwLk2ZrYc8PdHf5GjS1eAo")

	// cookieTime is when the tests take place.
	cookieTime = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

	// cookieKinds are the kinds of cookie stores.
	cookieKinds = map[string]func(...[]byte) (*CookieStore, error){"sealed": NewCookieStore, "signed": NewSignedCookieStore}
)

const cookieRealm = "shop"

// at returns a context in which it is that much later than cookieTime.
func at(t testing.TB, later time.Duration) context.Context {
	return WithClock(t.Context(), func() time.Time { return cookieTime.Add(later) })
}

var lastID atomic.Int64

// newID returns an ID that no other session has.
func newID() string {
	sum := sha256.Sum256([]byte(fmt.Sprint("ID ", lastID.Add(1))))
	return base64url.EncodeToString(sum[:idSize])
}

// aSession returns a record for a session of a day that begins now.
func aSession(user string) *Record {
	return &Record{
		ID: newID(), Revision: rand.Text(), Realm: cookieRealm, User: user,
		CreatedAt: cookieTime, IssuedAt: cookieTime, LastUsedAt: cookieTime, Deadline: cookieTime.Add(24 * time.Hour),
	}
}

// changed returns what a commit makes of r.
func changed(r *Record, change func(*Record)) *Record {
	next := *r
	next.Revision = rand.Text()
	change(&next)
	return &next
}

// endOf returns a tombstone for r, as the Manager makes it.
func endOf(ctx context.Context, r *Record, successor string) *Record {
	now := Now(ctx)
	return &Record{
		ID: r.ID, Revision: rand.Text(), Realm: r.Realm, User: r.User, Ended: true, Successor: successor,
		CreatedAt: now, IssuedAt: now, LastUsedAt: now, Deadline: now.Add(tombstoneLife),
	}
}

func mustCookieStore(t testing.TB, secrets ...[]byte) *CookieStore {
	t.Helper()
	store, err := NewCookieStore(secrets...)
	require.NoError(t, err)
	return store
}

func realmToken(id, value string) Token { return NewToken(id, value).WithRealm(cookieRealm) }

// beginSession stores a session, and returns it as the next request loads it, with its token.
func beginSession(t testing.TB, store *CookieStore, r *Record) (*Record, Token) {
	t.Helper()
	token, err := store.Swap(at(t, 0), realmToken("", ""), Swap{nil, r})
	require.NoError(t, err)
	loaded, err := store.Load(at(t, 0), token)
	require.NoError(t, err)
	require.False(t, loaded.Ended)
	return loaded, token
}

// save stores what change makes of old, and returns it as the next request loads it.
func save(t testing.TB, store *CookieStore, token Token, old *Record, change func(*Record)) (*Record, Token) {
	t.Helper()
	token, err := store.Swap(at(t, 0), token, Swap{old, changed(old, change)})
	require.NoError(t, err)
	loaded, err := store.Load(at(t, 0), token)
	require.NoError(t, err)
	return loaded, token
}

// endedList is a Store in a map, which keeps what its records marshal to.
type endedList struct {
	mu      sync.Mutex
	records map[string][]byte
	err     error                                       // what all calls fail with
	gate    func(ctx context.Context, op Op, id string) // called before each call
	loads   int
	swaps   int
	failing int // the n-th call from now is made and its answer is lost
}

func newEndedList() *endedList { return &endedList{records: map[string][]byte{}} }

func (l *endedList) Load(ctx context.Context, token Token) (*Record, error) {
	if l.gate != nil {
		l.gate(ctx, OpLoad, token.ID())
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.loads++
	if err := l.lose(); err != nil {
		return nil, err
	}
	return l.load(token.ID())
}

var errLost = errors.New("the answer was lost")

func (l *endedList) lose() error {
	if l.failing--; l.failing == 0 {
		return errLost
	}
	return nil
}

func (l *endedList) load(id string) (*Record, error) {
	if l.err != nil {
		return nil, l.err
	}
	raw, ok := l.records[id]
	if !ok {
		return nil, ErrNotFound
	}
	r := new(Record)
	return r, json.Unmarshal(raw, r)
}

func (l *endedList) Swap(ctx context.Context, token Token, swaps ...Swap) (Token, error) {
	if l.gate != nil {
		l.gate(ctx, OpSwap, token.ID())
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.swaps++
	for _, s := range swaps {
		current, err := l.load(s.New.ID)
		switch {
		case errors.Is(err, ErrNotFound):
			current = &Record{}
		case err != nil:
			return Token{}, err
		}
		if current.Revision == s.New.Revision {
			continue
		}
		if s.Old == nil && current.Revision != "" || s.Old != nil && s.Old.Revision != current.Revision {
			return Token{}, &ConflictError{ID: s.New.ID}
		}
		if l.records[s.New.ID], err = json.Marshal(s.New); err != nil {
			return Token{}, err
		}
	}
	return token, l.lose()
}

// forgetAt drops what may be forgotten by then.
func (l *endedList) forgetAt(now time.Time) {
	for id := range l.records {
		if r, _ := l.load(id); !now.Before(r.KeepUntil()) {
			delete(l.records, id)
		}
	}
}

func TestCookieStore_KeepsTheWholeRecord(t *testing.T) {
	for kind, construct := range cookieKinds {
		t.Run(kind, func(t *testing.T) {
			store, err := construct(cookieSecret)
			require.NoError(t, err)
			r := aSession("ada")
			r.Note, r.Persistent, r.IdleTimeout, r.AuthenticatedAt = "phone", true, time.Hour, cookieTime
			r.Values = NewValues(map[string]json.RawMessage{"k": json.RawMessage(`"v"`)})
			r.Flashes = []StoredFlash{{"1", "info", "hello"}}
			r.Latest = NewRevisions(PastRevision{r.Revision, cookieTime})
			given := *r
			loaded, token := beginSession(t, store, r)
			require.Equal(t, given, *r, "what was given is not modified")
			require.Equal(t, r.ID, token.ID())
			require.Equal(t, cookieRealm, token.Realm())

			require.Empty(t, loaded.Revision, "a sealed session keeps no revisions")
			require.Zero(t, loaded.Latest.Len())
			require.False(t, loaded.Stale)
			require.Equal(t, r.Deadline.Local(), *loaded.Version.(*time.Time))
			want, err := json.Marshal(changed(r, func(r *Record) { r.Revision, r.Latest = "", Revisions{} }))
			require.NoError(t, err)
			require.NotContains(t, string(want), given.Revision)
			got, err := json.Marshal(changed(loaded, func(r *Record) { r.Revision = "" }))
			require.NoError(t, err)
			require.JSONEq(t, string(want), string(got))
		})
	}
}

func TestCookieStore_Rotation(t *testing.T) {
	for kind, construct := range cookieKinds {
		t.Run(kind, func(t *testing.T) {
			store := func(secrets ...[]byte) *CookieStore {
				s, err := construct(secrets...)
				require.NoError(t, err)
				return s
			}
			_, token := beginSession(t, store(cookieSecret), aSession("ada"))

			both := store(newerCookieSecret, cookieSecret)
			loaded, err := both.Load(at(t, 0), token)
			require.NoError(t, err)
			require.True(t, loaded.Stale, "to be sealed again")
			loaded, token = save(t, both, token, loaded, func(*Record) {})
			require.False(t, loaded.Stale, "once")

			_, err = store(cookieSecret).Load(at(t, 0), token)
			require.ErrorIs(t, err, errBadSeal, "the first secret seals")
			_, err = store(thirdCookieSecret, cookieSecret, newerCookieSecret).Load(at(t, 0), token)
			require.NoError(t, err, "all open")
			_, err = store(cookieSecret, newerCookieSecret).Load(at(t, 0), token)
			require.NoError(t, err)
		})
	}
}

// sealText seals a plaintext that need not be a record.
func sealText(codec cookieCodec, plain string) (string, error) {
	text, err := codec.seal(append(make([]byte, codec.front()), plain...))
	return string(text), err
}

func TestCookieStore_SecretsOfOneIdentifierAreBothTried(t *testing.T) {
	one, err := newSealingCodec([][]byte{cookieSecret}, cookieRealm)
	require.NoError(t, err)
	both, err := newSealingCodec([][]byte{newerCookieSecret, cookieSecret}, cookieRealm)
	require.NoError(t, err)
	newer, older := &both.(sealingCodec)[0], &both.(sealingCodec)[1]
	require.NotEqual(t, newer.header, older.header)
	newer.header = older.header
	value, err := sealText(one, "front body")
	require.NoError(t, err)
	plain, stale, err := both.open(value)
	require.NoError(t, err)
	require.True(t, stale)
	require.Equal(t, "front body", string(plain))
}

func TestCookieStore_SecretsMayBeWipedOnceGiven(t *testing.T) {
	secret := bytes.Clone(cookieSecret)
	store := mustCookieStore(t, secret)
	clear(secret)
	_, token := beginSession(t, store, aSession("ada"))
	_, err := mustCookieStore(t, cookieSecret).Load(at(t, 0), token)
	require.NoError(t, err)
	require.NotContains(t, fmt.Sprintf("%v %+v %#v", store, store, store), string(cookieSecret))
	require.NotContains(t, fmt.Sprintf("%+v", struct{ S *CookieStore }{store}), fmt.Sprint(cookieSecret)[1:40])
}

func TestCookieStore_KindsAndRealmsAreKeptApart(t *testing.T) {
	for from, construct := range cookieKinds {
		for to, other := range cookieKinds {
			for _, realm := range []string{cookieRealm, "admin", ""} {
				issuing, _ := construct(cookieSecret)
				reading, _ := other(cookieSecret)
				_, token := beginSession(t, issuing, aSession("ada"))
				_, err := reading.Load(at(t, 0), token.WithRealm(realm))
				if from == to && realm == cookieRealm {
					require.NoError(t, err)
					continue
				}
				require.ErrorIs(t, err, errBadSeal, "%s to %s, realm %q", from, to, realm)
			}
		}
	}
}

// The keys are not what alone keeps realms and purposes apart.
func TestCookieStore_RealmAndPurposeAreAuthenticated(t *testing.T) {
	made, err := newSealingCodec([][]byte{cookieSecret}, cookieRealm)
	require.NoError(t, err)
	value, err := sealText(made, "x")
	require.NoError(t, err)
	key := &made.(sealingCodec)[0]
	for _, data := range []string{sealPurpose + "\x00" + string(key.header[:]) + "admin", signPurpose + "\x00" + string(key.header[:]) + cookieRealm, ""} {
		key.data = []byte(data)
		_, _, err := made.open(value)
		require.ErrorIs(t, err, errBadSeal)
	}

	// A record of another realm under the keys of this one.
	store := mustCookieStore(t, cookieSecret)
	foreign := aSession("ada")
	sealed, err := store.seal(foreign, foreign.Deadline, maxCookie)
	require.NoError(t, err)
	_, err = store.open(realmToken("", sealed.Value()))
	require.NoError(t, err)
	foreign.Realm = "admin"
	body, err := foreign.MarshalBinary()
	require.NoError(t, err)
	keys, err := store.keys.of(cookieRealm)
	require.NoError(t, err)
	value, err = sealText(keys, "\x00"+string(body))
	require.NoError(t, err)
	_, err = store.open(realmToken("", value))
	require.ErrorIs(t, err, errBadSeal)

	_, err = store.Swap(at(t, 0), realmToken("", ""), Swap{nil, foreign})
	require.ErrorContains(t, err, `the realm "admin" can't be sealed for "shop"`)
}

func TestCookieStore_KeysAreDerivedOnceForEachRealm(t *testing.T) {
	derived := map[string]int{}
	store := &CookieStore{keys: &realmCodecs{secrets: [][]byte{cookieSecret}, newCodec: func(secrets [][]byte, realm string) (cookieCodec, error) {
		derived[realm]++
		return newSealingCodec(secrets, realm)
	}}}
	require.Empty(t, derived)
	for range 3 {
		beginSession(t, store, aSession("ada"))
		beginSession(t, store.WithRevocations(newEndedList()), aSession("ada"))
	}
	require.Equal(t, map[string]int{cookieRealm: 1}, derived)

	keys := map[string]bool{}
	for _, secret := range [][]byte{cookieSecret, newerCookieSecret} {
		for _, purpose := range []string{sealPurpose + " key", sealPurpose + " key identifier", signPurpose + " key"} {
			for _, realm := range []string{"", "a", "b"} {
				key, err := deriveKey(secret, purpose, realm, 32)
				require.NoError(t, err)
				keys[string(key)] = true
			}
		}
	}
	require.Len(t, keys, 18)
}

func TestCookieStore_WhatTheClientCanRead(t *testing.T) {
	const private = "rosebud-rosebud-rosebud"
	readable := map[string]bool{}
	for kind, construct := range cookieKinds {
		store, err := construct(cookieSecret)
		require.NoError(t, err)
		r := aSession("ada")
		r.Note = private
		_, token := beginSession(t, store, r)
		outer, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(token.Value(), "="))
		require.NoError(t, err)
		text := string(outer)
		if parts := strings.SplitN(text, "|", 3); kind == "signed" {
			inner, err := base64.URLEncoding.DecodeString(parts[1])
			require.NoError(t, err)
			text = string(inner)
		}
		readable[kind] = strings.Contains(text, private)
	}
	require.Equal(t, map[string]bool{"sealed": false, "signed": true}, readable)
}

func TestCookieStore_TheFormat(t *testing.T) {
	store := mustCookieStore(t, cookieSecret)
	r := aSession("ada")
	_, token := beginSession(t, store, r)
	raw, err := base64.RawURLEncoding.DecodeString(token.Value())
	require.NoError(t, err)
	bare := changed(r, func(*Record) {})
	bare.Revision = ""
	body, err := bare.MarshalBinary()
	require.NoError(t, err)
	require.Len(t, raw, 1+4+24+1+len(body)+16, "version, key identifier, nonce, deadline, record, tag")
	require.EqualValues(t, 1, raw[0])
	_, again := beginSession(t, store, r)
	require.Equal(t, token.Value()[:6], again.Value()[:6], "the key's identifier")
	require.NotEqual(t, token.Value()[7:39], again.Value()[7:39], "the nonce")
}

func TestCookieStore_WhatWasChangedDoesNotOpen(t *testing.T) {
	for kind, construct := range cookieKinds {
		store, err := construct(cookieSecret, newerCookieSecret)
		require.NoError(t, err)
		_, token := beginSession(t, store, aSession("ada"))
		sealed := token.Value()
		refused := func(what, forged string) {
			_, err := store.Load(at(t, 0), realmToken("", forged))
			require.Error(t, err, "%s: %s", kind, what)
			if forged != "" {
				require.ErrorIs(t, err, errBadSeal, "%s: %s", kind, what)
			}
		}
		for i := range sealed {
			other := byte('A')
			if sealed[i] == 'A' {
				other = 'B'
			}
			refused(fmt.Sprint("changed at ", i), sealed[:i]+string(other)+sealed[i+1:])
			refused(fmt.Sprint("cut at ", i), sealed[:i])
			refused(fmt.Sprint("a newline at ", i), sealed[:i]+"\n"+sealed[i:])
		}
		for what, forged := range map[string]string{
			"longer": sealed + "AAAA", "one more": sealed + "A", "twice": sealed + sealed, "padded": sealed + "=", "more padding": sealed + "==",
			"a newline": sealed + "\n", "line ends": sealed + "\r\n", "four line ends": sealed + "\n\n\n\n",
			"the other alphabet": strings.NewReplacer("-", "+", "_", "/").Replace(sealed), "not sealed": base64.URLEncoding.EncodeToString([]byte("\x01\x00\x01a")),
			"a dot": ".", "a NUL": "\x00", "no padding": strings.TrimRight(sealed, "="), "a newer version": "C" + sealed[1:],
		} {
			if forged != sealed {
				refused(what, forged)
			}
		}
		_, err = store.Load(at(t, 0), token)
		require.NoError(t, err)
	}
}

// The characters that share their used bits with the last one are other spellings of the same cookie; and so are line ends,
// which the decoder passes over.
func TestCookieStore_OneSpelling(t *testing.T) {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	for kind, construct := range cookieKinds {
		store, err := construct(cookieSecret)
		require.NoError(t, err)
		spare := 0
		for n := range 12 { // lengths with all kinds of tails
			r := aSession("ada")
			r.Note = strings.Repeat("x", n)
			_, token := beginSession(t, store, r)
			text := strings.TrimRight(token.Value(), "=")
			padding := token.Value()[len(text):]
			raw, err := base64.RawURLEncoding.DecodeString(text)
			require.NoError(t, err)
			for _, last := range alphabet {
				spelling := text[:len(text)-1] + string(last)
				same, err := base64.RawURLEncoding.DecodeString(spelling)
				require.NoError(t, err)
				if spelling != text && bytes.Equal(raw, same) {
					spare++
				}
				_, err = store.Load(at(t, 0), realmToken("", spelling+padding))
				require.Equal(t, spelling == text, err == nil, "%s: %s, last %c", kind, text, last)
			}
			for _, end := range []string{"\n", "\r", "\r\n", "\n\n\n\n"} {
				_, err = store.Load(at(t, 0), realmToken("", token.Value()+end))
				require.ErrorIs(t, err, errBadSeal)
			}
		}
		require.Positive(t, spare)
	}
}

func FuzzCookieStore_OneSpelling(f *testing.F) {
	store := mustCookieStore(f, cookieSecret)
	_, token := beginSession(f, store, aSession("ada"))
	for _, value := range []string{token.Value(), token.Value() + "\n", token.Value() + "=", "", "AQ"} {
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		if _, err := store.open(realmToken("", value)); err != nil {
			return
		}
		raw, err := base64.RawURLEncoding.DecodeString(value)
		if err != nil || base64.RawURLEncoding.EncodeToString(raw) != value {
			t.Fatalf("%q opens: %v", value, err)
		}
	})
}

func TestCookieStore_WhatIsSealedAndMakesNoSense(t *testing.T) {
	store := mustCookieStore(t, cookieSecret)
	keys, err := store.keys.of(cookieRealm)
	require.NoError(t, err)
	load := func(front, body string) error {
		value, err := sealText(keys, front+body)
		require.NoError(t, err)
		_, err = store.Load(at(t, 0), realmToken("", value))
		return err
	}
	require.ErrorIs(t, load("", ""), errUnreadable)
	require.ErrorIs(t, load("\xff\xff", "\xff"), errUnreadable, "no number in front")
	body := "no record"
	require.Equal(t, new(Record).UnmarshalBinary([]byte(body)), load("\x00", body), "the record's own error is passed on")

	tombstone := endOf(at(t, 0), aSession("ada"), "")
	raw, err := tombstone.MarshalBinary()
	require.NoError(t, err)
	require.ErrorIs(t, load("\x00", string(raw)), errBadSeal, "a tombstone is never sealed")
}

func TestCookieStore_ExactlyTheBytesThatFit(t *testing.T) {
	for kind, construct := range cookieKinds {
		store, err := construct(cookieSecret)
		require.NoError(t, err)
		old, token := beginSession(t, store, aSession("ada"))
		longest := 1499
		for n := 1500; n < 3200; n++ {
			next := changed(old, func(r *Record) { r.Note = strings.Repeat("x", n) })
			saved, err := store.Swap(at(t, 0), token, Swap{old, next})
			if err != nil {
				require.ErrorIs(t, err, ErrCookieTooLarge)
				require.Empty(t, saved.Value())
				continue
			}
			require.Equal(t, n-1, longest, "what is shorter fits")
			longest = n
			require.LessOrEqual(t, len(saved.Value())+len(".1234"), 4096)
		}
		require.Greater(t, longest, 1499, kind)
		require.Less(t, longest, 3199, kind)
	}
}

func TestCookieStore_RoomForValues(t *testing.T) {
	store := mustCookieStore(t, cookieSecret)
	old, token := beginSession(t, store, aSession("ada"))
	bare, err := changed(old, func(*Record) {}).MarshalBinary()
	require.NoError(t, err)
	const name = len("__Host-session")
	room := 0
	for n := range 4096 {
		next := changed(old, func(r *Record) {
			r.Values = NewValues(map[string]json.RawMessage{"k": json.RawMessage(`"` + strings.Repeat("x", n) + `"`)})
		})
		saved, err := store.Swap(at(t, 0), token, Swap{old, next})
		if err != nil || name+len(saved.Value())+checksumSize > maxCookie {
			break
		}
		room = n
	}
	t.Logf("a record without values takes %d bytes, and %d bytes of values fit", len(bare), room)
	require.Greater(t, room, 2500)
}

func TestCookieStore_TooLargeEndsNothing(t *testing.T) {
	list := newEndedList()
	store := mustCookieStore(t, cookieSecret).WithRevocations(list)
	old, token := beginSession(t, store, aSession("ada"))
	next := changed(old, func(r *Record) { r.ID, r.Note = newID(), strings.Repeat("x", 4096) })
	_, err := store.Swap(at(t, 0), token, Swap{old, endOf(at(t, 0), old, next.ID)}, Swap{nil, next})
	require.ErrorIs(t, err, ErrCookieTooLarge)
	require.Empty(t, list.records)
	loaded, err := store.Load(at(t, 0), token)
	require.NoError(t, err)
	require.False(t, loaded.Ended)
}

func TestCookieStore_TheLastLiveRecordGivesTheToken(t *testing.T) {
	store := mustCookieStore(t, cookieSecret)
	old, token := beginSession(t, store, aSession("ada"))
	one, two := aSession("ada"), aSession("ada")
	next, err := store.Swap(at(t, 0), token, Swap{old, endOf(at(t, 0), old, "")}, Swap{nil, one}, Swap{nil, two})
	require.NoError(t, err)
	require.Equal(t, two.ID, next.ID())
	same, err := store.Swap(at(t, 0), token, Swap{old, endOf(at(t, 0), old, "")})
	require.NoError(t, err)
	require.Equal(t, token.Value(), same.Value(), "there is none")
	same, err = store.WithRevocations(newEndedList()).Swap(at(t, 0), token)
	require.NoError(t, err)
	require.Equal(t, token.Value(), same.Value(), "nor anything else")
}

func TestCookieStore_WithoutRevocations(t *testing.T) {
	for kind, construct := range cookieKinds {
		store, err := construct(cookieSecret)
		require.NoError(t, err)
		require.NoError(t, store.Check())
		old, token := beginSession(t, store, aSession("ada"))
		_, err = store.Swap(at(t, 0), token, Swap{old, endOf(at(t, 0), old, "")})
		require.NoError(t, err, "a tombstone is accepted")
		loaded, err := store.Load(at(t, 0), token)
		require.NoError(t, err)
		require.False(t, loaded.Ended, "%s: and does nothing", kind)
		_, err = store.Load(at(t, 0), realmToken(old.ID, ""))
		require.ErrorIs(t, err, errors.ErrUnsupported)
		require.NotErrorIs(t, err, ErrNotFound)
		require.ErrorIs(t, store.EndUser(at(t, 0), cookieRealm, "ada", nil), errors.ErrUnsupported)
		err = store.EndUserSession(at(t, 0), cookieRealm, "ada", old.ID)
		require.ErrorIs(t, err, errors.ErrUnsupported)
		require.ErrorContains(t, err, "a CookieStore without WithRevocations can't tell what has ended")
	}
}

func TestCookieStore_RevocationsNeedAServerStore(t *testing.T) {
	store := mustCookieStore(t, cookieSecret)
	_, token := beginSession(t, store, aSession("ada"))
	var noList *endedList
	for _, list := range []Store{nil, noList, store, store.WithRevocations(newEndedList())} {
		refused := store.WithRevocations(list)
		require.ErrorContains(t, refused.Check(), "WithRevocations needs a server store")
		_, err := refused.Load(at(t, 0), token)
		require.Error(t, err, "it is no store without revocations")
		require.NotErrorIs(t, err, ErrNotFound)
		_, err = refused.Swap(at(t, 0), token, Swap{nil, aSession("ada")})
		require.Error(t, err)
		require.Error(t, refused.EndUser(at(t, 0), cookieRealm, "ada", nil))
		require.Error(t, refused.EndUserSession(at(t, 0), cookieRealm, "ada", newID()))
	}
	require.NoError(t, store.WithRevocations(newEndedList()).Check())
	require.NoError(t, store.Check(), "it returned copies")
}

func TestCookieStore_EndedContexts(t *testing.T) {
	store := mustCookieStore(t, cookieSecret)
	_, token := beginSession(t, store, aSession("ada"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := store.Load(ctx, token)
	require.ErrorIs(t, err, context.Canceled)
	_, err = store.Swap(ctx, token, Swap{nil, aSession("ada")})
	require.ErrorIs(t, err, context.Canceled)
}

func TestCookieStore_GorillasKeyPairsAreRefused(t *testing.T) {
	random := func(n int) []byte { b := make([]byte, n); _, _ = rand.Read(b); return b }
	hexadecimal := []byte(fmt.Sprintf("%x", random(32)))
	for name, c := range map[string]struct {
		secrets [][]byte
		refused bool
	}{
		"hash and block":       {[][]byte{random(64), random(32)}, true},
		"two pairs":            {[][]byte{random(64), random(32), random(64), random(32)}, true},
		"one of 64":            {[][]byte{random(64)}, false},
		"one of 32":            {[][]byte{random(32)}, false},
		"block and hash":       {[][]byte{random(32), random(64)}, false},
		"hexadecimal in front": {[][]byte{hexadecimal, random(32)}, false},
		"equally long":         {[][]byte{random(32), random(32)}, false},
	} {
		for kind, construct := range cookieKinds {
			_, err := construct(c.secrets...)
			if !c.refused {
				require.NoError(t, err, "%s: %s", kind, name)
				continue
			}
			require.ErrorIs(t, err, ErrWeakSecret, "%s: %s", kind, name)
			require.ErrorContains(t, err, "gorilla's NewCookieStore")
		}
	}
	for _, construct := range cookieKinds {
		_, err := construct()
		require.ErrorIs(t, err, ErrWeakSecret)
		_, err = construct(cookieSecret, []byte("short"))
		require.ErrorIs(t, err, ErrWeakSecret)
	}
}

// A copy of an earlier cookie is accepted, which no list helps: the documentation says so.
func TestCookieStore_AnOlderCopyOfALiveSessionIsAccepted(t *testing.T) {
	store := mustCookieStore(t, cookieSecret).WithRevocations(newEndedList())
	first, older := beginSession(t, store, aSession("ada"))
	save(t, store, older, first, func(r *Record) { r.Note = "counted" })
	again, err := store.Load(at(t, 0), older)
	require.NoError(t, err)
	require.Empty(t, again.Note)
}

func BenchmarkCookieStore(b *testing.B) {
	body := bytes.Repeat([]byte("x"), 1200)
	for kind, newCodec := range map[string]newCodecFunc{"sealed": newSealingCodec, "signed": newSigningCodec} {
		keys, err := newCodec([][]byte{cookieSecret}, cookieRealm)
		require.NoError(b, err)
		value, err := sealText(keys, "\x00"+string(body))
		require.NoError(b, err)
		b.Run(kind+"/open", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _, _ = keys.open(value)
			}
		})
		b.Run(kind+"/seal", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = sealText(keys, "\x00"+string(body))
			}
		})
	}
}
