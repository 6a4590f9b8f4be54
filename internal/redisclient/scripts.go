package redisclient

import (
	"context"
	"crypto/sha1" //nolint:gosec // it is how Redis names scripts
	"encoding/hex"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/redis/go-redis/v9"
)

// Scripts write values and lists with the same time to live. The server's clock counts that time, so that the clock of
// one process does not decide about the writes of another. Scripts drop the members of a list whose time was over a
// minute ago. A list lives as long as its longest member. A script uses the right to set a time to live before it adds
// the first member: if that right is missing, no list is left behind that stays for ever.
//
// A script that gets a channel publishes the key at the end. It is no error if nobody listens, or if the right to
// publish is missing.

// openList and closeList go around the command that puts members into a list. They need the variables list, life and
// now. A new list begins with a ZADD that adds nothing: if Redis has no memory left, it refuses this first write, but
// would not refuse a later one of the same script. PEXPIRE comes before the first member, because the right to it may
// be missing.
const (
	openList = `
local left = redis.call('PTTL', list)
if left == -2 then
  redis.call('ZADD', list, 'XX', 0, '')
  redis.call('PEXPIRE', list, life)
end
`
	closeList = `
if left < life then redis.call('PEXPIRE', list, life) end
redis.call('ZREMRANGEBYSCORE', list, '-inf', now - 60000)
`
	addMember = openList + "redis.call('ZADD', list, now + life, member)" + closeList
)

const readClock = `
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
`

var (
	// swapScript replaces one value. It returns 1, or after a conflict the stored value. If nothing may be stored, old
	// is empty, and GETRANGE from 0 to -1 reads the whole value. The fourth argument is how many replicas the caller
	// waits for: if there are any, it writes even if the swap was made before, so that a WAIT after it means something.
	swapScript = newScript(0, `
local key, old, new = KEYS[1], ARGV[1], ARGV[2]
if redis.call('GETRANGE', key, 0, #old - 1) ~= old then
  local stored = redis.call('GET', key)
  local size = string.byte(new) + 1
  if not stored or string.sub(stored, 1, size) ~= string.sub(new, 1, size) then
    if stored and ARGV[4] and ARGV[4] ~= '0' then redis.call('SET', key, stored, 'KEEPTTL') end
    return stored
  end
end
redis.call('SET', key, new, 'PX', ARGV[3])
if ARGV[5] then redis.pcall('PUBLISH', ARGV[5], key) end
return 1`)

	// swapAllScript replaces several values, all or none, and puts members into lists. It returns 1, or after a
	// conflict the place of the swap and the stored value. The lists come first: if they fail, the values must stay as
	// they are.
	swapAllScript = newScript(1, `
local count = tonumber(ARGV[1])
for i = 1, count do
  local key, old, new = KEYS[i], ARGV[3 * i], ARGV[3 * i + 1]
  if redis.call('GETRANGE', key, 0, #old - 1) ~= old then
    local stored = redis.call('GET', key)
    local size = string.byte(new) + 1
    if not stored or string.sub(stored, 1, size) ~= string.sub(new, 1, size) then
      if stored and ARGV[2] ~= '0' then redis.call('SET', key, stored, 'KEEPTTL') end
      return {i, stored}
    end
  end
end
local at = 3 * count + 3
if KEYS[count + 1] then
`+readClock+`
  for i = count + 1, #KEYS do
    local list, life, size = KEYS[i], tonumber(ARGV[at]), tonumber(ARGV[at + 1])
    local members = {}
    for j = 2, 2 * size, 2 do
      members[j - 1], members[j] = now + ARGV[at + j + 1], ARGV[at + j]
    end
    at = at + 2 * size + 2
    `+openList+"redis.call('ZADD', list, unpack(members))"+closeList+`
  end
end
for i = 1, count do redis.call('SET', KEYS[i], ARGV[3 * i + 1], 'PX', ARGV[3 * i + 2]) end
for i = at, #ARGV, 2 do redis.pcall('PUBLISH', ARGV[i], KEYS[tonumber(ARGV[i + 1])]) end
return 1`)

	// endScript puts a final value in the place of any value that is not final, and returns the value that it found. It
	// writes a final value again, unchanged, so that a WAIT after it means something. A list that fails does not keep
	// it from replacing the value.
	endScript = newScript(2, `
local stored = redis.call('GET', KEYS[1])
if stored then
  local size = string.byte(stored) or 0
  if string.sub(stored, size + 2, size + 2) == 'T' then
    redis.call('SET', KEYS[1], stored, 'KEEPTTL')
    return stored
  end
end
if KEYS[2] then
  local list, member, life = KEYS[2], ARGV[3], tonumber(ARGV[2])
  `+readClock+strings.ReplaceAll(addMember, "redis.call", "redis.pcall")+`
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
if ARGV[4] ~= '' then redis.pcall('PUBLISH', ARGV[4], KEYS[1]) end
return stored`)

	// enlistScript puts a member into a list, if scripts may not use several keys. It does not shorten a member's time,
	// because another process may just have extended it. Only a final time may be shorter.
	enlistScript = newScript(3, `
local list, member, life = KEYS[1], ARGV[1], tonumber(ARGV[2])
`+readClock+`
local known = redis.call('ZSCORE', list, member)
if ARGV[3] == '0' and known and tonumber(known) > now + life then life = tonumber(known) - now end
`+addMember+`
return 1`)

	// listScript returns a list's members, and the first bytes of the values of the first members.
	listScript = newScript(4, `
local members = redis.call('ZRANGE', KEYS[1], 0, -1)
local heads = {}
for i = 1, math.min(#members, tonumber(ARGV[3])) do
  local head = redis.pcall('GETRANGE', ARGV[1] .. members[i], 0, ARGV[2])
  if type(head) == 'table' then head = '' end
  heads[i] = head
end
return {members, heads}`)

	scripts = []*script{swapScript, swapAllScript, endScript, enlistScript, listScript}
)

