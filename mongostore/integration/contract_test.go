package integration_test

import (
	"testing"

	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/storetest"
)

// Each call is another process's: it has a client of its own.
func TestStore_KeepsTheContract(t *testing.T) {
	server := sharedServer(t)
	collections := map[*testing.T]*mongo.Collection{}
	storetest.Run(t, func(t *testing.T) session.Store {
		client := connect(t, server.address)
		if collections[t] == nil {
			collections[t] = newCollection(t, client)
		}
		return newIndexedStore(t, on(client, collections[t]))
	})
}
