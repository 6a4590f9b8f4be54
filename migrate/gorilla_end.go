package migrate

import (
	"encoding/base64"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/boj/redistore"
	"github.com/gomodule/redigo/redis"
	"github.com/gorilla/securecookie"
	"github.com/gorilla/sessions"
)

// sealEnd returns when a cookie that securecookie has verified ends: when the first of ages is over. It leaves out ages
// that are over already, because the store has accepted the cookie, so they do not apply to it. If all ages are over,
// by the Manager's clock, it returns the last end. An age of zero never ends. A zero time means that the cookie never
// ends.
func sealEnd(value string, now time.Time, ages ...time.Duration) (end time.Time) {
	sealed, ok := sealedAt(value)
	if !ok {
		return time.Time{}
	}
	var last time.Time
	endless := false
	for _, age := range ages {
		switch over := sealed.Add(age); {
		case age == 0:
			endless = true
		case over.After(now):
			end = earlier(end, over)
		case over.After(last):
			last = over
		}
	}
	if end.IsZero() && !endless {
		return last
	}
	return end
}

// sealedAt returns when securecookie sealed a value: the base64 of "time|content|MAC", with the time in Unix seconds.
func sealedAt(value string) (at time.Time, ok bool) {
	content, err := base64.URLEncoding.DecodeString(value)
	if err != nil {
		return time.Time{}, false
	}
	first, _, _ := strings.Cut(string(content), "|")
	n, err := strconv.ParseInt(first, 10, 64)
	return time.Unix(n, 0), err == nil
}

// codecAges returns how long each of the codecs accepts a value that it has sealed. Zero means for ever.
func codecAges(codecs []securecookie.Codec) (ages []time.Duration) {
	for _, codec := range codecs {
		if age := codecField(codec, "maxAge"); age.IsValid() && age.CanInt() {
			ages = append(ages, seconds(int(age.Int())))
		}
	}
	return ages
}

// codecKey returns the key with which the first of the codecs signs, or nil if it can't be read.
func codecKey(codecs []securecookie.Codec) []byte {
	if len(codecs) == 0 {
		return nil
	}
	if key := codecField(codecs[0], "hashKey"); key.IsValid() && key.Kind() == reflect.Slice {
		return key.Bytes()
	}
	return nil
}

// codecField returns a field of a SecureCookie, or an invalid value. SecureCookie has setters and no getters, so it is
// read by reflection.
func codecField(codec securecookie.Codec, name string) reflect.Value {
	sealer, ok := codec.(*securecookie.SecureCookie)
	if !ok || sealer == nil {
		return reflect.Value{}
	}
	return reflect.ValueOf(sealer).Elem().FieldByName(name)
}

func seconds(n int) time.Duration { return time.Duration(n) * time.Second }

// earlier returns the earlier of two ends. A zero time means that an end is not known.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// openRediStore is openGorilla for a RediStore. It also returns the end of the session's key. The store tells neither
// the prefix of its keys nor their time to live. So a copy of the store loads the session. Its connection also asks for
// the time to live of the key that the store reads.
func openRediStore(
	store *redistore.RediStore, r *http.Request, name string, now time.Time,
) (old *sessions.Session, end time.Time, err error) {
	conn := &lifeConn{}
	reader := *store
	reader.Pool = &redis.Pool{Dial: func() (redis.Conn, error) {
		conn.Conn = store.Pool.Get()
		return conn, nil
	}}
	old, err = openGorilla(&reader, r, name)
	if err != nil && conn.found { // Redis has answered, so the session can't be decoded
		err = unreadable(err)
	}
	if conn.life > 0 {
		end = now.Add(conn.life)
	}
	return old, end, err
}

// lifeConn is a connection that asks for the time to live after each GET.
type lifeConn struct {
	redis.Conn
	found bool
	life  time.Duration // zero means without end
}

// keyWithoutEnd is the answer of PTTL for a key without an end. The answer for a key that is gone meanwhile is negative
// too, and counts as a millisecond.
const keyWithoutEnd = -1

// Do implements redis.Conn.
func (c *lifeConn) Do(command string, args ...any) (any, error) {
	reply, err := c.Conn.Do(command, args...)
	if command != "GET" || err != nil || reply == nil {
		return reply, err
	}
	life, err := redis.Int64(c.Conn.Do("PTTL", args...))
	if err != nil {
		return nil, err
	}
	if c.found = true; life != keyWithoutEnd {
		c.life = max(time.Duration(life)*time.Millisecond, time.Millisecond)
	}
	return reply, nil
}
