package session

import (
	"crypto/sha256"
	_ "embed"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// The scripts, each with what they share in front.
var (
	//go:embed lua/common.lua
	commonLua string
	//go:embed lua/write.lua
	writeLua string
	//go:embed lua/create.lua
	createLua string
	//go:embed lua/handover.lua
	handoverLua string
	//go:embed lua/delete.lua
	deleteLua string
	//go:embed lua/enlist.lua
	enlistLua string
	//go:embed lua/end.lua
	endLua string
	//go:embed lua/revoke.lua
	revokeLua string

	constantsLua = fmt.Sprintf("local WINDOW, MOST, TOUCHES, AGE = %d, %d, %d, %d\n",
		operationAge.Microseconds(), operationMax, touchFraction, tombstoneAge.Milliseconds())

	writeScript    = script(writeLua)
	createScript   = script(createLua)
	handoverScript = script(handoverLua)
	deleteScript   = script(deleteLua)
	enlistScript   = script(enlistLua)
	endScript      = script(endLua)
	revokeScript   = script(revokeLua)
)

func script(own string) *redis.Script { return redis.NewScript(constantsLua + commonLua + own) }

// The names of a session's fields; lua/common.lua says what they hold.
const (
	fieldID         = "i"
	fieldUser       = "u"
	fieldNote       = "n"
	fieldLimits     = "m"
	fieldUsed       = "t"
	fieldOperations = "o"
	fieldEnded      = "x"

	ownFields = 5 // that a signed-in session has at least, beside its values

	valuePrefix = ":"
	flashPrefix = "!"
)

// arguments are what a script gets: numbers, texts, and lists with their length in front.
type arguments []any

// newArguments returns an empty list with room for what a script gets for the change.
func newArguments(c *Change) arguments {
	const fixed = 32 // the most that any has besides: numbers, lengths of lists, and fields of the session itself
	return make(arguments, 0, fixed+len(c.Keep)+len(c.Deleted)+len(c.FlashesTaken)+2*len(c.Set)+2*len(c.FlashesAdded)+3*len(c.Expect))
}

func (a *arguments) add(items ...any) { *a = append(*a, items...) }

// change adds what a change keeps, deletes, expects, and sets (after the pairs given).
func (a *arguments) change(c *Change, pairs []any) {
	r := c.Record
	a.list(prefixed(valuePrefix, c.Keep))
	a.list(append(prefixed(valuePrefix, c.Deleted), prefixed(flashPrefix, c.FlashesTaken)...))
	a.list(expectations(c))
	for _, key := range c.Set {
		pairs = append(pairs, valuePrefix+key, []byte(r.Values[key]))
	}
	for _, id := range c.FlashesAdded {
		pairs = append(pairs, flashPrefix+id, []byte(r.Flashes[id]))
	}
	a.list(pairs)
}

// attributePairs returns the fields of the session itself, but for its limits. A new one does without those that would
// be empty.
func attributePairs(r *Record, create bool) (pairs []any) {
	if r.Note != "" || !create {
		pairs = append(pairs, fieldNote, r.Note)
	}
	if r.User != "" {
		pairs = append(pairs, fieldUser, r.User)
	}
	return pairs
}

// operationMark is what Redis keeps of a change's operation: of one length, since the scripts count on it.
func operationMark(operation string) string {
	if operation == "" || len(operation) == base64url.EncodedLen(operationSize) {
		return operation
	}
	sum := sha256.Sum256([]byte(operation))
	return base64url.EncodeToString(sum[:operationSize])
}

func (a *arguments) list(items []any) {
	a.add(len(items))
	a.add(items...)
}

func prefixed(prefix string, names []string) []any {
	items := make([]any, len(names))
	for i, name := range names {
		items[i] = prefix + name
	}
	return items
}

// expectations returns, for each value that must be stored still, its field, whether there is to be one, and the value.
func expectations(c *Change) []any {
	var items []any
	for key, raw := range c.Expect {
		items = append(items, valuePrefix+key, flag(raw != nil), []byte(raw))
	}
	return items
}

func flag(b bool) int {
	if b {
		return 1
	}
	return 0
}

func micros(t time.Time) int64 { return t.UnixMicro() }

// packLimits returns the field of times and limits: created, and counted from there the deadline; idle, persistent,
// authenticated, issued.
func packLimits(r *Record) string {
	login := "-"
	if !r.Authenticated.IsZero() {
		login = sinceCreated(r, r.Authenticated)
	}
	return fmt.Sprintf("%d %s %d %d %s %s", micros(r.Created), sinceCreated(r, r.Deadline), r.Idle.Microseconds(), flag(r.Persistent), login, issuedAt(r))
}

func issuedAt(r *Record) string { return sinceCreated(r, r.Issued) }

func sinceCreated(r *Record, t time.Time) string {
	return strconv.FormatInt(micros(t)-micros(r.Created), 10)
}

// readRecord makes a Record of a hash's fields. What is not a session of this id is not found.
func readRecord(id string, fields map[string]string) (*Record, error) {
	if len(fields) == 0 {
		return nil, ErrNotFound
	}
	if _, ended := fields[fieldEnded]; ended {
		return nil, errEnded
	}
	r := &Record{ID: fields[fieldID], User: fields[fieldUser], Note: fields[fieldNote]}
	used, err := strconv.ParseInt(fields[fieldUsed], 10, 64)
	if r.ID != id || err != nil || !readLimits(r, fields[fieldLimits]) {
		return nil, errUnreadable
	}
	r.Used = time.UnixMicro(used).UTC()
	r.Values = make(map[string]json.RawMessage, max(len(fields)-ownFields, 0))
	for field, value := range fields {
		switch field[:min(len(field), 1)] {
		case valuePrefix:
			r.Values[field[1:]] = json.RawMessage(value)
		case flashPrefix:
			put(&r.Flashes, field[1:], json.RawMessage(value))
		}
	}
	return r, nil
}

// readLimits reads what packLimits wrote.
func readLimits(r *Record, text string) bool {
	const login = 4
	var numbers [6]int64
	authenticated := true
	for i := range numbers {
		var word string
		word, text, _ = strings.Cut(text, " ")
		if word == "-" && i == login {
			authenticated = false
			continue
		}
		var err error
		if numbers[i], err = strconv.ParseInt(word, 10, 64); err != nil {
			return false
		}
	}
	at := func(since int64) time.Time { return time.UnixMicro(numbers[0] + since).UTC() }
	r.Created, r.Deadline, r.Issued = at(0), at(numbers[1]), at(numbers[5])
	if authenticated {
		r.Authenticated = at(numbers[login])
	}
	r.Idle, r.Persistent = time.Duration(numbers[2])*time.Microsecond, numbers[3] == 1
	return text == "" && numbers[2] >= 0 && numbers[2] <= maxLifetime.Microseconds()
}
