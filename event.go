package session

import "time"

// EventKind says what happened to a session.
type EventKind string

// The kinds of events. Each Event carries the session's handle and user where they are known; that of RevokeUser has no
// handle. Sessions that MaxPerUser ends give no event, and what fails in Sessions, Revoke and RevokeUser gives its error.
// The reasons are, for EventRevoked, "one", "all" (RevokeUser) and "revalidation"; for EventExpired "idle" and "absolute";
// for EventRejected "malformed", "unknown", "bad seal", "ended", "unreadable" and "ended meanwhile"; for EventConflict
// "update"; for EventLateWrite "not kept" and "after the request"; for EventStoreError the StoreError's Op.
const (
	EventCreated     EventKind = "created"     // a session was stored for the first time
	EventLoggedIn    EventKind = "logged in"   // by Login
	EventRegenerated EventKind = "regenerated" // a new id for the same session
	EventDestroyed   EventKind = "destroyed"   // by Destroy
	EventRevoked     EventKind = "revoked"     // by Revoke, RevokeUser, or Config.Revalidate
	EventExpired     EventKind = "expired"     // met after its idle or absolute limit; the reason says which
	EventRejected    EventKind = "rejected"    // a cookie that opens nothing: malformed, unknown, a bad seal, ended
	EventConflict    EventKind = "conflict"    // Update met another request's change, and was made again
	EventLateWrite   EventKind = "late write"  // a change that could not be kept, since it came too late
	EventStoreError  EventKind = "store error" // Err says which
)

// Event tells an application what happened, for an audit log or for metrics (ASVS 5.0, 16.3). It never holds a token.
type Event struct {
	Kind   EventKind
	ID     string    // the session's public handle; empty where none is known
	User   string    // empty for an anonymous session
	Reason string    // of the few that the kinds name, so that it can be a metric's label
	Err    error     // for EventStoreError and EventLateWrite
	Time   time.Time // by Config.Clock
}
