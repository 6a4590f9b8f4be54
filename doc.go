// Package session provides HTTP sessions. A net/http middleware puts a [Session] into each request's context. A [Store] keeps
// the sessions: in an encrypted cookie, in memory, in Redis, or in a database. The zero [Config] is safe.
//
//	store, err := session.NewCookieStore(secrets...)
//	sessions, err := session.New(store, session.Config{})
//	http.ListenAndServe(":8080", sessions.Middleware(mux))
//
// # The life of a request
//
//  1. [Manager.Middleware] makes an empty Session. It does not ask the store. A request that does not use its session never
//     asks it.
//  2. The handler gets the session from [FromContext]. The first method that needs the session's content loads it.
//  3. Methods such as [Session.Set] and [Key.Update] record changes. The handler sees them at once, and the store does not.
//  4. Just before the first byte of the response the changes are committed, and the cookie goes into the header. If the commit
//     fails, the client gets an error, and nothing that the handler wrote.
//  5. Changes after the first byte are committed when the handler returns. A change that can't be kept is reported.
//
// [Session.Login] signs in: it starts a session with a new ID, which prevents session fixation, and a new lifetime.
// [Session.Regenerate] gives the session a new ID and keeps the rest. [Session.Destroy] signs out. [Session.Save] commits at
// once, for handlers that stream. [Session.Watch] tells an open connection when its session ends.
//
// # Stores
//
// [CookieStore] needs no server, and its documentation says what it can't do. [MemoryStore] is for one process. [RedisStore]
// is for Redis or Valkey: one server, Sentinel, or a cluster. The modules sqlstore and mongostore of the same repository have
// stores for PostgreSQL, MySQL, MariaDB, SQLite and MongoDB. A store of your own has two methods, see [Store]. Package
// storetest tests it.
//
// # Requests at the same time
//
// A commit makes a request's changes on the record that is stored at that moment, and replaces the record by compare-and-swap.
// So requests that change different values of one session all keep their changes, and [Key.Update] keeps every change of one
// value. If a session ends while a request is under way, by a logout or a revocation elsewhere, the request never brings it
// back. Several goroutines may use all methods of a Session at the same time.
//
// # Tests
//
// Package sessiontest has sessions and stores for tests of handlers.
//
// # More
//
// Module migrate takes over the live sessions of other libraries, see [Config.Adopt]. Modules promsession and otelsession make
// metrics and traces, see [Config.Observe]. Command sessionctl lists and ends sessions, and checks how a store is set up.
//
// # Compatibility
//
// Before version 1, a minor version may change the API, and the changelog says how. Cookies and stored sessions stay readable:
// a release reads what every older release wrote. A new format is first only read, and is written from a later release on. So
// a rolling update, or a step back by one release, signs nobody out.
package session
