package field_test

import (
	"bytes"
	"context"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/internal/redistest"
	"github.com/doorman-go/session/sessiontest"
	"github.com/doorman-go/session/tests/kit"
	"github.com/stretchr/testify/require"
)

// G. Requests and their neighbours.

// upload returns a form with a file of so many bytes.
func upload(t *testing.T, size int) (body *bytes.Buffer, contentType string) {
	body = new(bytes.Buffer)
	form := multipart.NewWriter(body)
	require.NoError(t, form.WriteField("name", "ada"))
	file, err := form.CreateFormFile("file", "large.bin")
	require.NoError(t, err)
	_, err = file.Write(bytes.Repeat([]byte("x"), size))
	require.NoError(t, err)
	require.NoError(t, form.Close())
	return body, form.FormDataContentType()
}

// What the server and those outside look for in a request when it is over, is there: its temporary files, and its route.
func TestField25_WhatIsLeftInTheRequestReachesThoseOutside(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	app := kit.New(t, session.Config{}, session.NewMemoryStore())
	seen := make(chan *http.Request, 1)
	for name, after := range map[string]func(){"return": func() {}, "panic": func() { panic(http.ErrAbortHandler) }} {
		mux := http.NewServeMux()
		mux.HandleFunc("POST /upload/{kind}", func(w http.ResponseWriter, r *http.Request) {
			require.NoError(t, r.ParseMultipartForm(1<<10))
			files, err := os.ReadDir(dir)
			require.NoError(t, err)
			require.NotEmpty(t, files, "the upload is in a file")
			session.FromContext(r.Context()).Set("uploaded", r.PostForm.Get("name"))
			after()
		})
		logger := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer func() { seen <- r }()
			app.Manager().Middleware(mux).ServeHTTP(w, r)
		})
		server := httptest.NewUnstartedServer(logger)
		server.Config.ErrorLog = kit.Quiet()
		server.Start()
		body, contentType := upload(t, 1<<20)
		resp, err := http.Post(server.URL+"/upload/photo", contentType, body)
		if err == nil {
			require.NoError(t, resp.Body.Close())
		}
		server.Close() // which waits for the request's end
		r := <-seen
		require.Equal(t, "POST /upload/{kind}", r.Pattern, name)
		require.NotNil(t, r.MultipartForm, name)
		require.Equal(t, "ada", r.Form.Get("name"), name)
		require.Equal(t, "ada", r.PostForm.Get("name"), name)
		if name == "return" { // net/http removes no files after a panic, with or without a session
			files, err := os.ReadDir(dir)
			require.NoError(t, err)
			require.Empty(t, files)
		}
		require.NoError(t, r.MultipartForm.RemoveAll())
	}
}

// A browser whose session was revoked is a visitor's at once: it can be sent to the sign-in page with a message.
func TestField26_ARevokedBrowserIsAVisitors(t *testing.T) {
	ends := map[string]func(app *kit.App, cookie string){
		"RevokeUser": func(app *kit.App, _ string) { app.RevokeUser("ada") },
		"Revoke": func(app *kit.App, cookie string) {
			require.NoError(app.T, app.Manager().Revoke(context.Background(), "ada", app.Look(cookie).ID))
		},
	}
	for name, end := range ends {
		eachStore(t, session.Config{}, func(t *testing.T, app *kit.App) {
			b := app.BrowserWith(app.Login("ada"))
			old := b.Cookie
			end(app, b.Cookie)
			resp := b.Do(func(s *session.Session) {
				require.Empty(t, s.User())
				s.Set("return to", "/account")
				s.Flash("info", "please sign in")
			})
			requireStatus(t, http.StatusOK, resp, app)
			require.NotEqual(t, old, b.Cookie, name)
			b.Must(func(s *session.Session) {
				require.Len(t, s.Flashes(), 1)
				require.NoError(t, s.Login("ada", "return to"))
			})
			require.Equal(t, "/account", kit.Read[string](b, "return to"))
			require.True(t, app.Dead(old))
		})
	}
	t.Run("MaxPerUser", func(t *testing.T) {
		app := kit.New(t, session.Config{MaxPerUser: 1}, session.NewMemoryStore())
		b := app.BrowserWith(app.Login("ada"))
		app.Clock.Advance(time.Second)
		app.Login("ada")
		requireStatus(t, http.StatusOK, b.Do(func(s *session.Session) { s.Flash("info", "signed in elsewhere") }), app)
	})
	t.Run("Revalidate", func(t *testing.T) {
		gone := false
		app := kit.New(t, session.Config{Revalidate: func(context.Context, *session.Session) error {
			if gone {
				return session.ErrSessionEnded
			}
			return nil
		}}, session.NewMemoryStore())
		b := app.BrowserWith(app.Login("ada"))
		gone = true
		requireStatus(t, http.StatusOK, b.Do(func(s *session.Session) { s.Flash("info", "no account") }), app)
	})
}

