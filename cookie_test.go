package session

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// found returns how the tokens found in these Cookie header lines are called, and the counts.
func found(names map[string]string, lines ...string) string {
	tokens, present, malformed := cookieTokens(make([]Token, 0, maxCandidates), http.Header{"Cookie": lines}, "__Host-x", "shop")
	var called []string
	for _, token := range tokens {
		called = append(called, names[token.Value()])
	}
	return fmt.Sprintf("%s, %d present, %d malformed", strings.Join(called, " "), present, malformed)
}

func TestAdvisory_NameDecoding_AndDuplicates(t *testing.T) {
	value := func() string { return newToken("shop").Value() }
	a, b, c, d, e := value(), value(), value(), value(), value()
	other := newToken("admin").Value()
	names := map[string]string{a: "a", b: "b", c: "c", d: "d", e: "e"}
	is := func(value string) string { return "__Host-x=" + value }
	none := ", 0 present, 0 malformed"
	for _, c := range []struct {
		what  string
		want  string
		lines []string
	}{
		{"no header", none, nil},
		{"empty header", none, []string{""}},
		{"separators", none, []string{"; ;;=; = ;"}},
		{"one", "a, 1 present, 0 malformed", []string{is(a)}},
		{"among others", "a, 1 present, 0 malformed", []string{"p=q; " + is(a) + "; r=s"}},
		{"no space", "a, 1 present, 0 malformed", []string{"p=q;" + is(a) + ";r=s"}},
		{"tabs and spaces around the pair", "a, 1 present, 0 malformed", []string{"p=q; \t" + is(a) + " \t; r"}},
		{"%5F_Host-", none, []string{"%5F_Host-x=" + a}},
		{"all of it encoded", none, []string{"%5F%5FHost%2Dx=" + a}},
		{"=__Host-x", none, []string{"=__Host-x=" + a}},
		{"==__Host-x", none, []string{"==__Host-x=" + a}},
		{"NBSP before", none, []string{"\u00a0__Host-x=" + a}},
		{"NBSP after", none, []string{"__Host-x\u00a0=" + a}},
		{"a lone 0xa0", none, []string{"\xa0__Host-x=" + a}},
		{"other blanks", none, []string{"\v__Host-x=" + a + ";\f__Host-x=" + a + ";\u2003__Host-x=" + a + ";\u0085__Host-x=" + a}},
		{"lower case", none, []string{"__host-x=" + a}},
		{"upper case", none, []string{"__HOST-X=" + a}},
		{"blank before the sign", none, []string{"__Host-x =" + a}},
		{"quoted name", none, []string{`"__Host-x"=` + a}},
		{"longer name", none, []string{"__Host-xy=" + a + "; y__Host-x=" + a}},
		{"name without prefix", none, []string{"x=" + a + "; Host-x=" + a}},
		{"no sign", none, []string{"__Host-x; __Host-x" + a}},
		{"comma is no separator", none, []string{"p=q, " + is(a)}},
		{"no value", ", 1 present, 1 malformed", []string{is("")}},
		{"blank after the sign", ", 1 present, 1 malformed", []string{is(" " + a)}},
		{"NBSP in the value", ", 1 present, 1 malformed", []string{is("\u00a0" + a)}},
		{"quoted value", ", 1 present, 1 malformed", []string{is(`"` + a + `"`)}},
		{"percent encoding", ", 1 present, 1 malformed", []string{is("%" + fmt.Sprintf("%X", a[0]) + a[1:])}},
		{"padding", ", 1 present, 1 malformed", []string{is(a + "=")}},
		{"two signs", ", 1 present, 1 malformed", []string{is("=" + a)}},
		{"another realm's token", ", 1 present, 1 malformed", []string{is(other)}},
		{"the good one last", "a, 3 present, 2 malformed", []string{is("x") + "; " + is("") + "; " + is(a)}},
		{"the good one first", "a, 3 present, 2 malformed", []string{is(a) + "; " + is("x") + "; " + is("")}},
		{"garbage does not use up the four", "a, 101 present, 100 malformed", []string{strings.Repeat(is("garbage")+"; ", 100) + is(a)}},
		{"two good ones", "a b, 2 present, 0 malformed", []string{is(a) + "; " + is(b)}},
		{"the same twice", "a a, 2 present, 0 malformed", []string{is(a) + "; " + is(a)}},
		{"several lines", "a b c, 4 present, 1 malformed", []string{is(a), "p=q; " + is("x"), is(b) + "; " + is(c)}},
		{"a good one in a later line", "a, 2 present, 1 malformed", []string{is("x"), is(a)}},
		{"four", "a b c d, 4 present, 0 malformed", []string{is(a) + "; " + is(b), is(c) + "; " + is(d)}},
		{"no more than four", "a b c d, 4 present, 0 malformed", []string{is(a) + "; " + is(b) + "; " + is(c) + "; " + is(d) + "; " + is(e)}},
	} {
		require.Equal(t, c.want, found(names, c.lines...), c.what)
	}
}

func TestCookie_MaxAge(t *testing.T) {
	now := time.Unix(1e9, 0)
	config := Config{Name: "n", Path: "/"}
	for _, c := range []struct {
		left time.Duration
		want int
	}{
		{time.Hour, 3600},
		{90*time.Minute + 999*time.Millisecond, 5400},
		{time.Second, 1},
		{time.Nanosecond, 1},
		{0, 1}, // what has just expired: never zero, which would be no Max-Age at all, nor less
		{-time.Hour, 1},
		{maxLifetime, 34_560_000},
		{2 * maxLifetime, 34_560_000},
	} {
		require.Equal(t, c.want, config.cookie("v", now, now.Add(c.left)).MaxAge, "%v", c.left)
	}
	require.Zero(t, config.cookie("v", now, time.Time{}).MaxAge)
	require.Equal(t, -1, config.cookie("", now, time.Time{}).MaxAge)
}

