package adopt_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/tests/kit"
)

// answering is an application whose Adopt answers so, whoever asks.
func answering(t *testing.T, cfg session.Config, adopt func(*http.Request) (*session.Adopted, error), stores ...session.Store) *world {
	t.Helper()
	if stores == nil {
		stores = []session.Store{session.NewMemoryStore()}
	}
	w := &world{old: &library{}}
	cfg.Adopt = adopt
	w.App = kit.New(t, cfg, stores...)
	return w
}

func TestErrors_NothingToTakeOverIsToldAndAVisitorsPage(t *testing.T) {
	long := strings.Repeat("x", 2<<10)
	answers := map[string]func() (*session.Adopted, error){
		"not found":                 func() (*session.Adopted, error) { return nil, fmt.Errorf("legacy: %w", session.ErrNotFound) },
		"not found, with the token": func() (*session.Adopted, error) { return &session.Adopted{Token: "t"}, session.ErrNotFound },
		"a value that can't be encoded": func() (*session.Adopted, error) {
			return &session.Adopted{Token: "t", Values: map[string]any{"f": func() {}}}, nil
		},
		"a key that can't": func() (*session.Adopted, error) {
			return &session.Adopted{Token: "t", Values: map[string]any{"\xff": 1}}, nil
		},
		"a user that can't": func() (*session.Adopted, error) { return &session.Adopted{Token: "t", User: "\xff"}, nil },
		"a long user":       func() (*session.Adopted, error) { return &session.Adopted{Token: "t", User: long}, nil },
		"too large": func() (*session.Adopted, error) {
			return &session.Adopted{Token: "t", Values: map[string]any{"a": make([]byte, 100<<10)}}, nil
		},
		"a time that can't be stored": func() (*session.Adopted, error) {
			return &session.Adopted{Token: "t", User: "ada", AuthenticatedAt: time.Date(-5, 1, 1, 0, 0, 0, 0, time.UTC)}, nil
		},
	}
	for name, answer := range answers {
		t.Run(name, func(t *testing.T) {
			w := answering(t, session.Config{}, func(*http.Request) (*session.Adopted, error) { return answer() })
			b := w.browser("")
			require.True(t, b.look().Visitor)
			told := w.Events()
			require.Len(t, told, 1)
			require.Equal(t, session.EventRejected, told[0].Kind)
			require.Error(t, told[0].Err)
			require.Contains(t, w.Log(), "is not adopted")
			b.must(kit.LoginAda)
			require.Equal(t, "ada", b.look().User)
		})
	}
}

// A session that has no room in a cookie would be an error on each page.
func TestErrors_TooLargeForACookie(t *testing.T) {
	w := answering(t, session.Config{}, func(*http.Request) (*session.Adopted, error) {
		return &session.Adopted{Token: "t", Values: map[string]any{"a": strings.Repeat("x", 5000)}}, nil
	}, kit.SealedWithList(t))
	require.True(t, w.browser("").look().Visitor)
	require.Contains(t, w.Log(), "4096 bytes")
}

func TestErrors_AnyOtherIsAStoreError(t *testing.T) {
	var failed error
	cfg := session.Config{ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
		failed = err
		w.WriteHeader(http.StatusServiceUnavailable)
	}}
	for name, token := range map[string]string{"no token": "", "with the token": "t"} {
		t.Run(name, func(t *testing.T) {
			w := answering(t, cfg, func(*http.Request) (*session.Adopted, error) { return &session.Adopted{Token: token}, errOldDown })
			b := w.browser("")
			resp := b.do(func(s *session.Session) {
				require.Empty(t, s.User())
				require.ErrorIs(t, s.Err(), errOldDown)
				require.ErrorIs(t, s.Save(w.Context()), errOldDown)
				require.ErrorIs(t, s.Destroy(), errOldDown)
				require.ErrorIs(t, s.Regenerate(), errOldDown)
				require.ErrorIs(t, s.Reauthenticate(), errOldDown)
				require.ErrorIs(t, s.RenameUser("countess"), errOldDown)
			})
			require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
			var store *session.StoreError
			require.ErrorAs(t, failed, &store)
			require.Equal(t, session.OpAdopt, store.Op)
			require.Equal(t, 1, w.Count(session.EventStoreError))
			require.Equal(t, http.StatusServiceUnavailable, b.do(func(s *session.Session) { s.Set("a", 1) }).StatusCode)
			require.Equal(t, http.StatusServiceUnavailable, b.do(kit.Logout).StatusCode)

			b.must(func(s *session.Session) {
				s.Set("a", 1)
				require.NoError(t, s.Login("ada"))
				s.Set("b", 1)
			})
			require.Equal(t, "ada", b.look().User, "a Login goes through, and the old library is asked no more")
			b.must(func(s *session.Session) { require.Equal(t, []string{"b"}, s.Keys()) })
		})
	}
}

