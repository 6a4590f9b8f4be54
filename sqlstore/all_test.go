package sqlstore_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session"
)

// All that is kept of a realm comes, page by page, whatever else is in the table.
func TestAll_GoesThroughTheRealm(t *testing.T) {
	each(t, databases, func(t *testing.T, d database) {
		s, _ := d.store(t)
		var want []string
		for i := range 1203 { // two pages and a part
			r := newRecord(fmt.Sprintf("id-%04d", i), []string{"", "ada", "grace"}[i%3])
			if i%5 == 0 {
				r.Realm = "another"
			} else {
				want = append(want, r.ID)
			}
			swap(t, s, session.Swap{New: r})
		}
		var got []string
		for r, err := range s.All(t.Context(), newRecord("x", "").Realm) {
			require.NoError(t, err)
			got = append(got, r.ID)
		}
		slices.Sort(got)
		require.Equal(t, want, got)
		for range s.All(t.Context(), "another") {
			break // which leaves nothing open
		}
		for range s.All(t.Context(), "no such realm") {
			t.Fatal("there is none")
		}
	})
}

// Rows that are stored and deleted meanwhile leave none of the others out.
func TestAll_WhileOthersChangeTheTable(t *testing.T) {
	each(t, databases, func(t *testing.T, d database) {
		s, _ := d.store(t)
		const stays = 700
		for i := range stays {
			swap(t, s, session.Swap{New: newRecord(fmt.Sprintf("id-%04d", i), "ada")})
		}
		seen := map[string]bool{}
		for r, err := range s.All(t.Context(), newRecord("x", "").Realm) {
			require.NoError(t, err)
			if seen[r.ID] = true; len(seen) == 10 {
				for i := range 600 {
					swap(t, s, session.Swap{New: newRecord(fmt.Sprintf("id-%04d-more", i), "grace")})
				}
			}
		}
		for i := range stays {
			require.True(t, seen[fmt.Sprintf("id-%04d", i)])
		}
	})
}

func TestAll_TellsOfAFailure(t *testing.T) {
	each(t, databases, func(t *testing.T, d database) {
		s, _ := d.store(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for r, err := range s.All(ctx, "r") {
			require.Nil(t, r)
			require.Error(t, err)
		}
	})
}

// A Manager goes through its sessions, and ends them all.
func TestAll_ServesAManager(t *testing.T) {
	each(t, databases, func(t *testing.T, d database) {
		s, _ := d.store(t)
		sessions, err := session.New(s, session.Config{Realm: newRecord("x", "").Realm})
		require.NoError(t, err)
		for i := range 30 {
			swap(t, s, session.Swap{New: newRecord(fmt.Sprint("id-", i), "ada")})
		}
		n := 0
		for _, err := range sessions.Each(t.Context()) {
			require.NoError(t, err)
			n++
		}
		require.Equal(t, 30, n)
		ended, err := sessions.RevokeAll(t.Context())
		require.NoError(t, err)
		require.Equal(t, 30, ended)
		for range sessions.Each(t.Context()) {
			t.Fatal("all have ended")
		}
	})
}
