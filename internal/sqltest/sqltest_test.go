package sqltest

import (
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestServers(t *testing.T) {
	for name, start := range map[string]func(...string) (*Server, error){"PostgreSQL": StartPostgres, "MariaDB": StartMariaDB} {
		t.Run(name, func(t *testing.T) {
			s, err := start()
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, s.Close()) })
			requireListening(t, s)
			require.NoError(t, s.Kill())
			_, err = net.Dial("tcp", s.Addr())
			require.Error(t, err)
			require.NoError(t, s.Restart())
			requireListening(t, s)
			require.NoError(t, s.Stop())
			require.NoError(t, s.Restart())
			requireListening(t, s)
		})
	}
}

func TestPgBouncer(t *testing.T) {
	server, err := StartPostgres()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	bouncer, err := StartPgBouncer(server)
	require.NoError(t, err)
	requireListening(t, bouncer)
	require.NoError(t, bouncer.Close())
}

func requireListening(t *testing.T, s *Server) {
	conn, err := net.DialTimeout("tcp", s.Addr(), time.Second)
	require.NoError(t, err)
	require.NoError(t, conn.Close())
}

func TestStart_SaysWhatIsMissing(t *testing.T) {
	t.Setenv("PATH", "")
	_, err := start(missing{}, nil)
	require.ErrorContains(t, err, "make deps")
}

// missing is a database whose program is not there.
type missing struct{ postgres }

func (missing) prepare(s *Server) error {
	return runOnce(command(s, find("no-such-initdb", "/nowhere/*")))
}
