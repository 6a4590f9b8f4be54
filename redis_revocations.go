package session

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// RedisRevocations is a RevocationList in Redis, for several processes: a key for each ended session, and a hash for
// each user whose sessions were ended, all of which expire. A look-up is one round trip.
type RedisRevocations struct {
	client redis.UniversalClient
	prefix string
}

var _ RevocationList = (*RedisRevocations)(nil)

// NewRedisRevocations returns a list on client, which should honour context deadlines (ContextTimeoutEnabled). Of the
// options it uses the Prefix.
func NewRedisRevocations(client redis.UniversalClient, opts RedisOptions) *RedisRevocations {
	return &RedisRevocations{client: client, prefix: cmp.Or(opts.Prefix, defaultPrefix)}
}

func (l *RedisRevocations) endedKey(user, id string) string {
	return l.prefix + "ended:" + endedKey(user, id)
}

func (l *RedisRevocations) userKey(user string) string { return l.prefix + "ended-user:" + user }

// EndSession implements RevocationList.
func (l *RedisRevocations) EndSession(ctx context.Context, user, id string, until time.Time) error {
	now := Now(ctx)
	left := until.Sub(now)
	if left <= 0 {
		return nil // it has ended by itself
	}
	return endScript.Run(ctx, l.client, []string{l.endedKey(user, id)}, micros(now), left.Milliseconds()+1).Err()
}

// EndUser implements RevocationList.
func (l *RedisRevocations) EndUser(ctx context.Context, user string, issued time.Time, except []string, until time.Time) error {
	now := Now(ctx)
	if !until.After(now) {
		return nil
	}
	return revokeScript.Run(ctx, l.client, []string{l.userKey(user)},
		micros(issued), micros(now), strings.Join(except, " "), until.Sub(now).Milliseconds()+1, maxUserRevocations).Err()
}

// Status implements RevocationList.
func (l *RedisRevocations) Status(ctx context.Context, user, id string, issued time.Time) (RevocationStatus, error) {
	p := l.client.Pipeline()
	anyone, own := p.Get(ctx, l.endedKey("", id)), p.Get(ctx, l.endedKey(user, id))
	all := p.HGetAll(ctx, l.userKey(user))
	if _, err := p.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return RevocationStatus{}, err
	}
	status := RevocationStatus{}
	if user != "" {
		status = judge(readRevocations(all.Val()), id, issued)
	}
	for _, ended := range []*redis.StringCmd{anyone, own} {
		if at, err := ended.Int64(); err == nil {
			status.EndedAt = time.UnixMicro(at).UTC()
		} else if !errors.Is(err, redis.Nil) {
			return RevocationStatus{}, err
		}
	}
	return status, all.Err()
}

// readRevocations reads the hash of a user: for each revocation, up to when sessions were issued, its time, and the ids
// it excepts.
func readRevocations(fields map[string]string) []userRevocation {
	revocations := make([]userRevocation, 0, len(fields))
	for name, text := range fields {
		at, except, _ := strings.Cut(text, " ")
		issued, err := strconv.ParseInt(name, 10, 64)
		when, err2 := strconv.ParseInt(at, 10, 64)
		if err != nil || err2 != nil {
			continue
		}
		revocations = append(revocations, userRevocation{time.UnixMicro(issued).UTC(), strings.Fields(except), time.UnixMicro(when).UTC()})
	}
	slices.SortFunc(revocations, func(a, b userRevocation) int { return a.issued.Compare(b.issued) })
	return revocations
}
