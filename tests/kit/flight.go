package kit

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync"

	"github.com/doorman-go/session"
)

// A Flight is a request that was stopped on its way.
type Flight struct {
	pause *pause
	done  chan *http.Response
}

type pauseKey struct{}

type pause struct {
	at              string
	once            sync.Once
	reached, resume chan struct{}
}

// PauseAt stops a request whose flight is to stop there. The points are "handler", when the session is loaded and not
// changed yet; "load", "swap", "end" and "list", when the store is about to be asked ("end" also where a session is ended
// by Swap); and "between", the swaps of a store that makes them one by one.
func PauseAt(ctx context.Context, at string) {
	if p, ok := ctx.Value(pauseKey{}).(*pause); ok && p.at == at {
		p.once.Do(func() { close(p.reached); <-p.resume })
	}
}

// WithPause returns a context whose request stops at the point, until it may resume. The channel is closed when it is there.
func WithPause(ctx context.Context, at string) (paused context.Context, reached <-chan struct{}, resume func()) {
	ctx, p := withPause(ctx, at)
	return ctx, p.reached, func() { close(p.resume) }
}

func withPause(ctx context.Context, at string) (context.Context, *pause) {
	p := &pause{at: at, reached: make(chan struct{}), resume: make(chan struct{})}
	return context.WithValue(ctx, pauseKey{}, p), p
}

// Launch begins a request and returns when it has come to the point. It must not be answered before.
func (a *App) Launch(node int, cookie, at string, h Handler) *Flight {
	a.T.Helper()
	f, landed := a.Send(node, cookie, at, h)
	if landed {
		a.T.Fatalf("the request was answered (%s) before it came to its %s", (<-f.done).Status, at)
	}
	return f
}

// Send is Launch for a request that need not come to the point, and reports whether it was answered before.
func (a *App) Send(node int, cookie, at string, h Handler) (f *Flight, landed bool) {
	ctx, p := withPause(context.Background(), at)
	f = &Flight{p, make(chan *http.Response, 1)}
	go func() { f.done <- a.RequestWith(ctx, node, cookie, h) }()
	select {
	case <-p.reached:
		return f, false
	case resp := <-f.done:
		f.done <- resp
		return f, true
	}
}

// LaunchAt is Launch for a request of the caller's own.
func (a *App) LaunchAt(node int, r *http.Request, at string, h Handler) *Flight {
	a.T.Helper()
	p := &pause{at: at, reached: make(chan struct{}), resume: make(chan struct{})}
	f := &Flight{p, make(chan *http.Response, 1)}
	go func() {
		rec := httptest.NewRecorder()
		a.Nodes[node].HandlerOf(h).ServeHTTP(rec, r.WithContext(context.WithValue(r.Context(), pauseKey{}, p)))
		f.done <- rec.Result()
	}()
	select {
	case <-p.reached:
	case resp := <-f.done:
		a.T.Fatalf("the request was answered (%s) before it came to its %s", resp.Status, at)
	}
	return f
}

// Land lets it go on, and returns its response.
func (f *Flight) Land() *http.Response {
	close(f.pause.resume)
	return <-f.done
}

// Overtaken launches slow, makes quick's request meanwhile at the last process, and lets slow go on.
func (a *App) Overtaken(cookie string, slow, quick func(*session.Session)) (late, first *http.Response) {
	a.T.Helper()
	f := a.Launch(0, cookie, "handler", Act(slow))
	first = a.Request(len(a.Nodes)-1, cookie, Act(quick))
	return f.Land(), first
}