// An open stream learns at its next Save that its session has ended, whether it has changed something or not.
func TestField27_AStreamLearnsOfTheEnd(t *testing.T) {
	ends := map[string]func(app *kit.App, cookie string){
		"logout":     func(app *kit.App, cookie string) { app.Do(cookie, kit.Logout) },
		"RevokeUser": func(app *kit.App, _ string) { app.RevokeUser("ada") },
		"Regenerate": func(app *kit.App, cookie string) { app.Do(cookie, kit.Regenerate) },
		"idle":       func(app *kit.App, _ string) { app.Clock.Advance(2 * time.Hour) },
	}
	for name, end := range ends {
		eachStore(t, session.Config{}, func(t *testing.T, app *kit.App) {
			cookie := app.Login("ada")
			app.Request(0, cookie, func(w http.ResponseWriter, r *http.Request, s *session.Session) {
				_, _ = io.WriteString(w, "data: "+s.User())
				require.NoError(t, s.Save(r.Context()))
				end(app, cookie)
				require.ErrorIs(t, s.Save(r.Context()), session.ErrSessionEnded, name)
				require.Empty(t, s.User(), name)
				require.ErrorIs(t, s.Save(r.Context()), session.ErrSessionEnded, "it stays so")
			})
		})
	}
}

// An upload that takes longer than what was left of the idle time is use of the session: it began in time.
func TestField28_AnUploadOutlastsTheIdleTime(t *testing.T) {
	eachStore(t, session.Config{IdleTimeout: 20 * time.Minute}, func(t *testing.T, app *kit.App) {
		b := app.BrowserWith(app.Login("ada"))
		app.Clock.Advance(15 * time.Minute)
		resp := b.Do(func(s *session.Session) {
			require.Equal(t, "ada", s.User())
			app.Clock.Advance(10 * time.Minute)
			s.Set("uploaded", true)
			s.Flash("info", "thank you")
		})
		requireStatus(t, http.StatusOK, resp, app)
		require.True(t, kit.Read[bool](b, "uploaded"))
		require.Equal(t, "ada", b.View().User)

		app.Clock.Advance(15 * time.Minute)
		requireStatus(t, http.StatusOK, b.Do(func(s *session.Session) {
			require.Equal(t, "ada", s.User())
			app.Clock.Advance(10 * time.Minute) // and sets nothing
		}), app)
		require.Equal(t, "ada", b.View().User)

		app.Clock.Advance(20 * time.Minute)
		require.True(t, b.SignedOut(), "the limit holds")
	})
}

// upstream is a server behind a gateway, which sets what it likes and tells what it gets.
func upstream(t *testing.T, cookies ...string) (*url.URL, chan http.Header) {
	got := make(chan http.Header, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got <- r.Header.Clone()
		w.Header()["Set-Cookie"] = cookies
		w.Header().Set("Cache-Control", "public")
		if r.Header.Get("Upgrade") != "" {
			w.Header().Set("Connection", "Upgrade")
			w.Header().Set("Upgrade", "test")
			w.WriteHeader(http.StatusSwitchingProtocols)
			conn, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				_ = conn.Close()
			}
			return
		}
		_, _ = io.WriteString(w, "upstream's")
	}))
	t.Cleanup(server.Close)
	at, err := url.Parse(server.URL)
	require.NoError(t, err)
	return at, got
}

