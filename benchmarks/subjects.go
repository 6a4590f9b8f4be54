package main

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/doorman-go/session"
)

var secret = []byte("kZr8Qm2LxV7pT4wNc9YbHs3JdGf6AeUu")

const (
	keyUser    session.Key[int64]  = "uid"
	keyNonce   session.Key[string] = "nonce"
	keyLocale  session.Key[string] = "locale"
	keyCounter session.Key[int]    = "n"
	keyText    session.Key[string] = "text"
)

// The names of the subjects.
const (
	nameSealed  = "session, sealed cookie"
	nameSigned  = "session, signed cookie"
	nameMemory  = "session, memory"
	nameRedis   = "session, Redis"
	nameOwn     = "session, Redis, own client"
	nameNear    = "session, Redis + near cache"
	nameGorilla = "gorilla/sessions CookieStore"
	nameSCS     = "scs memstore"
	nameSCSR    = "scs goredisstore"
	nameBoj     = "boj/redistore"

	nameBare   = "bare handler"
	nameWrap   = "bare handler, request copied, writer wrapped"
	nameSet    = "bare handler, Set-Cookie"
	nameHMAC   = "HMAC + base64"
	nameSeal   = "securecookie alone"
	nameGet    = "raw go-redis GET"
	nameGetSet = "raw go-redis GET, SET"

	nameReplace = "raw go-redis GET, then ZADD, SET, SET in MULTI"
	nameMap     = "cookie hashed, record in a map"
)

func ours(name string, open func() (session.Store, error)) subject {
	return subject{name: name, ours: true, build: func(v variant) (app, error) {
		store, err := open()
		if err != nil {
			return app{}, err
		}
		return sessionApp(store, v)
	}}
}

func sessionApp(store session.Store, v variant) (app, error) {
	cfg := session.Config{IdleTimeout: -1}
	if v.idle {
		cfg.IdleTimeout = idleTime
	}
	manager, err := session.New(store, cfg)
	if err != nil {
		return app{}, err
	}
	return app{
		seed: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s := session.FromContext(r.Context())
			keyUser.Set(s, userID)
			keyNonce.Set(s, nonce)
			keyLocale.Set(s, locale)
			if v.big {
				keyText.Set(s, kilobyte)
			}
			for i := range v.full {
				s.Set(fmt.Sprintf("text-%03d", i), kilobyte)
			}
			for i := range v.more {
				s.Set(fmt.Sprintf("key-%03d", i), nonce)
			}
			answer(w)
		}),
		untouched: http.HandlerFunc(bare),
		read: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if id, _ := keyUser.Get(session.FromContext(r.Context())); id != userID && r.Context().Err() == nil { // wrk hangs up at the end
				panic("the session is not the one that was seeded")
			}
			answer(w)
		}),
		write: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s := session.FromContext(r.Context())
			n, _ := keyCounter.Get(s)
			keyCounter.Set(s, n+1)
			answer(w)
		}),
		login: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s := session.FromContext(r.Context())
			if err := s.Login("ada", string(keyNonce), string(keyLocale), string(keyText)); err != nil {
				panic(err)
			}
			keyUser.Set(s, userID)
			answer(w)
		}),
	}.around(manager.Middleware), nil
}

func sealedSubject() subject {
	return ours(nameSealed, func() (session.Store, error) { return session.NewCookieStore(secret) })
}

func signedSubject() subject {
	return ours(nameSigned, func() (session.Store, error) { return session.NewSignedCookieStore(secret) })
}

func memorySubject() subject {
	return ours(nameMemory, func() (session.Store, error) { return session.NewMemoryStore(), nil })
}

func redisSubject(url string) subject {
	return ours(nameRedis, func() (session.Store, error) {
		return openStore(url, session.RedisOptions{Prefix: ownPrefix()})
	})
}

// ownClientSubject is what an application does that has a client already.
func ownClientSubject(addr string) subject {
	return ours(nameOwn, func() (session.Store, error) {
		return session.NewRedisStore(
			redis.NewClient(&redis.Options{Addr: addr, ContextTimeoutEnabled: true}), session.RedisOptions{Prefix: ownPrefix()})
	})
}

func nearSubject(url string) subject {
	return ours(nameNear, func() (session.Store, error) {
		return openStore(url, session.RedisOptions{Prefix: ownPrefix(), NearCache: nearOptions})
	})
}

var stores atomic.Int64

// ownPrefix returns a prefix that no other store has, as applications that share a Redis have one each. Redis tells a
// near cache of each write below its prefix: without this, all subjects would be measured with the near caches of all
// variants beside them.
func ownPrefix() string { return fmt.Sprintf("app-%d:", stores.Add(1)) }

var nearOptions = session.NearCache{MaxEntries: 20_000, MaxStaleness: 5 * time.Second}

// openStore opens a store for the life of the program.
func openStore(url string, opts session.RedisOptions) (*session.RedisStore, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return session.OpenRedisStore(ctx, url, opts)
}
