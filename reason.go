package session

import (
	"context"
	"errors"
	"unicode/utf8"
)

type reasonKey struct{}

// maxReason is how long a reason may be, in bytes.
const maxReason = 256

// WithReason returns a context for Manager.Revoke, RevokeUser, RevokeTag and RevokeAll. Sessions that they end get this
// reason, "password changed" for example, in place of the default one. Event.EndReason shows it, also for requests that
// send the ended session's cookie within a minute. It has at most 256 bytes. A CookieStore does not store it.
func WithReason(ctx context.Context, reason Reason) context.Context {
	return context.WithValue(ctx, reasonKey{}, reason)
}

// reasonOf returns the context's reason, or the one given.
func reasonOf(ctx context.Context, otherwise Reason) (Reason, error) {
	reason, ok := ctx.Value(reasonKey{}).(Reason)
	switch {
	case !ok:
		return otherwise, nil
	case reason == "", len(reason) > maxReason, !utf8.ValidString(string(reason)):
		return "", errors.New("session: a reason is empty, longer than 256 bytes, or not valid UTF-8")
	}
	return reason, nil
}