type script struct {
	place     int // in scripts
	text, sha string
}

func newScript(place int, text string) *script {
	sum := sha1.Sum([]byte(text)) //nolint:gosec // as above
	return &script{place, text, hex.EncodeToString(sum[:])}
}

// call is one run of a script.
type call struct {
	script *script
	key    string // the first key, which tells the server
	args   []any  // of the command: room for its name and the script, the number of keys, the keys, and the arguments
}

func newCall(s *script, keys []string, args ...any) call {
	all := append(make([]any, 0, 3+len(keys)+len(args)), nil, nil, len(keys))
	for _, key := range keys {
		all = append(all, key)
	}
	return call{s, keys[0], append(all, args...)}
}

// command returns the call as a command. If the server knows the script, the command has only its hash, and otherwise
// the whole script.
func (c call) command(ctx context.Context, known bool) *redis.Cmd {
	if known {
		c.args[0], c.args[1] = "evalsha", c.script.sha
		return redis.NewCmd(ctx, c.args...)
	}
	args := slices.Clone(c.args) // another command may still use them
	args[0], args[1] = "eval", c.script.text
	return redis.NewCmd(ctx, args...)
}

// node is a server, and which scripts it knows.
type node struct{ known [5]atomic.Bool }

func (n *node) knows(s *script) bool { return n.known[s.place].Load() }
func (n *node) learn(s *script)      { n.known[s.place].Store(true) }

// node returns the server that has the key.
func (c *Client) node(ctx context.Context, key string) *node {
	cluster, ok := c.redis.(*redis.ClusterClient)
	if !ok {
		return &c.single
	}
	master, err := cluster.MasterForKey(ctx, key)
	if err != nil {
		return new(node) // the call will return the error
	}
	return c.nodeAt(master.Options().Addr)
}

func (c *Client) nodeAt(addr string) *node {
	known, _ := c.nodes.LoadOrStore(addr, new(node))
	return known.(*node)
}

// loadScripts loads the scripts into every server, so that their first use takes no second round trip.
func (c *Client) loadScripts(ctx context.Context) error {
	cluster, ok := c.redis.(*redis.ClusterClient)
	if !ok {
		return loadScriptsAt(ctx, c.redis, &c.single)
	}
	return cluster.ForEachMaster(ctx, func(ctx context.Context, master *redis.Client) error {
		return loadScriptsAt(ctx, master, c.nodeAt(master.Options().Addr))
	})
}

func loadScriptsAt(ctx context.Context, client redis.UniversalClient, at *node) error {
	_, err := client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, s := range scripts {
			p.ScriptLoad(ctx, s.text)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, s := range scripts {
		at.learn(s)
	}
	return nil
}
