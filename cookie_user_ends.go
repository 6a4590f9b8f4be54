package session

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"time"
)

// micros is a time in microseconds since 1970; zero is none.
type micros int64

func (m micros) time() time.Time { return time.UnixMicro(int64(m)) }

// userEnds is what was ended of a user's sessions, other than by the sessions' own requests.
type userEnds struct {
	CutOff  micros            // sessions that were issued up to this time have ended
	Except  map[string]micros // except these: each with the earlier cut-off that still holds for it
	Revoked map[string]micros // ended one by one, and when
}

// The keys of the values in which the list keeps a userEnds, beside "realm" and "user". Times are micros.
const (
	keyCutOff  = "cutOff"
	keyExcept  = "except"
	keyRevoked = "revoked"
)

// readUserEnds reads what record returned. Nothing was ended where there is no record.
func readUserEnds(r *Record) (*userEnds, error) {
	u := &userEnds{}
	if r == nil {
		return u, nil
	}
	for key, dst := range map[string]any{keyCutOff: &u.CutOff, keyExcept: &u.Except, keyRevoked: &u.Revoked} {
		if err := json.Unmarshal(r.Values.Get(key), dst); err != nil {
			return nil, fmt.Errorf("session: what has ended: a user's record can't be read: %s", key)
		}
	}
	return u, nil
}

// record returns the list's record. It lasts as long as any session that was issued up to now.
func (u *userEnds) record(id, realm, user string, now time.Time) *Record {
	return &Record{
		ID: id, Revision: rand.Text(),
		CreatedAt: now, IssuedAt: now, LastUsedAt: now, Deadline: now.Add(maxLifetime + believedAhead),
		Values: listedValues(map[string]any{
			"realm": realm, "user": user, keyCutOff: u.CutOff, keyExcept: u.Except, keyRevoked: u.Revoked,
		}),
	}
}

// listedValues encodes what always can be.
func listedValues(values map[string]any) Values {
	encoded := make(map[string]json.RawMessage, len(values))
	for key, value := range values {
		encoded[key], _ = json.Marshal(value)
	}
	return NewValues(encoded)
}

// endedAt returns when r was ended from outside, or zero if it was not.
func (u *userEnds) endedAt(r *Record) time.Time {
	if at, revoked := u.Revoked[r.ID]; revoked {
		return at.time()
	}
	if u.isCutOff(r) {
		return u.cutOffOf(r.ID).time().Add(-clockSkew)
	}
	return time.Time{}
}

func (u *userEnds) isCutOff(r *Record) bool {
	cutOff := u.cutOffOf(r.ID)
	return cutOff != 0 && micros(r.IssuedAt.UnixMicro()) <= cutOff
}

// cutOffOf returns the cut-off that holds for a session.
func (u *userEnds) cutOffOf(id string) micros {
	if earlier, excepted := u.Except[id]; excepted {
		return earlier
	}
	return u.CutOff
}

// endUpTo ends all sessions that were issued up to cutOff, except some. Those excepted by an earlier call only have ended
// too, and what an earlier call ended has ended for those excepted now.
func (u *userEnds) endUpTo(cutOff time.Time, except []exception, now time.Time) {
	excepted := make(map[string]micros, len(except))
	for _, e := range except {
		excepted[e.id] = u.cutOffOf(e.id)
	}
	u.CutOff = max(micros(cutOff.UnixMicro()), u.CutOff+1) // after what was issued just after the last one
	u.Except = excepted
	u.dropRevoked(func(id string, at time.Time) bool {
		_, stays := excepted[id]
		return !stays && now.Sub(at) > 2*tombstoneLife // the cut-off has ended it as well, and a request that began it is over
	})
}

// exceptSuccessors excepts what excepted sessions go on as. What another call has ended meanwhile stays ended.
func (u *userEnds) exceptSuccessors(all []exception) {
	for _, e := range all {
		earlier, stays := u.Except[e.of]
		if _, known := u.Except[e.id]; stays && !known {
			u.Except[e.id] = earlier
		}
	}
}

// revoke ends one session.
func (u *userEnds) revoke(id string, now time.Time) error {
	u.dropRevoked(func(_ string, at time.Time) bool { return now.Sub(at) > maxLifetime+believedAhead })
	if _, revoked := u.Revoked[id]; revoked {
		return nil
	}
	if len(u.Revoked) >= maxUserEnds {
		return errTooManyEnds
	}
	if u.Revoked == nil {
		u.Revoked = make(map[string]micros)
	}
	u.Revoked[id] = micros(now.UnixMicro())
	return nil
}

// dropRevoked forgets what needs no entry any more.
func (u *userEnds) dropRevoked(isOver func(id string, at time.Time) bool) {
	for id, at := range u.Revoked {
		if isOver(id, at.time()) {
			delete(u.Revoked, id)
		}
	}
}
