package main

import (
	"encoding/gob"
	"fmt"
	"net/http"

	"github.com/alexedwards/scs/goredisstore"
	"github.com/alexedwards/scs/v2"
	"github.com/alexedwards/scs/v2/memstore"
	"github.com/boj/redistore"
	"github.com/gorilla/sessions"
	"github.com/redis/go-redis/v9"
)

// The peers, as their documentation sets them up.

func scsMemorySubject() subject {
	return scsSubject(nameSCS, func() scs.Store { return memstore.NewWithCleanupInterval(0) })
}

func scsRedisSubject(addr string) subject {
	return scsSubject(nameSCSR, func() scs.Store {
		return goredisstore.New(redis.NewClient(&redis.Options{Addr: addr}))
	})
}

func scsSubject(name string, open func() scs.Store) subject {
	return subject{name: name, build: func(v variant) (app, error) {
		m := scs.New()
		m.Store = open()
		if v.idle {
			m.IdleTimeout = idleTime
		}
		return scsApp(m, v), nil
	}}
}

func scsApp(m *scs.SessionManager, v variant) app {
	return app{
		seed: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			m.Put(r.Context(), "uid", userID)
			m.Put(r.Context(), "nonce", nonce)
			m.Put(r.Context(), "locale", locale)
			if v.big {
				m.Put(r.Context(), "text", kilobyte)
			}
			for i := range v.full {
				m.Put(r.Context(), fmt.Sprintf("text-%03d", i), kilobyte)
			}
			answer(w)
		}),
		untouched: http.HandlerFunc(bare),
		read: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if m.GetInt64(r.Context(), "uid") != userID {
				panic("the session is not the one that was seeded")
			}
			answer(w)
		}),
		write: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			m.Put(r.Context(), "n", m.GetInt(r.Context(), "n")+1)
			answer(w)
		}),
		login: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if err := m.RenewToken(r.Context()); err != nil {
				panic(err)
			}
			m.Put(r.Context(), "uid", userID)
			answer(w)
		}),
	}.around(m.LoadAndSave)
}

// The keys of the two libraries that seal their cookies with securecookie: signed with 32 bytes, encrypted with AES-256.
var hashKey, blockKey = secret, []byte("Wn5Xq8Rk2Vb7Mz4Tc9Yd3Hf6Jg1Ls0Pa")

func gorillaSubject() subject {
	return subject{name: nameGorilla, build: func(v variant) (app, error) {
		if v.idle {
			return app{}, nil // it has none
		}
		a := gorillaApp(sessions.NewCookieStore(hashKey, blockKey), v)
		a.login = a.write // there is no id to change: a login is a write
		return a, nil
	}}
}

func bojSubject(addr string) subject {
	return subject{name: nameBoj, build: func(v variant) (app, error) {
		if v.idle {
			return app{}, nil // it has none
		}
		gob.Register(int64(0))
		store, err := redistore.NewRediStore(20, "tcp", addr, "", "", hashKey)
		if err != nil {
			return app{}, err
		}
		return gorillaApp(store, v), nil // it can't change an id
	}}
}

func gorillaApp(store sessions.Store, v variant) app {
	handle := func(f func(*sessions.Session) (changed bool)) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s, err := store.Get(r, appName)
			if err != nil {
				panic(err)
			}
			if f(s) {
				if err := s.Save(r, w); err != nil {
					panic(err)
				}
			}
			answer(w)
		})
	}
	return app{
		seed: handle(func(s *sessions.Session) bool {
			s.Values["uid"], s.Values["nonce"], s.Values["locale"] = userID, nonce, locale
			if v.big {
				s.Values["text"] = kilobyte
			}
			return true
		}),
		untouched: http.HandlerFunc(bare),
		read: handle(func(s *sessions.Session) bool {
			if s.Values["uid"] != userID {
				panic("the session is not the one that was seeded")
			}
			return false
		}),
		write: handle(func(s *sessions.Session) bool {
			n, _ := s.Values["n"].(int)
			s.Values["n"] = n + 1
			return true
		}),
	}
}
