package session

import (
	"context"
	"iter"
	"strings"
)

// All implements AllStore, by SCAN on each master. The near cache has no part in it. Where another server takes a master's
// place meanwhile, or a cluster moves keys, what was there may be left out: call it again then.
func (s *RedisStore) All(ctx context.Context, realm string) iter.Seq2[*Record, error] {
	return func(yield func(*Record, error) bool) {
		var cut []string // IDs of records whose head is longer, or can't be read
		for one, err := range s.client.Scan(ctx, s.prefix, headSize) {
			if err != nil {
				yield(nil, redisError(err))
				return
			}
			if one.Head == nil || !isSessionID(one.Name) {
				continue
			}
			r, err := unmarshalHead(one.Head.Data())
			switch {
			case err != nil:
				if cut = append(cut, one.Name); len(cut) < cutAtOnce {
					continue
				}
				if !s.yieldWhole(ctx, realm, cut, yield) {
					return
				}
				cut = cut[:0]
			case r.ID == one.Name && r.Realm == realm && !yield(r, nil):
				return
			}
		}
		s.yieldWhole(ctx, realm, cut, yield)
	}
}

// cutAtOnce is how many records with longer heads are read together.
const cutAtOnce = 100

// yieldWhole reads the whole records of ids, and yields those of the realm. It reports whether to go on.
func (s *RedisStore) yieldWhole(ctx context.Context, realm string, ids []string, yield func(*Record, error) bool) bool {
	records, err := s.loadAll(ctx, ids)
	if err != nil {
		yield(nil, err)
		return false
	}
	for _, r := range records {
		if r.Realm == realm && !yield(r, nil) {
			return false
		}
	}
	return true
}

// channel returns the channel on which the keys of sessions that end are published.
func (s *RedisStore) channel() string { return s.prefix + "ended" }

// NotifyEnds implements EndNotifier: all who are told in this process share one subscription.
func (s *RedisStore) NotifyEnds(ended func(id string)) (stop func()) { return s.ends.add(ended) }

func (s *RedisStore) subscribe() (stop func()) {
	return s.client.Subscribe(s.channel(), func(key string) { s.ends.tell(strings.TrimPrefix(key, s.prefix)) })
}
