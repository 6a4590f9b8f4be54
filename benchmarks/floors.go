package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/securecookie"
	"github.com/redis/go-redis/v9"

	"github.com/doorman-go/session"
)

// The floors do the least that a library of the kind could: no session, only what can't be left out.

func floor(name string, build func(v variant) app) subject {
	return subject{name: name, build: func(v variant) (app, error) {
		if v.idle {
			return app{}, nil
		}
		return build(v), nil
	}}
}

func bareSubject() subject {
	return floor(nameBare, func(variant) app {
		h := http.HandlerFunc(bare)
		return app{seed: setting("anything"), untouched: h, read: h}
	})
}

// wrapSubject does what no middleware can do without that gives handlers something of its own and acts before the response:
// a copy of the request with another context, and a writer around the writer.
func wrapSubject() subject {
	type own struct{}
	return floor(nameWrap, func(variant) app {
		h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			bare(struct{ http.ResponseWriter }{w}, r.WithContext(context.WithValue(r.Context(), own{}, w)))
		})
		return app{seed: setting("anything"), untouched: h}
	})
}

func setSubject() subject {
	return floor(nameSet, func(variant) app {
		h := setting("anything")
		return app{seed: h, write: h, login: h}
	})
}

// setting is the handler that answers with a cookie and looks at nothing.
func setting(value string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.SetCookie(w, sealedCookie(value))
		answer(w)
	})
}

func sealedCookie(value string) *http.Cookie {
	return &http.Cookie{Name: appName, Value: value, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode}
}

// payload is a session of the workload as this library stores it.
func payload(v variant) []byte {
	kept := values(3)
	if v.big {
		kept["text"] = json.RawMessage(`"` + kilobyte + `"`)
	}
	r := newRecord("", 0)
	r.Values = session.NewValues(kept)
	packed, err := r.MarshalBinary()
	if err != nil {
		panic(err)
	}
	return packed
}

func hmacSubject() subject {
	return floor(nameHMAC, func(v variant) app {
		sign := func(p []byte) string {
			mac := hmac.New(sha256.New, hashKey)
			mac.Write(p)
			return base64.RawURLEncoding.EncodeToString(mac.Sum(p[:len(p):len(p)]))
		}
		open := func(r *http.Request) []byte {
			cookie, err := r.Cookie(appName)
			if err != nil {
				panic(err)
			}
			signed, err := base64.RawURLEncoding.DecodeString(cookie.Value)
			if err != nil {
				panic(err)
			}
			p := signed[:len(signed)-sha256.Size]
			mac := hmac.New(sha256.New, hashKey)
			mac.Write(p)
			if !hmac.Equal(mac.Sum(nil), signed[len(p):]) {
				panic("not what was signed")
			}
			return p
		}
		return app{
			seed: setting(sign(payload(v))),
			read: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { open(r); answer(w) }),
			write: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				http.SetCookie(w, sealedCookie(sign(open(r))))
				answer(w)
			}),
		}
	})
}

func sealSubject() subject {
	return floor(nameSeal, func(v variant) app {
		codec := securecookie.New(hashKey, blockKey).SetSerializer(securecookie.NopEncoder{})
		seal := func(p []byte) string {
			sealed, err := codec.Encode(appName, p)
			if err != nil {
				panic(err)
			}
			return sealed
		}
		open := func(r *http.Request) (p []byte) {
			cookie, err := r.Cookie(appName)
			if err != nil {
				panic(err)
			}
			if err := codec.Decode(appName, cookie.Value, &p); err != nil {
				panic(err)
			}
			return p
		}
		return app{
			seed: setting(seal(payload(v))),
			read: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { open(r); answer(w) }),
			write: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				http.SetCookie(w, sealedCookie(seal(open(r))))
				answer(w)
			}),
		}
	})
}

// rawSubject does commands on one key, the same for all clients, with go-redis as it comes.
func rawSubject(name, addr string, prepare, command func(ctx context.Context, c *redis.Client, key string, p []byte) error, op operation) subject {
	return floor(name, func(v variant) app {
		c := redis.NewClient(&redis.Options{Addr: addr})
		key := "floor:" + strings.ReplaceAll(name, " ", "-") + v.String()
		p := payload(v)
		if err := prepare(context.Background(), c, key, p); err != nil {
			panic(err)
		}
		h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if err := command(r.Context(), c, key, p); err != nil {
				http.Error(w, err.Error(), http.StatusServiceUnavailable)
				return
			}
			answer(w)
		})
		switch op {
		case opWrite:
			return app{write: h}
		case opLogin:
			return app{login: h}
		}
		return app{read: h}
	})
}

func set(ctx context.Context, c *redis.Client, key string, p []byte) error {
	return c.Set(ctx, key, p, time.Hour).Err()
}

func get(ctx context.Context, c *redis.Client, key string, _ []byte) error {
	return c.Get(ctx, key).Err()
}

func getSet(ctx context.Context, c *redis.Client, key string, p []byte) error {
	if err := get(ctx, c, key, p); err != nil {
		return err
	}
	return set(ctx, c, key, p)
}

// getReplace is what a login needs: the old session is read, and ends, the new one begins, and the user's list has both.
func getReplace(ctx context.Context, c *redis.Client, key string, p []byte) error {
	if err := get(ctx, c, key, p); err != nil {
		return err
	}
	_, err := c.TxPipelined(ctx, func(t redis.Pipeliner) error {
		t.ZAdd(ctx, key+":list", redis.Z{Score: 1, Member: key}, redis.Z{Score: 2, Member: key + ":next"})
		t.Set(ctx, key, p, time.Hour)
		t.Set(ctx, key+":next", p, time.Hour)
		return nil
	})
	return err
}

func rawSubjects(addr string) []subject {
	return []subject{
		rawSubject(nameGet, addr, set, get, opRead),
		rawSubject(nameGetSet, addr, set, getSet, opWrite),
		rawSubject(nameReplace, addr, set, getReplace, opLogin),
	}
}

// mapSubject hashes the cookie, and looks the hash up in a map: the least that a store in memory does.
func mapSubject() subject {
	return floor(nameMap, func(v variant) app {
		var mu sync.RWMutex
		kept := make(map[string][]byte)
		id := func(value string) string {
			sum := sha256.Sum256([]byte(value))
			return base64.RawURLEncoding.EncodeToString(sum[:24])
		}
		kept[id(nonce)] = payload(v)
		return app{
			seed: setting(nonce),
			read: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				cookie, err := r.Cookie(appName)
				if err != nil {
					panic(err)
				}
				mu.RLock()
				p := kept[id(cookie.Value)]
				mu.RUnlock()
				var record session.Record
				if record.UnmarshalBinary(p) != nil {
					panic("not what was stored")
				}
				answer(w)
			}),
		}
	})
}
