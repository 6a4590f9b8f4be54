package faults_test

import (
	"testing"

	"github.com/doorman-go/session/internal/redistest"
	"github.com/doorman-go/session/tests/kit"
	"github.com/stretchr/testify/require"
)

// The client resends a write whose reply was lost; it must count once.
func TestGuarantee03_LostReply(t *testing.T) {
	for _, path := range []string{"/count", "/write", "/login", "/regenerate", "/logout"} {
		t.Run(path, func(t *testing.T) {
			s := newFaultSite(t)
			b := s.seeded()
			for _, warm := range []string{"/count", "/login", "/regenerate", "/logout"} { // so that Redis knows the scripts
				s.ask(s.seeded(), warm, 200)
			}
			old := b.Copy()
			s.ask(b, "/count", 200)
			connections := s.proxy.Accepted()
			s.proxy.Once(redistest.LoseReply, "evalsha")
			s.ask(b, path, 200)
			require.Greater(t, s.proxy.Accepted(), connections, "a reply was lost, and the connection with it")
			switch path {
			case "/count":
				require.Equal(t, 2, kit.Read[int](b, "count"))
			case "/write":
				require.Equal(t, "[count seed written]", s.ask(b, "/read", 200))
			case "/login":
				require.Equal(t, "ada[seed]", s.ask(b, "/read", 200))
				require.Equal(t, "[]", s.ask(old, "/read", 200))
			case "/regenerate":
				require.Equal(t, "[count seed]", s.ask(b, "/read", 200))
				require.Equal(t, "[]", s.ask(old, "/read", 200))
				require.NotEqual(t, old.Cookie, b.Cookie)
			case "/logout":
				require.Equal(t, "[]", s.ask(old, "/read", 200))
			}
		})
	}
}

// The reply to the creation of a session is lost: one session comes of it, and the browser has its cookie.
func TestGuarantee03_LostReply_NewSession(t *testing.T) {
	s := newFaultSite(t)
	s.seeded()
	before := len(s.stored())
	s.proxy.Once(redistest.LoseReply, "evalsha")
	b := s.app.BrowserOf(s.h)
	s.ask(b, "/write", 200)
	require.Equal(t, "[written]", s.ask(b, "/read", 200))
	require.Len(t, s.stored(), before+1)
}
