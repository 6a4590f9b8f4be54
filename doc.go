// Package session keeps HTTP sessions: a net/http middleware puts a [Session] into each request's context, a [Store]
// keeps it in a sealed cookie, in memory or in Redis, and the cookie has safe attributes unless told otherwise.
//
//	store, err := session.NewCookieStore(secrets...)
//	sessions, err := session.New(store, session.Config{})
//	http.ListenAndServe(":8080", sessions.Middleware(mux))
//
// # In a handler
//
// [FromContext] returns the session, without asking the store. The first method that needs its content loads it. Changes
// are committed just before the response's first byte: if the commit fails the client gets an error, and nothing that the
// handler wrote. [Session.Login] gives a new ID, which stops session fixation; [Session.Destroy] logs out. [Key] names a
// value of a type.
//
// A request that does not use its session costs the store nothing.
//
// # Requests at the same time
//
// What a request changes is a log of changes. A commit makes the log on what is stored at that moment, and puts the result
// in its place by compare-and-swap. So requests of one session that change different values all keep their changes, and
// [Key.Update] keeps each change of one value. A request that is still under way when its session ends, by logout or
// revocation elsewhere, never brings it back. What a cookie store can't promise is said at [CookieStore].
//
// # Stores
//
// [CookieStore], [MemoryStore] and [RedisStore] are in this package. A store of one's own has two methods, [Store]; package
// storetest tests it. Package sessiontest tests handlers.
//
// docs/design.md in the repository says how it works, and why.
package session