func TestField29_AGatewayKeepsTheCookiesApart(t *testing.T) {
	target, got := upstream(t, "__Host-session=stolen; Path=/", " __Host-session =x", "other=1")
	app := kit.New(t, session.Config{}, session.NewMemoryStore())
	cookie := app.Login("ada")
	gateway := httptest.NewServer(app.Manager().Middleware(newGateway(target, "__Host-session")))
	t.Cleanup(gateway.Close)
	for name, upgrade := range map[string]string{"plain": "", "WebSocket": "test"} {
		r, err := http.NewRequest("GET", gateway.URL, nil)
		require.NoError(t, err)
		r.Header.Set("Cookie", "a=1; __Host-session="+cookie+"; b=\"2\"")
		if upgrade != "" {
			r.Header.Set("Connection", "Upgrade")
			r.Header.Set("Upgrade", upgrade)
		}
		resp, err := http.DefaultTransport.RoundTrip(r)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, []string{"other=1"}, resp.Header["Set-Cookie"], name)
		require.Equal(t, `a=1; b="2"`, strings.Join((<-got)["Cookie"], "; "), "%s: the upstream gets no token", name)
		require.Equal(t, "ada", app.User(cookie))
	}
}

// Nor does a proxy of any other make sign a user out.
func TestField29_AHandlersCookieOfTheNameIsDropped(t *testing.T) {
	target, _ := upstream(t, "__Host-session=stolen; Path=/", " __Host-session =x", "other=1")
	app := kit.New(t, session.Config{}, session.NewMemoryStore())
	w := httptest.NewRecorder()
	app.Manager().Middleware(httputil.NewSingleHostReverseProxy(target)).ServeHTTP(w, kit.Fresh("/"))
	require.Equal(t, []string{"other=1"}, w.Result().Header["Set-Cookie"])
	require.Contains(t, app.Log(), "a Set-Cookie of the session's name was dropped")
}

// The session's own cookie is sent in the place of the upstream's.
func TestField29_TheSessionsOwnCookieStays(t *testing.T) {
	target, _ := upstream(t, "__Host-session=stolen; Path=/")
	app := kit.New(t, session.Config{}, session.NewMemoryStore())
	proxy := httputil.NewSingleHostReverseProxy(target)
	b := app.Browser()
	w := httptest.NewRecorder()
	app.Manager().Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		session.FromContext(r.Context()).Set("k", 1)
		proxy.ServeHTTP(w, r)
	})).ServeHTTP(w, kit.Fresh("/"))
	b.Receive(w.Result())
	require.Len(t, w.Result().Cookies(), 1)
	require.Equal(t, 1, kit.Read[int](b, "k"))
}

func TestField30_ClearSiteDataSparesACookieOfTheSameAnswer(t *testing.T) {
	eachStore(t, session.Config{ClearSiteData: true}, func(t *testing.T, app *kit.App) {
		b := app.BrowserWith(app.Login("ada"))
		resp := b.Do(func(s *session.Session) {
			require.NoError(t, s.Destroy())
			s.Flash("info", "good bye")
		})
		require.Equal(t, `"cache", "storage"`, resp.Header.Get("Clear-Site-Data"))
		b.Must(func(s *session.Session) { require.Len(t, s.Flashes(), 1) })

		b.SignIn("ada")
		resp = b.Do(kit.Logout)
		require.Equal(t, `"cache", "cookies", "storage"`, resp.Header.Get("Clear-Site-Data"))
		b.SignIn("ada")
		resp = b.Do(func(s *session.Session) {
			require.NoError(t, s.Destroy())
			require.NoError(t, s.Login("grace"))
		})
		require.Equal(t, `"cache", "storage"`, resp.Header.Get("Clear-Site-Data"))
		require.Equal(t, "grace", b.View().User)
	})
}

// Of two cookies of the name, of which an older one comes first, the session that was issued last is used.
func TestField31_TheLatestIssuedOfTwoValidCookies(t *testing.T) {
	eachStore(t, session.Config{}, func(t *testing.T, app *kit.App) {
		older := app.Login("ada")
		app.Clock.Advance(time.Minute)
		newer := app.Login("grace")
		app.Clock.Advance(10 * time.Minute)
		app.Look(older) // the last one used, but not the last one issued
		for _, order := range [][]string{{older, newer}, {newer, older}} {
			require.Equal(t, "grace", app.UserOf([]string{app.Name + "=" + order[0] + "; " + app.Name + "=" + order[1]}))
			require.Equal(t, "grace", app.UserOf([]string{app.Name + "=" + order[0], app.Name + "=" + order[1]}))
		}

		// A login takes effect though the old cookie is still sent first.
		app.Clock.Advance(time.Minute)
		b := app.Browser()
		resp := app.Serve(func(_ http.ResponseWriter, r *http.Request) {
			require.NoError(t, session.FromContext(r.Context()).Login("eve"))
		}, app.Name+"="+older)
		b.Receive(resp)
		stale := app.Login("ada")
		_ = stale
		require.Equal(t, "eve", app.UserOf([]string{app.Name + "=" + older + "; " + app.Name + "=" + b.Cookie}))
	})
}

