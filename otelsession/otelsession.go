// Package otelsession traces and measures what sessions do, by OpenTelemetry.
//
//	instrumentation, err := otelsession.New(otelsession.Options{})
//	config := session.Config{}
//	instrumentation.Instrument(&config)
//	sessions, err := session.New(store, config)
//
// It makes a span for each operation on the store, named "session load", "session commit" and so on, and these metrics:
//
//   - doorman.session.operation.duration, a histogram in seconds
//   - doorman.session.operation.active, how many operations are under way
//   - doorman.session.events, a counter of what happened to sessions
//
// The attributes are doorman.session.operation (the kind), doorman.session.store, doorman.session.near_cache, error.type, and
// of events doorman.session.event and doorman.session.reason. None has a session's ID or a user's name. The database's
// driver may have an instrumentation of its own. Its spans stand beside these.
package otelsession

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/doorman-go/session"
)

// scope is the name of the tracer and the meter.
const scope = "github.com/doorman-go/session/otelsession"

// The attributes.
const (
	keyOperation = attribute.Key("doorman.session.operation")
	keyStore     = attribute.Key("doorman.session.store")
	keyNearCache = attribute.Key("doorman.session.near_cache")
	keyEvent     = attribute.Key("doorman.session.event")
	keyReason    = attribute.Key("doorman.session.reason")
	keyErrorType = attribute.Key("error.type")
)

// Options are the options of an Instrumentation. The zero value is good.
type Options struct {
	TracerProvider trace.TracerProvider // nil = otel.GetTracerProvider
	MeterProvider  metric.MeterProvider // nil = otel.GetMeterProvider

	// Attributes are added to every span and metric. If a process has several Managers, add one that names the Manager.
	// The default is none.
	Attributes []attribute.KeyValue

	// Events adds an event to the request's span for everything that happens to the session, beside the counter. The
	// default is off.
	Events bool
}

// Instrumentation traces and measures a Manager. It is made by New and safe for use by several goroutines.
type Instrumentation struct {
	tracer     trace.Tracer
	attributes []attribute.KeyValue
	spanEvents bool

	duration metric.Float64Histogram
	active   metric.Int64UpDownCounter
	events   metric.Int64Counter
}

// New returns an Instrumentation. The error is the meter provider's.
func New(opts Options) (*Instrumentation, error) {
	if opts.TracerProvider == nil {
		opts.TracerProvider = otel.GetTracerProvider()
	}
	if opts.MeterProvider == nil {
		opts.MeterProvider = otel.GetMeterProvider()
	}
	i := &Instrumentation{tracer: opts.TracerProvider.Tracer(scope), attributes: opts.Attributes, spanEvents: opts.Events}
	meter := opts.MeterProvider.Meter(scope)
	var errs [3]error
	i.duration, errs[0] = meter.Float64Histogram("doorman.session.operation.duration", metric.WithUnit("s"),
		metric.WithDescription("Duration of operations on the session store."),
		metric.WithExplicitBucketBoundaries(.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30))
	i.active, errs[1] = meter.Int64UpDownCounter("doorman.session.operation.active", metric.WithUnit("{operation}"),
		metric.WithDescription("Operations on the session store that are under way."))
	i.events, errs[2] = meter.Int64Counter("doorman.session.events", metric.WithUnit("{event}"),
		metric.WithDescription("What happened to sessions."))
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	return i, nil
}

// Instrument sets config's Observe and OnEvent. What they were before is called as well, after the Instrumentation.
func (i *Instrumentation) Instrument(config *session.Config) {
	observe, onEvent := config.Observe, config.OnEvent
	config.Observe = func(ctx context.Context, call session.StoreCall) func(error) {
		done, next := i.Observe(ctx, call), func(error) {}
		if observe != nil {
			if f := observe(ctx, call); f != nil {
				next = f
			}
		}
		return func(err error) { done(err); next(err) }
	}
	config.OnEvent = func(ctx context.Context, event session.Event) {
		i.OnEvent(ctx, event)
		if onEvent != nil {
			onEvent(ctx, event)
		}
	}
}

// Observe is a session.Config.Observe.
func (i *Instrumentation) Observe(ctx context.Context, call session.StoreCall) (done func(error)) {
	ctx = context.WithoutCancel(ctx) // the end is reported even if the operation was cancelled
	begun := time.Now()
	attributes := i.with(keyOperation.String(call.Kind), keyStore.String(call.Store), keyNearCache.Bool(call.NearCache))
	ctx, span := i.tracer.Start(ctx, "session "+call.Kind, trace.WithAttributes(attributes...))
	active := metric.WithAttributes(i.with(keyOperation.String(call.Kind), keyStore.String(call.Store))...)
	i.active.Add(ctx, 1, active)
	return func(err error) {
		i.active.Add(ctx, -1, active)
		if kind := errorType(err); kind != "" {
			attributes = append(attributes, keyErrorType.String(kind))
			span.SetAttributes(keyErrorType.String(kind))
			span.SetStatus(codes.Error, err.Error())
		}
		i.duration.Record(ctx, time.Since(begun).Seconds(), metric.WithAttributes(attributes...))
		span.End()
	}
}

// with returns the attributes, and those of the options.
func (i *Instrumentation) with(attributes ...attribute.KeyValue) []attribute.KeyValue {
	return append(attributes, i.attributes...)
}

// errorType returns the kind of the error, or "" for none. It is no fault if a session has ended.
func errorType(err error) string {
	switch {
	case err == nil, errors.Is(err, session.ErrSessionEnded):
		return ""
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	case errors.Is(err, context.Canceled):
		return "canceled"
	}
	return "_OTHER"
}

// OnEvent is a session.Config.OnEvent.
func (i *Instrumentation) OnEvent(ctx context.Context, event session.Event) {
	attributes := i.with(keyEvent.String(string(event.Kind)), keyReason.String(string(event.Reason)))
	i.events.Add(ctx, 1, metric.WithAttributes(attributes...))
	if i.spanEvents {
		trace.SpanFromContext(ctx).AddEvent("session "+string(event.Kind), trace.WithAttributes(attributes...))
	}
}
