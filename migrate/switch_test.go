package migrate_test

import (
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/sessiontest"
)

func TestSwitch_StaysSignedIn(t *testing.T) {
	eachSite(t, func(t *testing.T, s *site) {
		jar := s.signIn()
		before := cookieIn(jar, s.cookie)
		require.NotNil(t, before)
		s.switched.Store(true)

		assert.Equal(t, adasPage, s.get(jar, "/"), "the values, and when she signed in")
		assert.Equal(t, 1, s.count(session.EventAdopted))
		end, err := time.Parse(time.RFC3339, s.get(jar, "/end"))
		require.NoError(t, err)
		assert.False(t, end.After(time.Now().Add(s.end)), "%v is later than the old end", end)

		assert.Equal(t, adasPage, s.get(jar, "/"))
		assert.NotNil(t, cookieIn(jar, newName))
		assert.Nil(t, cookieIn(jar, s.cookie), "the old cookie is removed")
		assert.Equal(t, 1, s.count(session.EventAdopted))
		if s.stored {
			assert.Equal(t, visitorsPage, s.oldPage(before), "the old session has ended")
		}
	})
}

// The old deadline holds: it is neither lost nor begun anew.
func TestSwitch_KeepsTheDeadline(t *testing.T) {
	eachSite(t, func(t *testing.T, s *site) {
		jar := s.signIn()
		s.switched.Store(true)
		require.Equal(t, adasPage, s.get(jar, "/"))
		for range 10 { // so that it is not idle
			s.clock.Advance((s.end - time.Minute) / 10)
			require.Equal(t, adasPage, s.get(jar, "/"))
		}
		s.clock.Advance(2 * time.Minute)
		assert.Equal(t, visitorsPage, s.get(jar, "/"))
	})
}

func TestSwitch_AfterALogoutNeitherCookieOpensAnything(t *testing.T) {
	for name, uses := range map[string]int{"at once": 0, "after one page": 1, "after two pages": 2} {
		t.Run(name, func(t *testing.T) {
			eachSite(t, func(t *testing.T, s *site) {
				jar := s.signIn()
				cookies := []*http.Cookie{cookieIn(jar, s.cookie)}
				s.switched.Store(true)
				for range uses {
					require.Equal(t, adasPage, s.get(jar, "/"))
					if c := cookieIn(jar, newName); c != nil {
						cookies = append(cookies, c)
					}
				}
				s.get(jar, "/sign-out")
				assert.Equal(t, visitorsPage, s.get(jar, "/"))
				s.requireClosed(cookies)
				s.clock.Advance(time.Hour) // when all that is kept for a minute or two is gone
				s.requireClosed(cookies)
			})
		})
	}
}

// requireClosed asserts that cookies open nothing, each alone and all together.
func (s *site) requireClosed(cookies []*http.Cookie) {
	s.t.Helper()
	for _, c := range cookies {
		assert.Equal(s.t, visitorsPage, s.newPage(c), "the cookie %s", c.Name)
	}
	assert.Equal(s.t, visitorsPage, s.newPage(cookies...), "all cookies")
	if s.stored {
		assert.Equal(s.t, visitorsPage, s.oldPage(cookies[0]), "the old library")
	}
}

func TestSwitch_EightAtOnceAdoptOnce(t *testing.T) {
	eachSite(t, func(t *testing.T, s *site) {
		jar := s.signIn()
		before := cookieIn(jar, s.cookie)
		s.switched.Store(true)
		answers := make([]*httptest.ResponseRecorder, 8)
		var wg sync.WaitGroup
		start := make(chan struct{})
		for i := range answers {
			wg.Go(func() {
				answers[i] = httptest.NewRecorder()
				r := httptest.NewRequest(http.MethodGet, "/add", nil)
				r.AddCookie(before)
				<-start
				s.ServeHTTP(answers[i], r)
			})
		}
		close(start)
		wg.Wait()
		assert.Equal(t, 1, s.count(session.EventAdopted))
		ids := map[string]bool{}
		for _, w := range answers {
			require.Equal(t, http.StatusOK, w.Code, w.Body)
			ids[cookieNamed(t, w, newName).Value] = true
		}
		assert.Len(t, ids, 1, "all answers carry the cookie of one session")
		assert.Equal(t, "ada has [tea milk milk milk milk milk milk milk milk], since "+signedInAt.Format(time.RFC3339),
			s.newPage(cookieNamed(t, answers[0], newName)), "and what each of them did is there")
	})
}

// Nobody adopts a cookie of a CookieStore again by writing it differently.
func TestSwitch_TheCookieWrittenDifferently(t *testing.T) {
	store := newCookieStore()
	s := newSite(t, gorillaSite(store))
	cookie, others := respelled(t, store)
	s.switched.Store(true)
	w := httptest.NewRecorder()
	s.ServeHTTP(w, requestWith(cookie))
	jar := sessiontest.NewJar()
	jar.SetCookies(requestWith().URL, []*http.Cookie{cookieNamed(t, w, newName)})
	s.get(jar, "/sign-out")
	require.NotEmpty(t, others)
	s.requireClosed(others)
}

func TestSwitch_AnOldSessionThatCannotBeRead(t *testing.T) {
	s := newSite(t, gorillaSite(newCookieStore()))
	s.switched.Store(true)
	assert.Equal(t, visitorsPage, s.newPage(&http.Cookie{Name: gorillaName, Value: "x"}))
	assert.Zero(t, s.count(session.EventAdopted))
	assert.Equal(t, 1, s.count(session.EventRejected)+s.count(session.EventStoreError), "and it is told")
}
