package kit

import (
	"encoding/base64"
	"hash/adler32"
	"io"
	"log"
	"log/slog"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/doorman-go/session"
)

// Three secrets as openssl rand would make them.
var (
	SecretOne   = []byte("5f1c0e9b7a2d48c6931be07fd452a86c0f7d3b91e62a4c58")
	SecretTwo   = []byte("b83e6f20d91a47c5a0f2c7e4196d3b5872c0a9ef14d68b35")
	SecretThree = []byte("e07a4c9d1f5b28630c8ed7b2f4a6915d3b72c0e84f9a1d66")
)

// CookieStores are the constructors of the two kinds of cookie stores.
var CookieStores = map[string]func(...[]byte) (*session.CookieStore, error){
	"sealed": session.NewCookieStore, "signed": session.NewSignedCookieStore,
}

// Must returns v, which has to be there.
func Must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// Sealed returns a store that keeps the session in the cookie, without a revocation list.
func Sealed(tb testing.TB, secrets ...[]byte) *session.CookieStore {
	tb.Helper()
	store, err := session.NewCookieStore(secrets...)
	if err != nil {
		tb.Fatal(err)
	}
	return store
}

// SealedWithList is Sealed with a revocation list in memory.
func SealedWithList(tb testing.TB) *session.CookieStore {
	tb.Helper()
	return Sealed(tb, SecretOne).WithRevocations(session.NewMemoryStore())
}

// A Backing makes the stores of one application: as many as there are processes.
type Backing struct {
	Name   string
	Sealed bool // in the cookie, with a revocation list
	Stores func() []session.Store
	Flush  func(*App)    // has the stores forget everything
	Shared bool          // several applications' stores keep what they have in one place
	Client *redis.Client // for a look at what is stored, where that is Redis
}

// New makes an application whose stores hold nothing yet.
func (b Backing) New(tb testing.TB, cfg session.Config) *App {
	tb.Helper()
	app := New(tb, cfg, b.Stores()...)
	if b.Shared {
		b.Flush(app)
	}
	return app
}

// MemoryBackings are a MemoryStore under one Manager and under two, one whose swaps go one by one, and sealed cookies.
func MemoryBackings(tb testing.TB) []Backing {
	flush := func(wrap func(session.Store) session.Store) func(*App) {
		return func(app *App) {
			empty := wrap(session.NewMemoryStore())
			for _, n := range app.Nodes {
				n.Store.Replace(empty)
			}
		}
	}
	asItIs := func(store session.Store) session.Store { return store }
	one := func() []session.Store { return []session.Store{session.NewMemoryStore()} }
	two := func() []session.Store { m := session.NewMemoryStore(); return []session.Store{m, m} }
	oneByOne := func() []session.Store { m := OneByOne(session.NewMemoryStore()); return []session.Store{m, m} }
	sealed := func() []session.Store { c := SealedWithList(tb); return []session.Store{c, c} }
	return []Backing{
		{Name: "memory", Stores: one, Flush: flush(asItIs)},
		{Name: "memory, two managers", Stores: two, Flush: flush(asItIs)},
		{Name: "swaps one by one", Stores: oneByOne, Flush: flush(OneByOne)},
		{Name: "sealed with a list", Sealed: true, Stores: sealed},
	}
}

// Backings are MemoryBackings and RedisBackings, or what is to be tested in their place (RemoteStores). Without servers
// (the build tag noservers) they are MemoryBackings.
func Backings(tb testing.TB) []Backing {
	if remote := remoteBackings(tb); remote != nil {
		return remote
	}
	return append(MemoryBackings(tb), redisBackings(tb)...)
}

// EachStore runs a test on every kind of store that keeps guarantees 1, 2 and 4.
func EachStore(t *testing.T, cfg session.Config, test func(*App)) {
	for _, b := range Backings(t) {
		t.Run(b.Name, func(t *testing.T) { test(b.New(t, cfg)) })
	}
}

// EachUserStore runs a test on every kind of store that lists.
func EachUserStore(t *testing.T, cfg session.Config, test func(*App)) {
	for _, b := range Backings(t) {
		if !b.Sealed {
			t.Run(b.Name, func(t *testing.T) { test(b.New(t, cfg)) })
		}
	}
}

// ValueStores are where values are kept: as they are, in the cookie, in Redis.
func ValueStores(tb testing.TB) map[string]session.Store {
	stores := map[string]session.Store{"memory": session.NewMemoryStore(), "sealed": Sealed(tb, SecretOne)}
	addRedis(tb, stores)
	return stores
}

// ForeignCookies are values that this server did not issue: of good shape, of bad, or empty.
func ForeignCookies(a *App) []string {
	elsewhere := New(a.T, session.Config{}, session.NewMemoryStore())
	sealed := New(a.T, session.Config{}, Sealed(a.T, SecretThree))
	return []string{
		elsewhere.Login("ada"), sealed.Login("ada"),
		strings.Repeat("A", 48), strings.Repeat("A", 64) + ".AAAA", "x", `""`,
	}
}

// ForeignWellFormed are four cookies that could be this server's.
func ForeignWellFormed(a *App) []string {
	elsewhere := New(a.T, session.Config{}, session.NewMemoryStore())
	return []string{elsewhere.Start(), elsewhere.Start(), elsewhere.Start(), elsewhere.Start()}
}

// Checked appends the checksum that lets a forged value come as far as the seal.
func Checked(realm, sealed string) string {
	sum := adler32.Checksum([]byte(realm)) ^ adler32.Checksum([]byte(sealed))
	return sealed + "." + base64.RawURLEncoding.EncodeToString([]byte{byte(sum >> 24), byte(sum >> 16), byte(sum)})
}

// Unchecked takes it away.
func Unchecked(tb testing.TB, realm, value string) string {
	tb.Helper()
	sealed := value[:len(value)-len(".1234")]
	if Checked(realm, sealed) != value {
		tb.Fatalf("%q has another checksum", value)
	}
	return sealed
}

// Quiet is the logger of a server whose complaints are part of the test.
func Quiet() *log.Logger { return log.New(io.Discard, "", 0) }

// QuietSlog is Quiet for slog.
func QuietSlog() *slog.Logger { return slog.New(slog.DiscardHandler) }
