package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/alexedwards/scs/v2"
	"github.com/antonlindstrom/pgstore"
	"github.com/gorilla/sessions"

	"github.com/doorman-go/session"
)

// The workload is that of the other benchmarks: a user's ID, a text of 32 characters, a locale and a counter.
const (
	userID = int64(9007199254740993)
	nonce  = "6f1d3c5e8a7b42909d0e1f2a3b4c5d6e"
	locale = "de-AT"
)

var secret = []byte("kZr8Qm2LxV7pT4wNc9YbHs3JdGf6AeUu")

// subject is a library on a database. Its handler does what the request's path says.
type subject struct {
	name    string
	ours    bool
	logins  bool // it can change the ID
	handler http.Handler
}

func (d *database) subjects() ([]subject, error) {
	own, err := d.own(session.Config{IdleTimeout: -1})
	if err != nil {
		return nil, err
	}
	peer, err := d.scs()
	if err != nil {
		return nil, err
	}
	all := []subject{{"session, sqlstore", true, true, own}, {d.peer, false, true, peer}}
	if d.driver == "pgx" {
		store, err := pgstore.NewPGStoreFromPool(d.db, secret)
		if err != nil {
			return nil, err
		}
		all = append(all, subject{"antonlindstrom/pgstore", false, false, gorilla(store)})
	}
	return all, nil
}

func (d *database) own(config session.Config) (http.Handler, error) {
	store, err := d.store()
	if err != nil {
		return nil, err
	}
	return d.managed(store, config)
}

// handlerOf does with a session what the path says.
func handlerOf() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := session.FromContext(r.Context())
		switch what, key := split(r); what {
		case "seed":
			s.Set("uid", userID)
			s.Set("nonce", nonce)
			s.Set("locale", locale)
		case "read":
			if id, _ := session.Key[int64]("uid").Get(s); id != userID {
				http.Error(w, "another session", http.StatusInternalServerError)
			}
		case "write":
			n, _ := session.Key[int]("n").Get(s)
			s.Set("n", n+1)
		case "login":
			if err := s.Login("ada", "uid", "nonce", "locale"); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
			}
		case "set":
			loaded(r, func() { s.Has("uid") })
			s.Set(key, 1)
		case "count":
			_, _ = fmt.Fprint(w, len(s.Keys())-3)
		}
	})
}

func (d *database) scs() (http.Handler, error) {
	if _, err := d.db.Exec("DROP TABLE IF EXISTS sessions"); err != nil {
		return nil, err
	}
	for statement := range strings.SplitSeq(d.peerSchema, "; ") {
		if _, err := d.db.Exec(statement); err != nil {
			return nil, err
		}
	}
	m := scs.New()
	m.Store = d.openPeer(d.db)
	return m.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		switch what, key := split(r); what {
		case "seed":
			m.Put(ctx, "uid", userID)
			m.Put(ctx, "nonce", nonce)
			m.Put(ctx, "locale", locale)
		case "read":
			if m.GetInt64(ctx, "uid") != userID {
				http.Error(w, "another session", http.StatusInternalServerError)
			}
		case "write":
			m.Put(ctx, "n", m.GetInt(ctx, "n")+1)
		case "login":
			if err := m.RenewToken(ctx); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
			}
			m.Put(ctx, "uid", userID)
		case "set":
			loaded(r, func() {})
			m.Put(ctx, key, 1)
		case "count":
			_, _ = fmt.Fprint(w, len(m.Keys(ctx))-3)
		}
	})), nil
}

func gorilla(store sessions.Store) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, err := store.Get(r, "session")
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		what, key := split(r)
		switch what {
		case "seed":
			s.Values["uid"], s.Values["nonce"], s.Values["locale"] = userID, nonce, locale
		case "read":
			if s.Values["uid"] != userID {
				http.Error(w, "another session", http.StatusInternalServerError)
			}
			return
		case "write":
			n, _ := s.Values["n"].(int)
			s.Values["n"] = n + 1
		case "set":
			loaded(r, func() {})
			s.Values[key] = 1
		case "count":
			_, _ = fmt.Fprint(w, len(s.Values)-3)
			return
		}
		if err := s.Save(r, w); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
}

// split returns what a request asks for, and the key.
func split(r *http.Request) (what, key string) {
	what, key, _ = strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	return what, key
}

type barrierKey struct{}

// loaded waits until all writers have loaded the session.
func loaded(r *http.Request, load func()) {
	load()
	r.Context().Value(barrierKey{}).(func())()
}

// client is a browser with a single cookie.
type client struct {
	handler http.Handler
	cookie  string
}

func newClient(h http.Handler) (*client, error) {
	c := &client{handler: h}
	return c, c.do(context.Background(), "seed", nil)
}

// do makes a request, and keeps the cookie.
func (c *client) do(ctx context.Context, what string, body io.Writer) error {
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, "https://localhost/"+what, nil)
	if c.cookie != "" {
		r.Header.Set("Cookie", c.cookie)
	}
	w := httptest.NewRecorder()
	c.handler.ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		return fmt.Errorf("%s was answered with %d: %s", what, w.Code, w.Body)
	}
	if set := w.Header().Get("Set-Cookie"); set != "" {
		c.cookie, _, _ = strings.Cut(set, ";")
	}
	if body != nil {
		_, _ = body.Write(w.Body.Bytes())
	}
	return nil
}
