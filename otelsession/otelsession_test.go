package otelsession_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/otelsession"
	"github.com/doorman-go/session/sessiontest"
)

// site is a Manager that is traced and measured.
type site struct {
	*testing.T
	spans    *tracetest.SpanRecorder
	tracing  *sdktrace.TracerProvider
	reader   *sdkmetric.ManualReader
	sessions *session.Manager
	browser  *sessiontest.Jar
}

func newSite(t *testing.T, store session.Store, cfg session.Config, opts otelsession.Options) *site {
	s := &site{T: t, spans: tracetest.NewSpanRecorder(), reader: sdkmetric.NewManualReader(), browser: sessiontest.NewJar()}
	s.tracing = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(s.spans))
	opts.TracerProvider, opts.MeterProvider = s.tracing, sdkmetric.NewMeterProvider(sdkmetric.WithReader(s.reader))
	i, err := otelsession.New(opts)
	require.NoError(t, err)
	i.Instrument(&cfg)
	s.sessions, err = session.New(store, cfg)
	require.NoError(t, err)
	return s
}

// do makes a request in a span of its own, as a server's instrumentation does.
func (s *site) do(handle func(*session.Session)) *http.Response {
	h := s.sessions.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { handle(session.FromContext(r.Context())) }))
	ctx, span := s.tracing.Tracer("test").Start(s.Context(), "request")
	defer span.End()
	return s.browser.Serve(h, httptest.NewRequest(http.MethodGet, "/", nil).WithContext(ctx)).Result()
}

// span returns the last ended span of the name.
func (s *site) span(name string) sdktrace.ReadOnlySpan {
	s.Helper()
	var last sdktrace.ReadOnlySpan
	for _, span := range s.spans.Ended() {
		if span.Name() == name {
			last = span
		}
	}
	require.NotNil(s, last, name)
	return last
}

func of(attributes []attribute.KeyValue, key string) string {
	for _, a := range attributes {
		if string(a.Key) == key {
			return a.Value.String()
		}
	}
	return ""
}

// count returns the sum of a metric's points whose attributes are these; a histogram's is its count.
func (s *site) count(name string, want ...string) (total int) {
	s.Helper()
	var all metricdata.ResourceMetrics
	require.NoError(s, s.reader.Collect(s.Context(), &all))
	add := func(set attribute.Set, n int) {
		for i := 0; i < len(want); i += 2 {
			if of(set.ToSlice(), want[i]) != want[i+1] {
				return
			}
		}
		total += n
	}
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			if m.Name != name {
				continue
			}
			switch data := m.Data.(type) {
			case metricdata.Histogram[float64]:
				for _, p := range data.DataPoints {
					add(p.Attributes, int(p.Count))
				}
			case metricdata.Sum[int64]:
				for _, p := range data.DataPoints {
					add(p.Attributes, int(p.Value))
				}
			}
		}
	}
	return total
}

const (
	duration = "doorman.session.operation.duration"
	active   = "doorman.session.operation.active"
	events   = "doorman.session.events"
	kind     = "doorman.session.operation"
)

func TestInstrumentation_TracesOperationsInTheRequestsSpan(t *testing.T) {
	s := newSite(t, sessiontest.NewStore(), session.Config{}, otelsession.Options{Attributes: []attribute.KeyValue{attribute.String("manager", "site")}})
	s.do(func(x *session.Session) { x.Set("k", 1) })
	s.do(func(x *session.Session) { x.Has("k") })
	commit, load := s.span("session commit"), s.span("session load")
	for _, span := range []sdktrace.ReadOnlySpan{commit, load} {
		require.Equal(t, "Store", of(span.Attributes(), "doorman.session.store"))
		require.Equal(t, "site", of(span.Attributes(), "manager"))
		require.Equal(t, codes.Unset, span.Status().Code)
	}
	require.Equal(t, "false", of(load.Attributes(), "doorman.session.near_cache"))
	require.Equal(t, s.span("request").SpanContext().SpanID(), load.Parent().SpanID(), "the last request loaded")
}

func TestInstrumentation_MeasuresOperations(t *testing.T) {
	store := sessiontest.NewStore()
	s := newSite(t, store, session.Config{}, otelsession.Options{})
	s.do(func(x *session.Session) { x.Set("k", 1) })
	s.do(func(x *session.Session) { x.Has("k") })
	require.Equal(t, 1, s.count(duration, kind, "commit", "error.type", ""))
	require.Equal(t, 1, s.count(duration, kind, "load", "doorman.session.store", "Store"))
	require.Zero(t, s.count(active))

	store.Down(errors.New("refused"))
	s.do(func(x *session.Session) { x.Has("k") })
	store.Down(context.DeadlineExceeded)
	s.do(func(x *session.Session) { x.Has("k") })
	require.Equal(t, 1, s.count(duration, kind, "load", "error.type", "_OTHER"))
	require.Equal(t, 1, s.count(duration, kind, "load", "error.type", "timeout"))
	require.Equal(t, codes.Error, s.span("session load").Status().Code)
}

