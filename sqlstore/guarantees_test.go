package sqlstore_test

import (
	"path/filepath"
	"testing"

	"github.com/doorman-go/session/tests/kit"
)

// TestGuarantees runs the tests of the guarantees, races and revocations that are run over every kind of store, on each
// database, with one process and with two, each with a pool of connections of its own.
func TestGuarantees(t *testing.T) {
	each(t, databases, func(t *testing.T, d database) {
		dsn, table := d.dsn(t), newTable()
		a, db := d.storeIn(t, d.open(t, dsn), table), d.open(t, dsn)
		b := d.storeIn(t, db, table)
		socket := filepath.Join(t.TempDir(), "stores")
		kit.ServeStores(t, socket, func() error { _, err := db.Exec("DELETE FROM " + table); return err }, a, b)
		kit.RunSuite(t, "..", d.name, socket)
	})
}
