// Package session keeps HTTP sessions. A net/http middleware puts a [Session] into each request's context. A [Store] keeps
// it: in an encrypted cookie, in memory, in Redis, or in a database. The cookie is safe as it is.
//
//	store, err := session.NewCookieStore(secrets...)
//	sessions, err := session.New(store, session.Config{})
//	http.ListenAndServe(":8080", sessions.Middleware(mux))
//
// # The life of a request
//
//  1. [Manager.Middleware] makes an empty Session. Nothing is asked of the store, and a request that does not use its session
//     never asks it.
//  2. The handler takes the session with [FromContext]. The first method that needs its content loads it.
//  3. Methods like [Session.Set] and [Key.Update] note changes. The handler sees them at once; the store does not.
//  4. Just before the response's first byte the changes are committed, and the cookie goes into the header. If the commit
//     fails the client gets an error, and nothing that the handler wrote.
//  5. What is changed after the first byte is committed when the handler returns. What can't be kept is reported.
//
// [Session.Login] signs in: a new ID, which stops session fixation, and a new lifetime. [Session.Regenerate] gives a new ID
// and keeps the rest. [Session.Destroy] signs out. [Session.Save] commits at once, for handlers that stream.
//
// # Stores
//
// [CookieStore] needs no server, and has limits that its documentation names. [MemoryStore] is for one process. [RedisStore]
// is for Redis or Valkey, alone, with Sentinel or in a cluster. Modules beside this package have stores for SQL databases and
// MongoDB. A store of one's own has two methods, see [Store]; package storetest tests it.
//
// # Requests at the same time
//
// A commit makes a request's changes on what is stored at that moment, and puts the result in its place by compare-and-swap.
// So requests of one session that change different values all keep their changes, and [Key.Update] keeps each change of one
// value. A request that is under way when its session ends, by a logout or a revocation elsewhere, never brings it back. All
// methods of a Session are safe for use by several goroutines.
//
// # Tests
//
// Package sessiontest has sessions and stores for tests of handlers.
//
// # Compatibility
//
// Before version 1 a minor version may change the API; the changelog says how. Cookies, and what stores hold, stay readable:
// a release reads what every older release wrote, and it can read a new format before a release writes it. So a rolling
// update, and a step back by one release, sign nobody out.
package session
