package adopt_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/tests/kit"
)

func TestAdopt_TheAnswerOfTheStoreIsLost(t *testing.T) {
	each(t, session.Config{}, func(t *testing.T, w *world) {
		w.loseClaim()
		b := w.browser("t1")
		require.Equal(t, http.StatusServiceUnavailable, b.do(kit.CountUp).StatusCode)
		require.Equal(t, "t1", b.cookie(oldCookie))
		w.Store().Mend()

		b.must(kit.CountUp)
		b.must(func(s *session.Session) {
			n, _ := kit.Counter.Get(s)
			require.Equal(t, "ada", s.User())
			require.Positive(t, n)
		})
		if !w.sealed() {
			require.Len(t, w.live("ada"), 1)
		}
	})
}

func TestAdopt_TheAnswerIsLostAndTheRequestTriesAgain(t *testing.T) {
	each(t, session.Config{}, func(t *testing.T, w *world) {
		w.loseClaim()
		b := w.browser("t1")
		var lost error
		b.must(func(s *session.Session) {
			kit.CountUp(s)
			lost = s.Save(w.Context())
			require.Equal(t, "ada", w.browser("t1").user(), "another request meanwhile")
		})
		require.Error(t, lost)
		b.must(func(s *session.Session) {
			n, _ := kit.Counter.Get(s)
			require.Equal(t, 1, n, "it is made once")
		})
		require.Equal(t, 1, w.Count(session.EventAdopted))
		require.Equal(t, []string{"t1"}, w.old.done(), "it is the one that adopted")
	})
}

// Others may have had the session's cookie from the claim, and have closed that, before the one that adopted knows that it
// did.
func TestAdopt_TheAnswerIsLostAndOthersGoOn(t *testing.T) {
	each(t, session.Config{}, func(t *testing.T, w *world) {
		w.loseClaim()
		b := w.browser("t1")
		other := b.copy()
		resp := b.do(func(s *session.Session) {
			kit.CountUp(s)
			require.Error(t, s.Save(w.Context()))
			require.Equal(t, "ada", other.look().User)
			other.must(kit.CountUp)
			require.Empty(t, other.cookie(oldCookie))
		})
		require.Equal(t, http.StatusOK, resp.StatusCode, "its change was made")
		if !w.sealed() { // where the last answer wins
			b.must(func(s *session.Session) {
				n, _ := kit.Counter.Get(s)
				require.Equal(t, 2, n)
			})
		}
		require.Equal(t, "ada", b.user())
		require.Equal(t, 1, w.Count(session.EventAdopted))
	})
}

// Where so many changes came after it that nobody knows whether it was made, it fails rather than be made twice.
func TestAdopt_TheAnswerIsLostAndItsRevisionIsPushedOut(t *testing.T) {
	w := onMemory(t, session.Config{})
	w.loseClaim()
	b := w.browser("t1")
	resp := b.lost(func(s *session.Session) {
		kit.CountUp(s)
		require.Error(t, s.Save(w.Context()))
		for range 40 {
			require.Equal(t, http.StatusOK, b.lost(kit.CountUp).StatusCode)
		}
	})
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
	b.must(func(s *session.Session) {
		n, _ := kit.Counter.Get(s)
		require.Equal(t, 41, n)
	})
}

// Where swaps are made one by one, a claim may stand there without its session.
func TestAdopt_ItStopsBetweenTheClaimAndTheSession(t *testing.T) {
	w := &world{old: &library{}}
	memory := kit.OneByOne(session.NewMemoryStore())
	w.App = kit.New(t, session.Config{Adopt: w.old.adopt}, memory, memory)
	w.old.put(ada("t1"))
	b := w.browser("t1")
	f := b.launch("between", kit.CountUp)

	other := b.copy().at(1)
	l := other.peek()
	require.Equal(t, "ada", l.User, "another request puts the session there")
	other.must(kit.CountUp)

	require.Equal(t, http.StatusOK, f.land().StatusCode, w.Log())
	b.receive(f.resp)
	b.must(func(s *session.Session) {
		n, _ := kit.Counter.Get(s)
		require.Equal(t, 2, n)
		require.Equal(t, l.ID, s.ID())
	})
	require.Equal(t, 1, w.Count(session.EventAdopted))
	require.Len(t, w.live("ada"), 1)
}

// An answer of Adopt that can't be a session puts nothing there, and that is told.
func TestAdopt_ItStopsInBetweenAndTheNextAnswerCannotBeAdopted(t *testing.T) {
	w := &world{old: &library{}}
	memory, unreadable := kit.OneByOne(session.NewMemoryStore()), false
	w.App = kit.New(t, session.Config{Adopt: func(r *http.Request) (*session.Adopted, error) {
		adopted, err := w.old.adopt(r)
		if adopted != nil && unreadable {
			adopted.Values = map[string]any{"a": make(chan int)}
		}
		return adopted, err
	}}, memory, memory)
	w.old.put(ada("t1"))
	b := w.browser("t1")
	f := b.launch("between", reads)
	unreadable = true
	require.Empty(t, b.copy().at(1).peek().User)
	require.Contains(t, w.Happened(), "rejected: unreadable")
	require.Equal(t, http.StatusOK, f.land().StatusCode, w.Log())
	require.Len(t, w.live("ada"), 1, "the other request's answer could be adopted")
}

// Of several that put it there, one does.
func TestAdopt_ItStopsInBetweenAndTwoGoOn(t *testing.T) {
	w := &world{old: &library{}}
	memory := kit.OneByOne(session.NewMemoryStore())
	w.App = kit.New(t, session.Config{Adopt: w.old.adopt}, memory, memory)
	w.old.put(ada("t1"))
	b := w.browser("t1")
	first := b.launch("between", reads)
	var user string
	second := b.copy().at(1).launch("swap", func(s *session.Session) { user = s.User() })
	id := b.copy().peek().ID
	require.Equal(t, http.StatusOK, second.land().StatusCode, w.Log())
	require.Equal(t, "ada", user)
	require.Equal(t, http.StatusOK, first.land().StatusCode)
	require.Equal(t, id, b.look().ID)
	require.Len(t, w.live("ada"), 1)
}

// Without the old store nobody can put the session there, and nobody is signed out for that.
func TestAdopt_ItStopsInBetweenAndTheOldStoreIsDown(t *testing.T) {
	w := &world{old: &library{}}
	memory := kit.OneByOne(session.NewMemoryStore())
	w.App = kit.New(t, session.Config{Adopt: w.old.adopt}, memory, memory)
	w.old.put(ada("t1"))
	b := w.browser("t1")
	f := b.launch("between", reads)
	w.old.fail(errOldDown)
	other := b.copy().at(1)
	require.Equal(t, http.StatusServiceUnavailable, other.do(reads).StatusCode)
	require.Equal(t, "t1", other.cookie(oldCookie))
	require.Equal(t, http.StatusOK, f.land().StatusCode)
	require.Equal(t, "ada", other.user())
}

// After half a minute it is not known whether the session was there and has ended.
func TestAdopt_ItStopsInBetweenForGood(t *testing.T) {
	w := &world{old: &library{}}
	memory := kit.OneByOne(session.NewMemoryStore())
	w.App = kit.New(t, session.Config{Adopt: w.old.adopt}, memory, memory)
	w.old.put(ada("t1"))
	b := w.browser("t1")
	f := b.launch("between", reads)
	w.Clock.Advance(30 * time.Second)
	require.True(t, b.copy().at(1).peek().Visitor)
	require.Zero(t, len(w.live("ada")))
	f.land()
}
