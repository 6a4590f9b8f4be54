package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/doorman-go/session"
	"github.com/doorman-go/session/internal/redistest"
	"github.com/doorman-go/session/sessiontest"
)

const boundCookieName = "__Host-session-bound"

// secureSite is the application over HTTPS on localhost, with sessions bound to devices.
type secureSite struct {
	*site
	t     *testing.T
	store session.Store
	clock *sessiontest.Clock
	base  string

	server *httptest.Server

	mu    sync.Mutex
	asked []exchange
	held  <-chan struct{} // the next registration waits for it
}

// exchange is a request that the browser made by itself, and how it was answered.
type exchange struct {
	what   string // register or renew
	proof  bool   // it had a token
	status int
}

type localhostCertificate struct {
	certificate tls.Certificate
	fingerprint string
}

var certificate = sync.OnceValues(func() (localhostCertificate, error) {
	made, fingerprint, err := makeCertificate()
	return localhostCertificate{made, fingerprint}, err
})

func mustCertificate(t *testing.T) localhostCertificate {
	made, err := certificate()
	require.NoError(t, err)
	return made
}

// boundOnEachStore runs a test once for each of the stores.
func boundOnEachStore(t *testing.T, test func(t *testing.T, s *secureSite)) {
	for _, store := range everyStore {
		t.Run(store, func(t *testing.T) { test(t, newSecureSite(t, store)) })
	}
}

func newSecureSite(t *testing.T, kind string) *secureSite {
	o := options{store: kind}
	if kind == "redis" {
		o.redis = redistest.Start(t).URL()
	}
	store, closeStore, err := openStore(t.Context(), o, nil, slog.New(slog.DiscardHandler), io.Discard)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, closeStore()) })
	s := &secureSite{t: t, store: store, clock: sessiontest.NewClock()}
	s.serve("localhost:0")
	s.base = "https://" + strings.Replace(s.server.Listener.Addr().String(), "127.0.0.1", "localhost", 1)
	t.Cleanup(func() { s.server.Close() })
	return s
}

// serve starts the application on what is stored already.
func (s *secureSite) serve(address string) {
	s.site = &site{app: newAppOf(s.t, s.store, session.Config{Clock: s.clock.Now, BindDevice: proofLife}, newTestUsers(s.t, "")), time: s.clock}
	made := mustCertificate(s.t)
	listener, err := net.Listen("tcp", address)
	require.NoError(s.t, err)
	s.server = httptest.NewUnstartedServer(s.noting(s.handler))
	require.NoError(s.t, s.server.Listener.Close())
	s.server.Listener = listener
	s.server.TLS = &tls.Config{Certificates: []tls.Certificate{made.certificate}}
	s.server.StartTLS()
}

// restart ends the program and starts it again at the same address.
func (s *secureSite) restart() {
	address := s.server.Listener.Addr().String()
	s.server.CloseClientConnections()
	s.server.Close()
	s.serve(address)
}

// noting takes down what the browser asks for by itself.
func (s *secureSite) noting(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, what, own := strings.Cut(r.URL.Path, "/.well-known/device-bound-session/__Host-session/")
		if !own {
			next.ServeHTTP(w, r)
			return
		}
		s.waitIfHeld(what)
		noted := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(noted, r)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.asked = append(s.asked, exchange{what, r.Header.Get("Secure-Session-Response") != "", noted.status})
	})
}

// holdRegistration has the next registration wait until the function returned is called.
func (s *secureSite) holdRegistration() (release func()) {
	held := make(chan struct{})
	release = sync.OnceFunc(func() { close(held) })
	s.t.Cleanup(release)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = held
	return release
}

