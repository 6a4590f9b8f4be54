package main

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session"
)

func TestBrowserSignsInAndOut(t *testing.T) {
	inBrowser(t, everyStore, func(t *testing.T, s *plainSite) {
		b := s.browser(t)
		assert.Equal(t, http.StatusOK, b.open("/"))
		assert.Nil(t, b.sessionCookie())
		b.click(".hero .button")
		require.Equal(t, "/login", b.path())

		b.fill("#username", "ada")
		b.fill("#password", "difference-engine")
		assert.Equal(t, http.StatusUnauthorized, b.click("#sign-in"))
		assert.Contains(t, b.text(), "That username and password do not match.")
		assert.Nil(t, b.sessionCookie())

		b.fill("#password", "analytical-engine")
		assert.Equal(t, http.StatusOK, b.click("#sign-in"))
		assert.Equal(t, "/account", b.path())
		assert.Contains(t, b.text(), "Welcome, Ada Lovelace.")
		b.navigate(chromedp.Reload())
		assert.Equal(t, "/account", b.path())
		assert.Contains(t, b.text(), "Member since")
		assert.NotContains(t, b.text(), "Welcome, Ada Lovelace.")
		b.click(`a[href="/account/sessions"]`)

		b.click("#sign-out")
		assert.Contains(t, b.text(), "You are signed out.")
		assert.Nil(t, b.sessionCookie())
		for range 2 {
			b.back()
			b.atSignIn("after going back")
		}
	})
}

// Going back before the server can be asked shows nothing either: the pages are not kept.
func TestBrowserBackButtonWithoutServer(t *testing.T) {
	s := newSite(t, "cookie")
	plain := &plainSite{site: s}
	gone := make(chan struct{})
	plain.base = serveOnLocalhost(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-gone:
			http.Error(w, "away", http.StatusBadGateway)
		default:
			s.handler.ServeHTTP(w, r)
		}
	}))
	b := plain.browser(t).signIn("ada", "analytical-engine")
	b.navigate(chromedp.Reload()) // a page that came without a cookie, so that only the application keeps it from caches
	b.click("#sign-out")
	close(gone)
	b.back()
	assert.NotContains(t, b.text(), "Lovelace")
	assert.Contains(t, b.text(), "away")
}

func TestBrowserEndsAnother(t *testing.T) {
	inBrowser(t, []string{"memory", "redis", "sql"}, func(t *testing.T, s *plainSite) {
		mine, other := s.browser(t).signIn("ada", "analytical-engine"), s.browser(t).signIn("ada", "analytical-engine")
		stranger := s.browser(t).signIn("grace", "nanoseconds")
		s.browser(t).signIn("grace", "nanoseconds") // so that she has a form to tamper with

		mine.open("/account/sessions")
		id := mine.valueOf(`input[name="id"]`)
		stranger.open("/account/sessions")
		stranger.do(chromedp.SetValue(chromedp.CSS(`input[name="id"]`), id))
		assert.Equal(t, http.StatusNotFound, stranger.click(`form[action$="/revoke"] button`))
		assert.Contains(t, stranger.text(), "There is no such session.")
		other.click(`nav a[href="/account/sessions"]`)
		assert.Equal(t, "/account/sessions", other.path(), "a stranger can't end it")

		assert.Equal(t, http.StatusOK, mine.click(`form[action$="/revoke"] button`))
		assert.Contains(t, mine.text(), "That session has been ended.")
		assert.Contains(t, mine.text(), "You are not signed in anywhere else.")
		other.click(`nav a[href="/account"]`)
		other.atSignIn("its session was ended by another browser")
		mine.open("/account")
		assert.Equal(t, "/account", mine.path())
	})
}

func (b *tab) valueOf(selector string) string {
	b.t.Helper()
	return ask(b, chromedp.Value(chromedp.CSS(selector)))
}

func TestBrowserEndsAllOthers(t *testing.T) {
	inBrowser(t, everyStore, func(t *testing.T, s *plainSite) {
		mine, other := s.browser(t).signIn("ada", "analytical-engine"), s.browser(t).signIn("ada", "analytical-engine")
		mine.open("/account/sessions")
		mine.click("#revoke-others")
		assert.Contains(t, mine.text(), "You are signed out everywhere else.")
		other.click(`nav a[href="/account/sessions"]`)
		other.atSignIn("its session was ended by another browser")
		other.fill("#username", "ada")
		other.fill("#password", "analytical-engine")
		other.click("#sign-in")
		assert.Equal(t, "/account/sessions", other.path(), "and on to the page that was asked for")
	})
}