func TestGuarantee10_OneSetCookieAName(t *testing.T) {
	mine := &http.Cookie{Name: "n", Value: "new"}
	for _, c := range []struct {
		what         string
		before, want []string
	}{
		{"none before", nil, []string{"n=new"}},
		{"others stay, in order", []string{"a=1", "b=2; Path=/"}, []string{"a=1", "b=2; Path=/", "n=new"}},
		{"one's own goes", []string{"n=old; Path=/", "a=1"}, []string{"a=1", "n=new"}},
		{"all of them go", []string{"n=old", "a=1", "n=older"}, []string{"a=1", "n=new"}},
		{"also an empty one", []string{"n="}, []string{"n=new"}},
		{"also one that browsers trim", []string{"n =1", "\tn=1"}, []string{"n=new"}},
		{"not one without a name", []string{"n", "=n=1", ""}, []string{"n", "=n=1", "", "n=new"}},
		{"longer names stay", []string{"nn=1", "n-n=1", "N=1"}, []string{"nn=1", "n-n=1", "N=1", "n=new"}},
	} {
		h := http.Header{}
		if c.before != nil {
			h["Set-Cookie"] = c.before
		}
		setCookie(h, mine.Name, mine.String())
		require.Equal(t, c.want, h["Set-Cookie"], c.what)
	}
	lines := []string{"n=1", "a=1"}
	h := http.Header{"Set-Cookie": lines}
	setCookie(h, "n", "n=2")
	require.Equal(t, []string{"n=1", "a=1"}, lines, "whoever else holds the lines keeps them")
	h = http.Header{"Set-Cookie": {"n=1"}}
	require.True(t, dropCookie(h, "n"))
	require.NotContains(t, h, "Set-Cookie")
	require.False(t, dropCookie(h, "n"))
}

func TestGuarantee10_CacheHeaders(t *testing.T) {
	for _, c := range []struct{ before, want []string }{
		{nil, []string{"no-store"}},
		{[]string{"max-age=60"}, []string{"no-store"}},
		{[]string{"public"}, []string{"no-store"}},
		{[]string{"x-no-store"}, []string{"no-store"}},
		{[]string{"private, No-Store"}, []string{"private, No-Store"}},
		{[]string{"private", "no-store, max-age=0"}, []string{"private", "no-store, max-age=0"}},
	} {
		h := http.Header{}
		if c.before != nil {
			h["Cache-Control"] = c.before
		}
		setCookie(h, "n", "n=v")
		require.Equal(t, c.want, h["Cache-Control"], "%q", c.before)
	}
	for _, c := range []struct{ before, want []string }{
		{nil, []string{"Cookie"}},
		{[]string{"Accept"}, []string{"Accept", "Cookie"}},
		{[]string{"X-Cookie, Cookies"}, []string{"X-Cookie, Cookies", "Cookie"}},
		{[]string{"Accept, cookie"}, []string{"Accept, cookie"}},
		{[]string{"*"}, []string{"*"}},
	} {
		h := http.Header{}
		if c.before != nil {
			h["Vary"] = c.before
		}
		varyByCookie(h, new([1]string))
		require.Equal(t, c.want, h["Vary"], "%q", c.before)
	}
}

func TestHasToken(t *testing.T) {
	for _, c := range []struct {
		want  bool
		lines []string
	}{
		{false, nil},
		{false, []string{"", ","}},
		{true, []string{"no-store"}},
		{true, []string{"private,\tNO-store , max-age=0"}},
		{true, []string{"private", "no-store"}},
		{false, []string{"no-store=1", "no", "store", "no-storey", "no store"}},
	} {
		require.Equal(t, c.want, hasToken(c.lines, "no-store"), "%q", c.lines)
	}
}

func TestVaryByCookie_TakesNoMemoryWhereThereIsNoLine(t *testing.T) {
	h, room := http.Header{"Vary": nil}, new([1]string)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		h["Vary"] = nil
		varyByCookie(h, room)
	}))
	require.Equal(t, []string{"Cookie"}, h["Vary"])
}

func TestCookieTokens_TakeWhatTheRealmAndTheirValuesTell(t *testing.T) {
	token := newToken("shop")
	header := http.Header{"Cookie": {"n=" + token.cookieValue()}}
	tokens, _, _ := cookieTokens(make([]Token, 0, maxCandidates), header, "n", "shop")
	require.Equal(t, []Token{token}, tokens)
	require.Equal(t, "shop", tokens[0].Realm())
	tokens, present, malformed := cookieTokens(make([]Token, 0, maxCandidates), header, "n", "n")
	require.Empty(t, tokens)
	require.Equal(t, []int{1, 1}, []int{present, malformed})
}

func TestCookieValueFault(t *testing.T) {
	config := Config{Name: "name"}
	longest := strings.Repeat("v", maxCookie-len("name"))
	require.NoError(t, config.cookieValueFault("value"))
	require.NoError(t, config.cookieValueFault(longest))
	require.ErrorIs(t, config.cookieValueFault(longest+"v"), ErrCookieTooLarge)
	for _, value := range []string{"a;b", "a\nb", "a,b", "a\"b", "a b", "é", "\x00"} {
		err := config.cookieValueFault(value)
		require.ErrorContains(t, err, "can't stand in a cookie", "%q", value)
		require.NotContains(t, err.Error(), value, "it may be a secret")
	}
}