// lookingHook is a hook of go-redis that asks for the session.
type lookingHook struct{ looked chan bool }

func (lookingHook) DialHook(next redis.DialHook) redis.DialHook { return next }
func (h lookingHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		h.look(ctx)
		return next(ctx, cmd)
	}
}
func (h lookingHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		h.look(ctx)
		return next(ctx, cmds)
	}
}
func (h lookingHook) look(ctx context.Context) {
	s, found := session.Lookup(ctx)
	if found {
		_ = s.User()
	}
	select {
	case h.looked <- found:
	default:
	}
}

func TestField32_AStoresContextCannotReachTheSession(t *testing.T) {
	store := kit.OpenRedis(t, redistest.Start(t), session.RedisOptions{})
	looked := make(chan bool, 100)
	store.Client().AddHook(lookingHook{looked})
	app := kit.New(t, session.Config{}, store)
	app.Store().Intercept(func(ctx context.Context, _ sessiontest.Op, call func() error) error {
		s, found := session.Lookup(ctx)
		if found {
			_ = s.User()
		}
		looked <- found
		return call()
	})
	b := app.Browser()
	b.SignIn("ada")
	b.Must(func(s *session.Session) { s.Set("k", 1); require.NoError(t, s.Save(t.Context())) })
	b.Must(func(s *session.Session) { require.NoError(t, s.Regenerate()) })
	b.Must(func(s *session.Session) {
		_, err := app.Manager().RevokeUser(t.Context(), "ada", s.ID())
		require.NoError(t, err)
	})
	b.Visit(func(_ http.ResponseWriter, r *http.Request) { // with the request's context
		_, err := app.Manager().Sessions(r.Context(), "ada")
		require.NoError(t, err)
		_, err = app.Manager().RevokeUser(r.Context(), "ada")
		require.NoError(t, err)
	})
	close(looked)
	n := 0
	for found := range looked {
		require.False(t, found)
		n++
	}
	require.Greater(t, n, 10)
}

// An Update that uses its session is the application's mistake: it is an error, in time, and hangs nothing.
func TestField32_AnUpdateThatUsesItsSession(t *testing.T) {
	for name, use := range map[string]func(s *session.Session){
		"Get":         func(s *session.Session) { s.Get("other", new(int)) },
		"Set":         func(s *session.Session) { s.Set("other", 1) },
		"Set of it":   func(s *session.Session) { s.Set("counter", 1) },
		"Update":      func(s *session.Session) { session.Key[int]("other").Update(s, func(n int) int { return n + 1 }) },
		"Update, too": func(s *session.Session) { session.Key[int]("counter").Update(s, func(n int) int { return n + 1 }) },
		"Save":        func(s *session.Session) { _ = s.Save(context.Background()) },
		"Destroy":     func(s *session.Session) { _ = s.Destroy() },
		"Flashes":     func(s *session.Session) { s.Flashes() },
		"ID":          func(s *session.Session) { _ = s.ID() },
	} {
		for when, conflict := range map[string]bool{"at once": false, "at the commit": true} {
			t.Run(name+" "+when, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					app := kit.New(t, session.Config{StoreTimeout: time.Second}, session.NewMemoryStore())
					cookie := app.Login("ada")
					begun := time.Now()
					runs := 0
					f, landed := app.Send(0, cookie, "swap", kit.Act(func(s *session.Session) {
						kit.Counter.Update(s, func(n int) int {
							if runs++; runs < 5000 && (runs > 1 || !conflict) {
								use(s)
							}
							return n + 1
						})
						s.Set("swapped", 1)
					}))
					if conflict {
						require.False(t, landed)
						requireStatus(t, http.StatusOK, app.Do(cookie, kit.CountUp), app)
					}
					resp := f.Land()
					require.Less(t, time.Since(begun), 4*time.Second)
					require.Less(t, runs, 5000)
					t.Log(resp.Status, runs, time.Since(begun))
				})
			})
		}
	}
}