func TestBrowserChangesThePassword(t *testing.T) {
	inBrowser(t, everyStore, func(t *testing.T, s *plainSite) {
		mine, other := s.browser(t).signIn("ada", "analytical-engine"), s.browser(t).signIn("ada", "analytical-engine")
		before := mine.sessionCookie().Value
		mine.fill("#current", "difference-engine")
		mine.fill("#new", "punched-cards")
		assert.Equal(t, http.StatusUnauthorized, mine.click("#change-password"))
		assert.Contains(t, mine.text(), "That is not your current password.")
		mine.fill("#current", "analytical-engine")
		mine.fill("#new", "punched-cards")
		assert.Equal(t, http.StatusOK, mine.click("#change-password"))
		assert.Contains(t, mine.text(), "Your password is changed, and you are signed out everywhere else.")
		assert.NotEqual(t, before, mine.sessionCookie().Value)

		other.click(`nav a[href="/account"]`)
		other.atSignIn("the password was changed")
		other.signIn("ada", "punched-cards")
		mine.navigate(chromedp.Reload())
		assert.Equal(t, "/account", mine.path())
	})
}

// One tab signs out while a request of another is under way: the answer that comes late does not bring the session
// back, and what it set is not kept in silence.
func TestBrowserSignsOutDuringASlowRequest(t *testing.T) {
	inBrowser(t, everyStore, func(t *testing.T, s *plainSite) {
		for name, slow := range map[string]struct {
			work   func(*session.Session)
			status int
		}{
			"reads":  {func(*session.Session) {}, http.StatusOK},
			"writes": {func(s *session.Session) { s.Set("draft", "text") }, http.StatusConflict},
		} {
			t.Run(name, func(t *testing.T) {
				entered, release := make(chan struct{}), make(chan struct{})
				letGo := sync.OnceFunc(func() { close(release) })
				here := *s
				here.base = serveOnLocalhost(t, s.with("GET /slow", func(w http.ResponseWriter, r *http.Request) {
					current := session.FromContext(r.Context())
					assert.Equal(t, "ada", current.User())
					close(entered)
					<-release
					slow.work(current)
					w.Header().Set("Content-Type", "text/html")
					_, _ = w.Write([]byte("<p>the slow page</p>"))
				}))
				t.Cleanup(letGo) // before the server is closed, whatever happens

				first := here.browser(t).signIn("ada", "analytical-engine")
				second := first.another()
				second.open("/account")
				result := first.begin("/slow")
				select {
				case <-entered:
				case early := <-result:
					t.Fatal(early)
				}
				second.click("#sign-out")
				require.Nil(t, second.sessionCookie())
				letGo()
				late := <-result
				require.NoError(t, late.err)
				assert.Equal(t, slow.status, late.status)
				assert.Nil(t, first.sessionCookie())
				for _, each := range []*tab{first, second} {
					each.open("/account")
					each.atSignIn("signed out in the other tab")
				}
			})
		}
	})
}

func TestBrowserWithTheKeyboardAlone(t *testing.T) {
	inBrowser(t, []string{"cookie"}, func(t *testing.T, s *plainSite) {
		b := s.browser(t)
		b.open("/login")
		require.Eventually(t, func() bool { // the browser sets the cursor when it first draws the page, and that is after it has loaded
			return evaluate[string](b, "document.activeElement.id") == "username"
		}, 10*time.Second, 10*time.Millisecond, "the cursor is where one types")
		b.do(chromedp.KeyEvent("ada"), chromedp.KeyEvent(kb.Tab), chromedp.KeyEvent("analytical-engine"))
		assert.Equal(t, http.StatusOK, b.navigate(chromedp.KeyEvent(kb.Enter)))
		require.Equal(t, "/account", b.path())

		b.do(chromedp.KeyEvent(kb.Tab))
		assert.Equal(t, "skip", evaluate[string](b, "document.activeElement.className"), "the first stop skips the navigation")
		var stops []string
		for range 11 { // as far as the button that changes the language
			outline := evaluate[string](b, "getComputedStyle(document.activeElement).outlineStyle + ' ' + getComputedStyle(document.activeElement).outlineWidth")
			assert.Equal(t, "solid 3px", outline)
			stops = append(stops, evaluate[string](b, "document.activeElement.textContent || document.activeElement.id"))
			b.do(chromedp.KeyEvent(kb.Tab))
		}
		assert.Equal(t, "Skip to the content; Common Room; Account; Sessions; Sign out; Look at your sessions; current; new; Change password", join(stops[:9]))
	})
}
