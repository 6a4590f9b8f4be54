package storetest_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/storetest"
)

// TestStores runs the contract on the stores of the package, and on what others may build.
func TestStores(t *testing.T) {
	for name, newStore := range map[string]func(*testing.T) session.Store{
		"memory":          func(*testing.T) session.Store { return session.NewMemoryStore() },
		"records as JSON": keptAs(json.Marshal, json.Unmarshal),
		"binary records": keptAs(
			func(r any) ([]byte, error) { return r.(*record).MarshalBinary() },
			func(raw []byte, r any) error { return r.(*record).UnmarshalBinary(raw) }),
		"times in another zone": func(*testing.T) session.Store {
			return complete{newFlawed(flaw{stored: func(_ *flawed, w swap, _ *record, _ bool, _ time.Time) *record {
				return edited(w.New, func(r *record) { r.Deadline = r.Deadline.In(time.FixedZone("elsewhere", 3600)) })
			}})}
		},
		"conflicts that say the ID only": func(*testing.T) session.Store {
			return complete{newFlawed(flaw{conflict: func(w swap, _ *record, _ []swap) *session.ConflictError {
				return &session.ConflictError{ID: w.New.ID}
			}})}
		},
	} {
		t.Run(name, func(t *testing.T) { storetest.Run(t, newStore) })
	}
}

// keptAs returns a store that keeps records as bytes, and not as they were given.
func keptAs(marshal func(any) ([]byte, error), unmarshal func([]byte, any) error) func(*testing.T) session.Store {
	return func(t *testing.T) session.Store {
		return complete{newFlawed(flaw{stored: func(_ *flawed, w swap, _ *record, _ bool, _ time.Time) *record {
			raw, err := marshal(w.New)
			if err != nil {
				t.Error(err)
				return w.New
			}
			r := new(record)
			if err := unmarshal(raw, r); err != nil {
				t.Error(err)
			}
			return r
		}})}
	}
}
