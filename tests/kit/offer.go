package kit

import (
	"context"
	"iter"

	"github.com/doorman-go/session"
)

type (
	ender interface {
		End(ctx context.Context, tombstone *session.Record) (*session.Record, error)
	}
	lister interface {
		UserSessions(ctx context.Context, realm, user string) ([]*session.Record, error)
		All(ctx context.Context, realm string) iter.Seq2[*session.Record, error]
		NotifyEnds(ended func(id string)) (stop func())
	}
	userEnder interface {
		EndUser(ctx context.Context, realm, user string, except []string) error
		EndUserSession(ctx context.Context, realm, user, id string) error
		Revocations() session.Store
	}
	wrapper interface {
		session.Store
		ender
		lister
		userEnder
	}
)

// offer returns front as a store that has those optional interfaces that the one behind it has.
func offer(front wrapper, behind session.Store) session.Store {
	_, ends := behind.(session.Ender)
	_, lists := behind.(session.UserStore)
	_, endsUsers := behind.(session.UserEnder)
	switch {
	case ends && lists && endsUsers:
		return front
	case ends && lists:
		return struct {
			session.Store
			ender
			lister
		}{front, front, front}
	case ends && endsUsers:
		return struct {
			session.Store
			ender
			userEnder
		}{front, front, front}
	case lists && endsUsers:
		return struct {
			session.Store
			lister
			userEnder
		}{front, front, front}
	case ends:
		return struct {
			session.Store
			ender
		}{front, front}
	case lists:
		return struct {
			session.Store
			lister
		}{front, front}
	case endsUsers:
		return struct {
			session.Store
			userEnder
		}{front, front}
	}
	return struct{ session.Store }{front}
}

// OneByOne returns a store that makes several swaps one after the other, as a database does that can't make them all or
// none. A flight may stop between them. What else it can do is what inner can.
func OneByOne(inner session.Store) session.Store { return offer(oneByOne{inner}, inner) }

type oneByOne struct{ session.Store }

// Swap implements session.Store.
func (o oneByOne) Swap(ctx context.Context, token session.Token, swaps ...session.Swap) (saved session.Token, err error) {
	for i, swap := range swaps {
		if i > 0 {
			PauseAt(ctx, "between")
		}
		if saved, err = o.Store.Swap(ctx, token, swap); err != nil {
			return session.Token{}, err
		}
	}
	return saved, nil
}

// End implements session.Ender.
func (o oneByOne) End(ctx context.Context, tombstone *session.Record) (*session.Record, error) {
	return o.Store.(session.Ender).End(ctx, tombstone)
}

// UserSessions implements session.UserStore.
func (o oneByOne) UserSessions(ctx context.Context, realm, user string) ([]*session.Record, error) {
	return o.Store.(session.UserStore).UserSessions(ctx, realm, user)
}

// EndUser implements session.UserEnder.
func (o oneByOne) EndUser(ctx context.Context, realm, user string, except []string) error {
	return o.Store.(session.UserEnder).EndUser(ctx, realm, user, except)
}

// EndUserSession implements session.UserEnder.
func (o oneByOne) EndUserSession(ctx context.Context, realm, user, id string) error {
	return o.Store.(session.UserEnder).EndUserSession(ctx, realm, user, id)
}

// Revocations is what a session.CookieStore has.
func (o oneByOne) Revocations() session.Store {
	return o.Store.(interface{ Revocations() session.Store }).Revocations()
}

// All implements session.AllStore.
func (o oneByOne) All(ctx context.Context, realm string) iter.Seq2[*session.Record, error] {
	return o.Store.(session.AllStore).All(ctx, realm)
}

// NotifyEnds implements session.EndNotifier.
func (o oneByOne) NotifyEnds(ended func(id string)) (stop func()) {
	return o.Store.(session.EndNotifier).NotifyEnds(ended)
}