func (s *secureSite) waitIfHeld(what string) {
	if what != "register" {
		return
	}
	s.mu.Lock()
	held := s.held
	s.held = nil
	s.mu.Unlock()
	if held != nil {
		<-held
	}
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// exchanges returns what the browser asked for since the last call.
func (s *secureSite) exchanges() []exchange {
	s.mu.Lock()
	defer s.mu.Unlock()
	asked := s.asked
	s.asked = nil
	return asked
}

// registrations returns the registrations among what the browser asked for since the last call. Whether it renews at once as
// well depends on which answer comes first, that of a page or that of the registration.
func (s *secureSite) registrations() []exchange {
	return slices.DeleteFunc(s.exchanges(), func(e exchange) bool { return e.what != "register" })
}

// boundBrowser is a tab of a Chromium that binds.
type boundBrowser struct {
	*tab
	events chan *network.EventDeviceBoundSessionEventOccurred
}

// bindingChromium starts the Chromium of all tests of binding, when the first one wants it. Each browser in it has cookies,
// registrations and a signing quota of its own.
var bindingChromium = sync.OnceValues(func() (context.Context, error) {
	made, err := certificate()
	if err != nil {
		return nil, err
	}
	return startChromium(
		chromedp.Flag("enable-features", "DeviceBoundSessions,EnableBoundSessionCredentialsSoftwareKeysForManualTesting"),
		chromedp.Flag("ignore-certificate-errors-spki-list", made.fingerprint),
	)
})

// browser opens a browser that binds.
func (s *secureSite) browser(t *testing.T) *boundBrowser {
	started, err := bindingChromium()
	require.NoError(t, err)
	ctx, cancel := chromedp.NewContext(started, chromedp.WithNewBrowserContext())
	t.Cleanup(cancel)
	require.NoError(t, chromedp.Do(ctx))
	b := &boundBrowser{&tab{t, ctx, s.base}, make(chan *network.EventDeviceBoundSessionEventOccurred, 1000)}
	require.NoError(t, chromedp.Listen(ctx, func(event any) {
		if occurred, ok := event.(*network.EventDeviceBoundSessionEventOccurred); ok {
			b.events <- occurred
		}
	}))
	_, err = chromedp.Call(ctx, network.EnableDeviceBoundSessions, network.EnableDeviceBoundSessionsParams{Enable: true})
	require.NoError(t, err)
	return b
}

// signInBound signs in, and waits until the browser has registered its key.
func (b *boundBrowser) signInBound(username, password string) *boundBrowser {
	b.t.Helper()
	b.signIn(username, password)
	b.await(created(1))
	return b
}

// created fits the n-th registration that succeeded.
func created(n int) func(*network.EventDeviceBoundSessionEventOccurred) bool {
	return func(e *network.EventDeviceBoundSessionEventOccurred) bool {
		if e.CreationEventDetails != nil && e.Succeeded {
			n--
		}
		return n == 0
	}
}

// settle lets the grace pass. Of a sealed session the answer of the page may have come after that of the registration: two
// more pages mend that.
func (s *secureSite) settle(b *boundBrowser) {
	s.t.Helper()
	s.time.Advance(pastGrace)
	b.atAccount("after the registration")
	b.atAccount("and once more")
	s.exchanges()
}

// atAccount asserts that the account page opens.
func (b *boundBrowser) atAccount(message string) {
	b.t.Helper()
	require.Equal(b.t, http.StatusOK, b.open("/account"), message)
	require.Equal(b.t, "/account", b.path(), message)
	require.Contains(b.t, b.text(), "Member since", message)
}

// await returns the next event that fits.
func (b *boundBrowser) await(fits func(*network.EventDeviceBoundSessionEventOccurred) bool) *network.EventDeviceBoundSessionEventOccurred {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, stepTimeout)
	defer cancel()
	for {
		select {
		case event := <-b.events:
			if testing.Verbose() {
				b.t.Log(describe(event))
			}
			if fits(event) {
				return event
			}
		case <-ctx.Done():
			require.Fail(b.t, "the browser did not say so")
		}
	}
}

func describe(e *network.EventDeviceBoundSessionEventOccurred) string {
	switch {
	case e.CreationEventDetails != nil:
		return fmt.Sprintf("created %v: %s %+v", e.Succeeded, e.CreationEventDetails.FetchResult, e.CreationEventDetails.FailedRequest)
	case e.RefreshEventDetails != nil:
		return fmt.Sprintf("refreshed %v: %s %s %+v", e.Succeeded, e.RefreshEventDetails.RefreshResult, e.RefreshEventDetails.FetchResult, e.RefreshEventDetails.FailedRequest)
	case e.TerminationEventDetails != nil:
		return fmt.Sprintf("terminated: %s", e.TerminationEventDetails.DeletionReason)
	case e.ChallengeEventDetails != nil:
		return fmt.Sprintf("challenge %v: %s", e.Succeeded, e.ChallengeEventDetails.ChallengeResult)
	}
	return "?"
}

// dropProof takes the bound cookie from the browser, as if it had run out.
func (b *boundBrowser) dropProof() {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, stepTimeout)
	defer cancel()
	_, err := chromedp.Call(ctx, network.DeleteCookies, network.DeleteCookiesParams{Name: boundCookieName, URL: b.base})
	require.NoError(b.t, err)
}

// cookies returns the cookies of the site as the browser's own store has them.
func (b *boundBrowser) cookies() map[string]*network.Cookie {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, stepTimeout)
	defer cancel()
	result, err := chromedp.Call(ctx, network.GetCookies, network.GetCookiesParams{URLs: []string{b.base}})
	require.NoError(b.t, err)
	found := map[string]*network.Cookie{}
	for _, cookie := range result.Cookies {
		found[cookie.Name] = cookie
	}
	return found
}

// thief is a client that has a copy of the browser's cookies, and no key.
func (b *boundBrowser) thief(s *secureSite) *http.Client {
	jar, err := cookiejar.New(nil)
	require.NoError(b.t, err)
	at, err := url.Parse(s.base)
	require.NoError(b.t, err)
	var copied []*http.Cookie
	for _, c := range b.cookies() {
		copied = append(copied, &http.Cookie{Name: c.Name, Value: c.Value, Path: "/", Secure: true})
	}
	jar.SetCookies(at, copied)
	made := mustCertificate(b.t)
	leaf, err := x509.ParseCertificate(made.certificate.Certificate[0])
	require.NoError(b.t, err)
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	b.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Jar: jar}
}

// opens reports whether the client's cookies open the account page.
func (s *secureSite) opens(client *http.Client) bool {
	s.t.Helper()
	response, err := client.Get(s.base + "/account")
	require.NoError(s.t, err)
	body, err := io.ReadAll(response.Body)
	require.NoError(s.t, errors.Join(err, response.Body.Close()))
	return strings.Contains(string(body), "Member since")
}
