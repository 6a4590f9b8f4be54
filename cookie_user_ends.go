package session

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"time"
)

// micros is a time in microseconds since 1970. Zero means no time.
type micros int64

func (m micros) time() time.Time { return time.UnixMicro(int64(m)) }

// userEnds says which sessions of a user were ended from outside.
type userEnds struct {
	CutOff  micros            // sessions that were issued up to this time have ended
	Except  map[string]micros // except these: each with the earlier cut-off that still holds for it
	Revoked map[string]micros // sessions that were ended one by one, and when
}

// The keys of the values in which the list keeps a userEnds, beside "realm" and "user". Times are micros.
const (
	keyCutOff  = "cutOff"
	keyExcept  = "except"
	keyRevoked = "revoked"
)

// readUserEnds reads a record of the list. If r is nil, no session was ended.
func readUserEnds(r *Record) (*userEnds, error) {
	u := &userEnds{}
	if r == nil {
		return u, nil
	}
	for key, dst := range map[string]any{keyCutOff: &u.CutOff, keyExcept: &u.Except, keyRevoked: &u.Revoked} {
		if err := json.Unmarshal(r.Values.Get(key), dst); err != nil {
			return nil, fmt.Errorf("session: the list of ended sessions: a user's record can't be read: %s", key)
		}
	}
	return u, nil
}

// record returns the record for the list. It lasts as long as any session that was issued up to now can last.
func (u *userEnds) record(id, realm, user string, now time.Time) *Record {
	return &Record{
		ID: id, Revision: rand.Text(),
		CreatedAt: now, IssuedAt: now, LastUsedAt: now, Deadline: now.Add(maxLifetime + believedAhead),
		Values: listedValues(map[string]any{
			"realm": realm, "user": user, keyCutOff: u.CutOff, keyExcept: u.Except, keyRevoked: u.Revoked,
		}),
	}
}

// listedValues encodes values whose types can always be encoded.
func listedValues(values map[string]any) Values {
	encoded := make(map[string]json.RawMessage, len(values))
	for key, value := range values {
		encoded[key], _ = json.Marshal(value)
	}
	return NewValues(encoded)
}

// endOf returns a tombstone of r if it was ended from outside, or nil if it was not.
func (u *userEnds) endOf(r *Record) *Record {
	if at, revoked := u.Revoked[r.ID]; revoked {
		return revokedTombstone(r, at.time())
	}
	if u.isCutOff(r) {
		return revokedTombstone(r, u.cutOffOf(r.ID).time().Add(-clockSkew))
	}
	return nil
}

func (u *userEnds) isCutOff(r *Record) bool {
	cutOff := u.cutOffOf(r.ID)
	return cutOff != 0 && micros(r.IssuedAt.UnixMicro()) <= cutOff
}

// cutOffOf returns the cut-off that applies to a session.
func (u *userEnds) cutOffOf(id string) micros {
	if earlier, excepted := u.Except[id]; excepted {
		return earlier
	}
	return u.CutOff
}

// endUpTo ends all sessions that were issued up to cutOff, except those in except. A session that only an earlier call
// has excepted ends too. An exception does not bring back a session that an earlier call has ended.
func (u *userEnds) endUpTo(cutOff time.Time, except []exception, now time.Time) {
	excepted := make(map[string]micros, len(except))
	for _, e := range except {
		excepted[e.id] = u.cutOffOf(e.id)
	}
	u.CutOff = max(micros(cutOff.UnixMicro()), u.CutOff+1) // after sessions issued just after the last one
	u.Except = excepted
	maps.DeleteFunc(u.Revoked, func(id string, at micros) bool {
		_, stays := excepted[id]
		return !stays && now.Sub(at.time()) > 2*tombstoneLife // the cut-off ends it too, and the request that began it is over
	})
}

// exceptSuccessors also excepts the successors of excepted sessions. A session that another call has ended meanwhile
// stays ended.
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
	maps.DeleteFunc(u.Revoked, func(_ string, at micros) bool { return now.Sub(at.time()) > maxLifetime+believedAhead })
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
