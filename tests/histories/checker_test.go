package histories_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session"
)

// operation is one that lies between two times.
func operation(call, end int64, k kind, value int, out output) porcupine.Operation {
	return porcupine.Operation{Input: input{k, value}, Call: call, Output: out, Return: end}
}

// The checker knows what is right and what is not.
func TestCheck(t *testing.T) {
	ok, unknown, ended, refused := output{}, output{unknown: true}, output{ended: true}, output{ended: true, refused: true}
	for _, c := range []struct {
		name    string
		history []porcupine.Operation
		want    porcupine.CheckResult
	}{
		{"a lost update", []porcupine.Operation{operation(0, 9, update, 0, ok), operation(1, 8, update, 0, ok), operation(10, 11, get, 0, output{count: 1})}, porcupine.Illegal},
		{"both updates", []porcupine.Operation{operation(0, 9, update, 0, ok), operation(1, 8, update, 0, ok), operation(10, 11, get, 0, output{count: 2})}, porcupine.Ok},
		{"an unknown one that was made late", []porcupine.Operation{operation(0, never, update, 0, unknown), operation(2, 3, get, 0, ok), operation(4, 5, get, 0, output{count: 1})}, porcupine.Ok},
		{"an unknown one that was made twice", []porcupine.Operation{operation(0, never, update, 0, unknown), operation(2, 3, get, 0, output{count: 2})}, porcupine.Illegal},
		{"an unknown one that was undone", []porcupine.Operation{operation(0, never, set, 7, unknown), operation(2, 3, get, 0, output{value: 7}), operation(4, 5, get, 0, ok)}, porcupine.Illegal},
		{"an old value", []porcupine.Operation{operation(0, 1, set, 7, ok), operation(2, 3, get, 0, ok)}, porcupine.Illegal},
		{"a resurrection", []porcupine.Operation{operation(0, 1, destroy, 0, ok), operation(2, 3, get, 0, ok)}, porcupine.Illegal},
		{"a change after the end", []porcupine.Operation{operation(0, 1, login, 0, ok), operation(2, 3, set, 7, ok)}, porcupine.Illegal},
		{"an end that nobody made", []porcupine.Operation{operation(0, 1, set, 7, ended)}, porcupine.Illegal},
		{"a refusal of what was not made", []porcupine.Operation{operation(0, 9, set, 7, refused), operation(1, 8, login, 0, ok), operation(2, 7, get, 0, ok)}, porcupine.Ok},
		{"a refusal of what was made and then ended", []porcupine.Operation{operation(0, 9, set, 7, refused), operation(1, 8, login, 0, ok), operation(2, 7, get, 0, output{value: 7})}, porcupine.Ok},
		{"a refusal of what is seen later", []porcupine.Operation{operation(0, 3, set, 7, refused), operation(1, 8, login, 0, ok), operation(4, 7, get, 0, output{value: 7})}, porcupine.Illegal},
		{"a refusal without an end", []porcupine.Operation{operation(0, 9, set, 7, refused), operation(2, 7, get, 0, output{value: 7})}, porcupine.Illegal},
		{"a change in a session that was revoked, made all the same", []porcupine.Operation{operation(0, 9, set, 7, ended), operation(1, 8, revoke, 0, ok), operation(2, 7, get, 0, output{value: 7})}, porcupine.Illegal},
		{"a second end", []porcupine.Operation{operation(0, 1, revoke, 0, ok), operation(2, 3, destroy, 0, ok), operation(4, 5, revoke, 0, ended)}, porcupine.Ok},
	} {
		t.Run(c.name, func(t *testing.T) {
			result, _ := check(c.history)
			require.Equal(t, c.want, result)
		})
	}
}

// careless is a store that overwrites what has changed since it was loaded.
type careless struct{ *session.MemoryStore }

// Swap implements session.Store.
func (c careless) Swap(ctx context.Context, token session.Token, swaps ...session.Swap) (session.Token, error) {
	time.Sleep(time.Millisecond) // as a database's answer takes
	for i := range swaps {
		current, err := c.Load(ctx, session.NewToken(swaps[i].New.ID, ""))
		if errors.Is(err, session.ErrNotFound) {
			current = nil
		}
		swaps[i].Old = current
	}
	return c.MemoryStore.Swap(ctx, token, swaps...)
}

// A store that loses updates, and one that brings back what has ended, is found by its histories.
func TestHistories_FindACarelessStore(t *testing.T) {
	store := careless{session.NewMemoryStore()}
	l := newLoad(t, []session.Store{store, store})
	l.run(2 * time.Second)
	illegal := 0
	for _, h := range l.histories {
		if result, _ := check(h.operations); result == porcupine.Illegal {
			illegal++
		}
	}
	require.NotZero(t, illegal)
	t.Logf("%d of %d histories are not linearizable", illegal, len(l.histories))
}
