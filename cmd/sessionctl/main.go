// Command sessionctl shows and ends sessions, and looks whether their store is set up well.
//
//	sessionctl -store redis://localhost:6379/0 list ada
//	sessionctl help
//
// It works on Redis and, in the same way, on the SQL databases of package sqlstore. It knows sessions by their public IDs, and
// never sees a token.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	c := &command{in: os.Stdin, out: os.Stdout, err: os.Stderr, env: os.Getenv, now: time.Now}
	os.Exit(c.run(ctx, os.Args[1:]))
}

// The exit codes.
const (
	exitOK    = 0
	exitFault = 1 // the command failed, or doctor found a fault
	exitUsage = 2 // the arguments are wrong
)

// command is one run of the program.
type command struct {
	in       io.Reader
	out, err io.Writer
	env      func(string) string
	now      func() time.Time

	url     string
	prefix  string
	table   string
	realm   string
	timeout time.Duration
	json    bool
	yes     bool
}

// verb is one of the program's commands.
type verb struct {
	name, args, text string
	least, most      int // how many arguments it takes
	run              func(*command, context.Context, []string) error
}

var verbs = []verb{
	{"list", "USER", "the sessions of a user", 1, 1, (*command).list},
	{"show", "ID", "one session, without its values", 1, 1, (*command).show},
	{"revoke", "USER [ID]", "end all sessions of a user, or one", 1, 2, (*command).revoke},
	{"revoke-all", "", "end all sessions of the realm", 0, 0, (*command).revokeAll},
	{"count", "", "how many sessions and users there are", 0, 0, (*command).count},
	{"doctor", "", "look whether the store is set up well, and say what to change", 0, 0, (*command).doctor},
	{"secret", "[check OLD NEW]", "make a secret; or check a change of secrets, which stand in the environment variables OLD and NEW", 0, 3, (*command).secret},
}

// usageError is the error of wrong arguments.
type usageError struct{ text string }

func (e usageError) Error() string { return e.text }

// errFaults is the error if a finding is a fault. It has no text, because the findings say all.
var errFaults = errors.New("")

// run runs the command that the arguments name, and returns the exit code.
func (c *command) run(ctx context.Context, args []string) int {
	flags := flag.NewFlagSet("sessionctl", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&c.url, "store", c.env("SESSION_STORE"), "")
	flags.StringVar(&c.prefix, "prefix", "", "")
	flags.StringVar(&c.table, "table", "", "")
	flags.StringVar(&c.realm, "realm", c.env("SESSION_REALM"), "")
	flags.DurationVar(&c.timeout, "timeout", 10*time.Second, "")
	flags.BoolVar(&c.json, "json", false, "")
	flags.BoolVar(&c.yes, "yes", false, "")
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp), err == nil && (flags.NArg() == 0 || flags.Arg(0) == "help"):
		c.help(c.out)
		return exitOK
	case err != nil:
		return c.fail(usageError{err.Error()})
	}
	return c.fail(c.dispatch(ctx, flags.Arg(0), flags.Args()[1:]))
}

func (c *command) dispatch(ctx context.Context, name string, args []string) error {
	for _, v := range verbs {
		if v.name != name {
			continue
		}
		if len(args) < v.least || len(args) > v.most {
			return usageError{fmt.Sprintf("write: sessionctl %s %s", v.name, v.args)}
		}
		return v.run(c, ctx, args)
	}
	return usageError{fmt.Sprintf("there is no command %q; sessionctl help shows all", name)}
}

// fail prints the error, if there is one, and returns the exit code.
func (c *command) fail(err error) int {
	var usage usageError
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errFaults):
		return exitFault
	case errors.As(err, &usage):
		_, _ = fmt.Fprintln(c.err, "sessionctl:", err)
		return exitUsage
	}
	_, _ = fmt.Fprintln(c.err, "sessionctl:", err)
	return exitFault
}

func (c *command) help(w io.Writer) {
	_, _ = fmt.Fprint(w, `sessionctl [options] command

Commands:
`)
	for _, v := range verbs {
		_, _ = fmt.Fprintf(w, "  %-24s %s\n", v.name+" "+v.args, v.text)
	}
	_, _ = fmt.Fprint(w, `
Options, in front of the command:
  -store URL     redis://, rediss://, unix:// as for OpenRedisStore; postgres://, mysql://, sqlite:FILE
                 The default is the environment variable SESSION_STORE.
  -realm NAME    Config.Realm: mostly the cookie's name. The default is SESSION_REALM, or __Host-session.
  -prefix TEXT   RedisOptions.Prefix. The default is session:
  -table NAME    the table in an SQL database. The default is sessions.
  -timeout TIME  how long to try, 10s by default; revoke-all and count take what they need
  -json          for programs: one JSON value a line
  -yes           do not ask before many sessions are ended

The exit code is 0, 1 if it could not be done or doctor found a fault, and 2 for a wrong command.
`)
}
