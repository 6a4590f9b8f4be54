package session

import "time"

// EventKind says what happened to a session.
type EventKind string

// The kinds of events. Each Event carries the session's ID and user where they are known; those of RevokeUser, RevokeTag and
// RevokeAll have no ID.
const (
	EventReauthenticated EventKind = "reauthenticated" // a new ID and a new time of authentication, by Reauthenticate

	EventCreated     EventKind = "created"     // a session was stored for the first time
	EventAdopted     EventKind = "adopted"     // taken over from another library, by Config.Adopt
	EventLoggedIn    EventKind = "logged in"   // by Login
	EventRegenerated EventKind = "regenerated" // a new ID for the same session: by Regenerate or RenameUser
	EventDestroyed   EventKind = "destroyed"   // by Destroy
	EventRevoked     EventKind = "revoked"     // by Revoke, RevokeUser, RevokeTag, RevokeAll or Config.Revalidate; the reason says which
	EventEvicted     EventKind = "evicted"     // ended at a login, since the user had more than Config.MaxPerUser
	EventRefused     EventKind = "refused"     // a login over Config.MaxPerUser, with Refuse
	EventExpired     EventKind = "expired"     // met after its idle or absolute limit; the reason says which
	EventRejected    EventKind = "rejected"    // a cookie that opens nothing; the reason says why
	EventConflict    EventKind = "conflict"    // a commit met another request's, and its changes were made again
	EventLateWrite   EventKind = "late write"  // a change that could not be kept, since it came too late
	EventBound       EventKind = "bound"       // a browser has registered a key of its device for the session
	EventUnproven    EventKind = "unproven"    // a request of a bound session without proof of the device; the reason says why
	EventStoreError  EventKind = "store error" // Err says which; the reason is its Op
)

// Reason says more about an event. There are only a few, so that a metric can use it as a label.
type Reason string

// The reasons, by the kinds of events that have them. EventStoreError's are the Ops.
const (
	ReasonOne          Reason = "one"          // EventRevoked: by Revoke
	ReasonAll          Reason = "all"          // EventRevoked: by RevokeUser
	ReasonTag          Reason = "tag"          // EventRevoked: by RevokeTag
	ReasonEveryone     Reason = "everyone"     // EventRevoked: by RevokeAll
	ReasonRevalidation Reason = "revalidation" // EventRevoked: by Config.Revalidate

	ReasonOverLimit Reason = "over limit" // EventRefused, and the end reason of EventEvicted: more than Config.MaxPerUser

	ReasonLogout      Reason = "logout"      // an end reason: by Destroy
	ReasonLogin       Reason = "login"       // an end reason: by a Login, which began another session
	ReasonRegenerated Reason = "regenerated" // an end reason: it goes on under another ID

	ReasonIdle     Reason = "idle"     // EventExpired: not used for Config.IdleTimeout
	ReasonAbsolute Reason = "absolute" // EventExpired: past Config.Lifetime

	ReasonMalformed      Reason = "malformed"       // EventRejected: no token
	ReasonUnknown        Reason = "unknown"         // EventRejected: there is no such session
	ReasonBadSeal        Reason = "bad seal"        // EventRejected: no secret opens the cookie
	ReasonUnreadable     Reason = "unreadable"      // EventRejected: what is stored makes no sense
	ReasonEnded          Reason = "ended"           // EventRejected: the session ended a moment ago
	ReasonEndedMeanwhile Reason = "ended meanwhile" // EventRejected: the session ended while the request was under way

	ReasonNoProof      Reason = "no proof"      // EventUnproven: the bound cookie is missing
	ReasonProofExpired Reason = "proof expired" // EventUnproven: the bound cookie has run out
	ReasonBadProof     Reason = "bad proof"     // EventUnproven: a bound cookie or a token that is not the session's
	ReasonOldChallenge Reason = "old challenge" // EventUnproven: a token for a challenge that has run out, or was answered

	ReasonNotKept      Reason = "not kept"      // EventLateWrite: changed after the response had started. EventUnproven: set without proof
	ReasonAfterRequest Reason = "after request" // EventLateWrite: changed after the handler had returned
)

// Event tells the application what happened, for an audit log or for metrics (ASVS 5.0, 16.3). It never holds a token.
type Event struct {
	Kind   EventKind
	ID     string // the session's public ID; empty where none is known
	User   string // empty for an anonymous session
	Reason Reason
	Err    error     // for EventStoreError, EventLateWrite, EventRejected where Config.Adopt's session is not adopted, and EventUnproven
	Time   time.Time // by Config.Clock

	// EndReason says why the session ended: one of the reasons above, or that of WithReason. It is set for
	// EventRevoked. It is also set for EventRejected if the session has ended and the store still knows why.
	EndReason Reason
}
