package sessiontest_test

import (
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/sessiontest"
)

// judged is a testing.TB that keeps what a failed assertion says.
type judged struct {
	testing.TB
	said []string
}

func (j *judged) Helper() {}
func (j *judged) Errorf(format string, args ...any) {
	j.said = append(j.said, fmt.Sprintf(format, args...))
}
func (j *judged) Fatalf(format string, args ...any) {
	j.Errorf(format, args...)
	runtime.Goexit()
}

// judge returns what f's assertions say.
func judge(t *testing.T, f func(testing.TB)) []string {
	j, done := &judged{TB: t}, make(chan struct{})
	go func() {
		defer close(done)
		f(j)
	}()
	<-done
	return j.said
}

func TestAssertions_SayWhatIsWrong(t *testing.T) {
	_, ada := sessiontest.NewRequest("GET", "/", nil, sessiontest.Seed{User: "ada", Values: sessiontest.Values{"n": 1, "text": "x"}})
	_, nobody := sessiontest.NewRequest("GET", "/", nil, sessiontest.Seed{})
	good := http.Cookie{Name: "__Host-session", Value: "v", Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode}
	lasting, gone, bare := good, good, http.Cookie{Name: good.Name, Value: "v"}
	lasting.MaxAge, gone.MaxAge = 60, -1
	headers := func(cookies ...http.Cookie) http.Header {
		h := http.Header{}
		for _, c := range cookies {
			h.Add("Set-Cookie", c.String())
		}
		return h
	}
	for name, test := range map[string]struct {
		assert func(testing.TB)
		says   []string // parts of the message; none for a pass
	}{
		"logged in":            {func(tb testing.TB) { sessiontest.LoggedInAs(tb, ada, "ada") }, nil},
		"logged in, raw":       {func(tb testing.TB) { sessiontest.LoggedInAs(tb, ada.Session, "ada") }, nil},
		"not logged in":        {func(tb testing.TB) { sessiontest.LoggedInAs(tb, nobody, "ada") }, []string{`logged in as "ada"`, "is anonymous"}},
		"another":              {func(tb testing.TB) { sessiontest.LoggedInAs(tb, ada, "grace") }, []string{`as "grace", and is logged in as "ada"`}},
		"anonymous":            {func(tb testing.TB) { sessiontest.Anonymous(tb, nobody) }, nil},
		"not anonymous":        {func(tb testing.TB) { sessiontest.Anonymous(tb, ada) }, []string{`is logged in as "ada"`}},
		"value":                {func(tb testing.TB) { sessiontest.Value(tb, ada, "n", 1) }, nil},
		"value, other":         {func(tb testing.TB) { sessiontest.Value(tb, ada, "n", 2) }, []string{`"n" should be`, "2", "and is", "1"}},
		"value, missing":       {func(tb testing.TB) { sessiontest.Value(tb, ada, "m", 1) }, []string{`under "m"`, "has nothing there", `["n" "text"]`}},
		"value, other type":    {func(tb testing.TB) { sessiontest.Value(tb, ada, session.Key[int]("text"), 1) }, []string{"of another type", "does not fit"}},
		"no value":             {func(tb testing.TB) { sessiontest.NoValue(tb, ada, "m") }, nil},
		"no value, there":      {func(tb testing.TB) { sessiontest.NoValue(tb, ada, "n") }, []string{`nothing under "n", and has "1"`}},
		"no cookie":            {func(tb testing.TB) { sessiontest.NoSetCookie(tb, http.Header{}) }, nil},
		"a cookie":             {func(tb testing.TB) { sessiontest.NoSetCookie(tb, headers(good)) }, []string{"sets __Host-session"}},
		"attributes":           {func(tb testing.TB) { sessiontest.CookieAttributes(tb, headers(good), good) }, nil},
		"attributes, missing":  {func(tb testing.TB) { sessiontest.CookieAttributes(tb, http.Header{}, good) }, []string{"sets it 0 times", "none"}},
		"attributes, twice":    {func(tb testing.TB) { sessiontest.CookieAttributes(tb, headers(good, good), good) }, []string{"sets it 2 times"}},
		"attributes, none":     {func(tb testing.TB) { sessiontest.CookieAttributes(tb, headers(bare), good) }, []string{"Path", "Secure is false", "HttpOnly is false", "SameSite is not there, and should be Lax"}},
		"attributes, life":     {func(tb testing.TB) { sessiontest.CookieAttributes(tb, headers(lasting), good) }, []string{"Max-Age", "the browser's"}},
		"attributes, deletion": {func(tb testing.TB) { sessiontest.CookieAttributes(tb, headers(gone), good) }, []string{"deleted"}},
	} {
		t.Run(name, func(t *testing.T) {
			said := strings.Join(judge(t, test.assert), "\n")
			if (said == "") != (test.says == nil) {
				t.Fatalf("it said %q", said)
			}
			for _, part := range test.says {
				if !strings.Contains(said, part) {
					t.Errorf("it said\n%s\nwithout %s", said, part)
				}
			}
			if strings.Contains(said, "=v") {
				t.Errorf("it tells the cookie's value: %s", said)
			}
		})
	}
}