func TestInstrumentation_CountsWhatIsUnderWay(t *testing.T) {
	store := sessiontest.NewStore()
	s := newSite(t, store, session.Config{}, otelsession.Options{})
	gate := store.Hold(sessiontest.Swap)
	var done sync.WaitGroup
	done.Go(func() { s.do(func(x *session.Session) { x.Set("k", 1) }) })
	<-gate.Reached()
	require.Equal(t, 1, s.count(active, kind, "commit"))
	gate.Open()
	done.Wait()
	require.Zero(t, s.count(active))
}

// That a session has ended meanwhile is no fault of the store's.
func TestInstrumentation_AnEndedSessionIsNoError(t *testing.T) {
	store := sessiontest.NewStore()
	s := newSite(t, store, session.Config{}, otelsession.Options{})
	s.do(func(x *session.Session) { require.NoError(t, x.Login("ada")) })
	s.do(func(x *session.Session) {
		x.Set("k", 1)
		_, err := s.sessions.RevokeUser(t.Context(), "ada")
		require.NoError(t, err)
	})
	require.Equal(t, 1, s.count(events, "doorman.session.event", "rejected", "doorman.session.reason", "ended meanwhile"))
	require.Zero(t, s.count(duration, "error.type", "_OTHER"))
	require.Equal(t, codes.Unset, s.span("session commit").Status().Code)
}

func TestInstrumentation_Events(t *testing.T) {
	told := 0
	s := newSite(t, sessiontest.NewStore(), session.Config{OnEvent: func(context.Context, session.Event) { told++ }}, otelsession.Options{Events: true})
	s.do(func(x *session.Session) { require.NoError(t, x.Login("ada")) })
	require.Equal(t, 1, s.count(events, "doorman.session.event", "logged in"))
	require.Equal(t, 1, told, "whom the application had told before is told too")
	require.Len(t, s.span("request").Events(), 1)
	require.Equal(t, "session logged in", s.span("request").Events()[0].Name)
}

func TestInstrumentation_CallsWhatObservedBefore(t *testing.T) {
	var begun, done []string
	observe := func(_ context.Context, call session.StoreCall) func(error) {
		begun = append(begun, call.Kind)
		if call.Kind == session.CallLoad {
			return nil
		}
		return func(error) { done = append(done, call.Kind) }
	}
	s := newSite(t, session.NewMemoryStore(), session.Config{Observe: observe}, otelsession.Options{})
	s.do(func(x *session.Session) { x.Set("k", 1) })
	s.do(func(x *session.Session) { x.Has("k") })
	require.Equal(t, []string{"commit", "load"}, begun)
	require.Equal(t, []string{"commit"}, done)
}

// No attribute tells anybody's name or a session's ID.
func TestInstrumentation_TellsNobodysName(t *testing.T) {
	s := newSite(t, sessiontest.NewStore(), session.Config{}, otelsession.Options{Events: true})
	var id string
	s.do(func(x *session.Session) { require.NoError(t, x.Login("ada-the-name")); id = x.ID() })
	s.do(func(x *session.Session) { x.Set("k", 1) })
	said := ""
	for _, span := range s.spans.Ended() {
		said += fmt.Sprint(span.Name(), span.Attributes(), span.Events())
	}
	var all metricdata.ResourceMetrics
	require.NoError(t, s.reader.Collect(t.Context(), &all))
	said += fmt.Sprintf("%+v", all)
	require.NotContains(t, said, "ada-the-name")
	require.NotContains(t, said, id)
}

func TestNew_TheGlobalProvidersAreTheDefault(t *testing.T) {
	i, err := otelsession.New(otelsession.Options{})
	require.NoError(t, err)
	i.Observe(t.Context(), session.StoreCall{Kind: session.CallLoad})(nil)
}

// brokenProvider's meters make no histograms.
type brokenProvider struct{ noop.MeterProvider }

type brokenMeter struct{ noop.Meter }

var errBroken = errors.New("no histogram")

func (brokenProvider) Meter(string, ...metric.MeterOption) metric.Meter { return brokenMeter{} }

func (brokenMeter) Float64Histogram(string, ...metric.Float64HistogramOption) (metric.Float64Histogram, error) {
	return nil, errBroken
}

func TestNew_AProvidersErrorIsReturned(t *testing.T) {
	_, err := otelsession.New(otelsession.Options{MeterProvider: brokenProvider{}})
	require.ErrorIs(t, err, errBroken)
}

func Example() {
	instrumentation, err := otelsession.New(otelsession.Options{
		Attributes: []attribute.KeyValue{attribute.String("service.component", "shop")},
	})
	if err != nil {
		panic(err)
	}
	config := session.Config{}
	instrumentation.Instrument(&config)
	sessions, err := session.New(session.NewMemoryStore(), config)
	if err != nil {
		panic(err)
	}
	site := sessions.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		session.FromContext(r.Context()).Set("seen", true) // a span "session commit"
	}))
	w := httptest.NewRecorder()
	site.ServeHTTP(w, httptest.NewRequest("GET", "http://localhost/", nil))
	fmt.Println(w.Code)
	// Output: 200
}