// After the response has started, nothing but an event tells what is lost.
func TestErrors_AfterTheStart(t *testing.T) {
	w := answering(t, session.Config{}, func(*http.Request) (*session.Adopted, error) { return nil, errOldDown })
	for _, change := range []bool{false, true} {
		w.Request(0, "", kit.Begun(func(s *session.Session) {
			if s.User(); change {
				s.Set("late", 1)
			}
		}))
		require.Equal(t, change, w.Count(session.EventLateWrite) == 1)
	}
}

func TestErrors_AnEmptyTokenIsOne(t *testing.T) {
	w := answering(t, session.Config{}, func(*http.Request) (*session.Adopted, error) { return &session.Adopted{User: "ada"}, nil })
	require.Equal(t, http.StatusServiceUnavailable, w.browser("").do(reads).StatusCode)
	require.Contains(t, w.Log(), "without a Token")
}

// The claim is looked up before anything else of the answer counts: the old store may be down, or know nothing any more.
func TestErrors_TheClaimComesFirst(t *testing.T) {
	each(t, session.Config{}, func(t *testing.T, w *world) {
		b := w.browser("t1")
		id := b.peek().ID
		w.old.fail(errOldDown)
		require.Equal(t, id, b.peek().ID)
		w.old.fail(nil)
		past := ada("t1")
		past.Deadline = w.Clock.Now().Add(-time.Hour)
		past.Values = map[string]any{"f": func() {}}
		w.old.put(past)
		require.Equal(t, id, b.peek().ID)
		require.NoError(t, w.old.forget("t1"))
		require.Equal(t, id, b.look().ID)
		require.Zero(t, w.Count(session.EventStoreError)+w.Count(session.EventRejected))
	})
}

// Some stores ignore contexts.
func TestErrors_OneThatHangsIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hangs := make(chan struct{})
		w := answering(t, session.Config{StoreTimeout: time.Second}, func(r *http.Request) (*session.Adopted, error) {
			at, ok := r.Context().Deadline()
			require.True(t, ok)
			require.Equal(t, time.Second, time.Until(at))
			<-hangs
			return nil, nil
		})
		start := time.Now()
		require.Equal(t, http.StatusServiceUnavailable, w.browser("").do(reads).StatusCode)
		require.Equal(t, time.Second, time.Since(start))
		close(hangs)
		synctest.Wait()
	})
}

func TestErrors_APanicIsTheRequests(t *testing.T) {
	w := answering(t, session.Config{}, func(*http.Request) (*session.Adopted, error) { panic("the old library's") })
	require.PanicsWithValue(t, "the old library's", func() { w.browser("").do(reads) })
}

func TestErrors_TheSessionCantBeUsedInAdopt(t *testing.T) {
	w := answering(t, session.Config{}, func(r *http.Request) (*session.Adopted, error) {
		if _, ok := session.Lookup(r.Context()); ok {
			return nil, errors.New("it has a session, which waits for this")
		}
		return nil, nil
	})
	require.True(t, w.browser("").look().Visitor)
}

func TestErrors_NewRefusesACookieStoreWithoutAList(t *testing.T) {
	adopt := func(*http.Request) (*session.Adopted, error) { return nil, nil }
	_, err := session.New(kit.Sealed(t, kit.SecretOne), session.Config{Adopt: adopt})
	require.ErrorContains(t, err, "WithRevocations")
	_, err = session.New(kit.SealedWithList(t), session.Config{Adopt: adopt})
	require.NoError(t, err)
	w := answering(t, session.Config{}, func(*http.Request) (*session.Adopted, error) { return &session.Adopted{Token: "t"}, nil },
		kit.Sealed(t, kit.SecretOne)) // behind a store of the application's New can't see it
	require.Equal(t, http.StatusServiceUnavailable, w.browser("").do(reads).StatusCode)
	require.Contains(t, w.Log(), "WithRevocations")
}

func TestErrors_Preload(t *testing.T) {
	w := answering(t, session.Config{}, func(*http.Request) (*session.Adopted, error) { return nil, errOldDown })
	reached := false
	rec := w.browser("").handle(func(rw http.ResponseWriter, r *http.Request) {
		w.Manager().Preload(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true })).ServeHTTP(rw, r)
	})
	require.False(t, reached)
	require.Equal(t, http.StatusServiceUnavailable, rec.Code)
}

func TestErrors_TheBodyIsTheHandlers(t *testing.T) {
	w := answering(t, session.Config{}, func(r *http.Request) (*session.Adopted, error) {
		_, err := io.ReadAll(r.Body)
		return nil, err
	})
	r := httptest.NewRequest("POST", "https://example.com/", strings.NewReader("the form"))
	rec := httptest.NewRecorder()
	w.Nodes[0].HandlerOf(func(_ http.ResponseWriter, r *http.Request, s *session.Session) {
		s.User()
		body, err := io.ReadAll(r.Body)
		require.NoError(t, err)
		require.Equal(t, "the form", string(body))
	}).ServeHTTP(rec, r)
}
