package main

import (
	"errors"
	"go/parser"
	"go/token"
	"testing"

	"github.com/stretchr/testify/require"
)

// Each mutation applies to the code as it is and compiles, and the documents have its rule and its tests.
func TestMutations_Apply(t *testing.T) {
	work, err := newWorkshop(0)
	require.NoError(t, err)
	t.Cleanup(work.close)
	all := allMutations()
	wrong, err := work.check(t.Context(), all, all)
	require.NoError(t, err)
	require.Empty(t, wrong)
}

// What only looks like a test that fails is told from one.
func TestJudge(t *testing.T) {
	exited := errors.New("exit status 1")
	require.Equal(t, passed, judge("PASS\n", nil))
	require.Equal(t, failed, judge("--- FAIL: TestX\nFAIL\n", exited))
	require.Equal(t, failed, judge("panic: x\n\ngoroutine 1\n", exited))
	require.Equal(t, failed, judge("fatal error: all goroutines are asleep - deadlock!\n", exited))
	require.Equal(t, hung, judge("panic: test timed out after 20s\n", exited))
	require.Equal(t, noTests, judge("testing: warning: no tests to run\nPASS\n", nil))
	require.Equal(t, notRun, judge("", exited))
}

const garden1 = `package p

const limit = 1

func (s *store) load(id string, more ...int) (int, error) { return len(id), nil }

func generic[T any](v T) T { return v }

func unnamed(_ int) {}

func close() { limit() }
`

func TestGarden(t *testing.T) {
	g := newGarden()
	plant := func(number int, find, with string) bool {
		w := mutation{file: "p.go", number: number}
		return g.plant(w, garden1, replaceOnce(t, garden1, find, with))
	}
	require.True(t, plant(1, "len(id), nil", "0, nil"))
	require.True(t, plant(2, "len(id), nil", "1, nil"))
	require.True(t, plant(3, "limit()", ""))
	require.False(t, plant(4, "limit = 1", "limit = 2"), "a constant")
	require.False(t, plant(5, "{ return v }", "{ return *new(T) }"), "types can't always be inferred")
	require.False(t, plant(6, "(_ int) {}", "(_ int) { close() }"), "a parameter that can't be handed on")
	require.False(t, plant(7, "id string,", "name string,"), "more than a body")
	require.False(t, plant(8, "package p", "package p // q"), "nothing that is run")
	texts := g.texts()
	require.Len(t, texts, 2)
	for name, text := range texts {
		_, err := parser.ParseFile(token.NewFileSet(), name, text, 0)
		require.NoError(t, err, text)
	}
	text := texts["p.go"]
	require.Contains(t, text, " if activeMutation == 1 { return s.mutation1_load(id, more...) };"+
		" if activeMutation == 2 { return s.mutation2_load(id, more...) };")
	require.Contains(t, text, "func (s *store) mutation1_load(id string, more ...int) (int, error) { return 0, nil }")
	require.Contains(t, text, "func close() { if activeMutation == 3 { mutation3_close(); return }; limit() }")
	require.Contains(t, text, "func mutation3_close() {  }")
}

func replaceOnce(t *testing.T, text, find, with string) string {
	t.Helper()
	changed, err := replaceText(text, find, with)
	require.NoError(t, err)
	return changed
}
