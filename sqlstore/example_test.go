package sqlstore_test

import (
	"context"
	"database/sql"
	"log"
	"time"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/sqlstore"
)

func ExampleNew() {
	db, err := sql.Open("pgx", "postgres://app@db.example/app")
	if err != nil {
		log.Fatal(err)
	}
	store, err := sqlstore.New(db, sqlstore.Postgres, sqlstore.Options{})
	if err != nil {
		log.Fatal(err)
	}
	if err := store.CreateTable(context.Background()); err != nil {
		log.Fatal(err)
	}
	sessions, err := session.New(store, session.Config{})
	if err != nil {
		log.Fatal(err)
	}
	_ = sessions.Middleware
}

// Sweeping is the program's to start and to stop. Each process may do it; they do not get in each other's way.
func ExampleStore_Sweep() {
	sweep := func(ctx context.Context, store *sqlstore.Store) {
		const batch = 1000
		for ticker := time.NewTicker(10 * time.Minute); ctx.Err() == nil; {
			n, err := store.Sweep(ctx, batch)
			if err != nil {
				log.Printf("sweeping the sessions: %v", err)
			}
			if n == batch {
				continue // there is more
			}
			select {
			case <-ticker.C:
			case <-ctx.Done():
				ticker.Stop()
			}
		}
	}
	_ = sweep
}