// One that is noted while a commit is under way is made again when that is done: without the session's lock.
func TestField32_AnUpdateBesideACommit(t *testing.T) {
	app := kit.New(t, session.Config{}, session.NewMemoryStore())
	b := app.BrowserWith(app.Login("ada"))
	runs := 0
	b.Must(func(s *session.Session) {
		s.Set("k", 1)
		app.Store().Intercept(func(_ context.Context, op sessiontest.Op, call func() error) error {
			app.Store().Mend()
			kit.Counter.Update(s, func(n int) int {
				runs++
				require.Equal(t, "ada", s.User())
				return n + 1
			})
			return call()
		})
		require.NoError(t, s.Save(t.Context()))
	})
	require.Greater(t, runs, 1)
	require.Equal(t, 1, kit.Read[int](b, "counter"))
}

// What Revalidate changes is made before what its request changes, and no more than once.
func TestField33_WhatRevalidateChangesComesFirst(t *testing.T) {
	app := kit.New(t, session.Config{Revalidate: func(_ context.Context, s *session.Session) error {
		kit.Counter.Update(s, func(n int) int { return n + 1 })
		session.Key[[]string]("order").Update(s, func(l []string) []string { return append(l, "revalidate") })
		return nil
	}}, session.NewMemoryStore())
	b := app.Browser()
	b.Must(func(s *session.Session) { kit.Counter.Set(s, 10) })
	app.Store().Lose()
	requireStatus(t, http.StatusServiceUnavailable, b.Do(func(s *session.Session) { s.User() }), app)
	app.Store().Mend()
	b.Do(func(s *session.Session) {
		session.Key[[]string]("order").Update(s, func(l []string) []string { return append(l, "handler") })
		app.Store().Lose()
		require.Error(t, s.Save(t.Context()))
		app.Store().Mend()
		require.NoError(t, s.Save(t.Context()))
	})
	var counted int
	var order []string
	b.Do(func(s *session.Session) {
		counted, _ = kit.Counter.Get(s)
		order, _ = session.Key[[]string]("order").Get(s)
	})
	require.Equal(t, 13, counted, "once by each request that found the session")
	require.Equal(t, []string{"revalidate", "revalidate", "handler", "revalidate"}, order)
}

// A handler that Revalidate calls has the session that Revalidate was shown. The Middleware around it does nothing: it would
// load the session, and ask Revalidate, without end.
func TestField33_RevalidateCallsAHandler(t *testing.T) {
	var app *kit.App
	var asked int
	app = kit.New(t, session.Config{Revalidate: func(ctx context.Context, s *session.Session) error {
		asked++
		require.Less(t, asked, 10)
		inner := httptest.NewRequest(http.MethodGet, "/inner", nil).WithContext(ctx)
		app.Manager().Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			require.Same(t, s, session.FromContext(r.Context()))
		})).ServeHTTP(httptest.NewRecorder(), inner)
		return nil
	}}, session.NewMemoryStore())
	b := app.BrowserWith(app.Login("ada"))
	require.Equal(t, "ada", app.User(b.Cookie))
	require.Equal(t, 1, asked)
}

func TestField33_WhatRevalidateMayNotDo(t *testing.T) {
	var did []error
	app := kit.New(t, session.Config{Revalidate: func(ctx context.Context, s *session.Session) error {
		did = []error{s.Login("grace"), s.RenameUser("grace"), s.Destroy(), s.Save(ctx)}
		return nil
	}}, session.NewMemoryStore())
	cookie := app.Login("ada")
	requireStatus(t, http.StatusOK, app.Do(cookie, func(s *session.Session) { require.Equal(t, "ada", s.User()) }), app)
	require.Len(t, did, 4)
	for _, err := range did {
		require.ErrorContains(t, err, "can't be called in Config.Revalidate")
	}
}

// What a browser asks for beside a page, an icon, does not count as a visit in the first snippet of the README.
func TestField34_TheFirstSnippetCountsPages(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	_, snippet, _ := strings.Cut(string(readme), "```go\n")
	_, rest, found := strings.Cut(snippet, `mux.HandleFunc("`)
	require.True(t, found)
	pattern, _, _ := strings.Cut(rest, `"`)
	mux := http.NewServeMux()
	mux.HandleFunc(pattern, func(_ http.ResponseWriter, r *http.Request) { kit.CountUp(session.FromContext(r.Context())) })
	app := kit.New(t, session.Config{}, kit.Sealed(t, kit.SecretOne))
	b := app.BrowserOf(app.Manager().Middleware(mux))
	for n := 1; n <= 3; n++ {
		require.Equal(t, http.StatusOK, b.Get("/").Code)
		b.Get("/favicon.ico")
		require.Equal(t, n, kit.Value[int](app, b.Cookie, "counter"))
	}
}
