package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/doorman-go/session"
)

// list shows the sessions of a user.
func (c *command) list(ctx context.Context, args []string) error {
	s, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	infos, err := s.manager.Sessions(ctx, args[0])
	if err != nil {
		return err
	}
	if c.json {
		return c.printJSON(infos)
	}
	if len(infos) == 0 {
		_, err := fmt.Fprintf(c.out, "%s has no session in the realm %s.\n", args[0], s.realm)
		return err
	}
	table := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "ID\tNOTE\tSIGNED IN\tLAST USED\tENDS")
	for _, info := range infos {
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", info.ID, info.Note, c.ago(info.AuthenticatedAt), c.ago(info.LastUsedAt), c.ahead(info.ExpiresAt))
	}
	return table.Flush()
}

// printJSON writes one value on each line.
func (c *command) printJSON(infos []session.Info) error {
	encoder := json.NewEncoder(c.out)
	for _, info := range infos {
		if err := encoder.Encode(info); err != nil {
			return err
		}
	}
	return nil
}

// ago and ahead write a time relative to now, because people read that more easily.
func (c *command) ago(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return rough(c.now().Sub(t)) + " ago"
}

func (c *command) ahead(t time.Time) string { return "in " + rough(t.Sub(c.now())) }

// rough writes a time in its two largest units.
func rough(d time.Duration) string {
	day := 24 * time.Hour
	switch {
	case d < time.Second:
		return "0 s"
	case d < time.Minute:
		return fmt.Sprintf("%d s", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%d min", d/time.Minute)
	case d < day:
		return fmt.Sprintf("%d h %d min", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%d d %d h", d/day, d%day/time.Hour)
}

// shown is a session as show prints it.
type shown struct {
	ID, Realm, User, Note, Tag, State      string
	CreatedAt, AuthenticatedAt, LastUsedAt time.Time
	ExpiresAt, Deadline, KeptUntil         time.Time
	IdleTimeout                            time.Duration
	Persistent                             bool
	Values                                 map[string]int // bytes by key
	Flashes                                int
	Successor                              string `json:",omitempty"`
}

// show prints one session. Values may be secrets, so it prints only their keys and sizes.
func (c *command) show(ctx context.Context, args []string) error {
	s, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	call, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	r, err := s.store.Load(call, session.NewToken(args[0], ""))
	if errors.Is(err, session.ErrNotFound) {
		return fmt.Errorf("there is no session %s, and none has ended in the last minute: %w", args[0], err)
	}
	if err != nil {
		return err
	}
	one := c.shown(r)
	if c.json {
		return json.NewEncoder(c.out).Encode(one)
	}
	return c.printShown(one)
}

func (c *command) shown(r *session.Record) shown {
	one := shown{
		ID: r.ID, Realm: r.Realm, User: r.User, Note: r.Note, Tag: r.Tag, State: state(r, c.now()),
		CreatedAt: r.CreatedAt, AuthenticatedAt: r.AuthenticatedAt, LastUsedAt: r.LastUsedAt,
		ExpiresAt: r.ExpiresAt(), Deadline: r.Deadline, KeptUntil: r.KeepUntil(),
		IdleTimeout: r.IdleTimeout, Persistent: r.Persistent, Values: map[string]int{}, Flashes: len(r.Flashes), Successor: r.Successor,
	}
	for key, raw := range r.Values.All() {
		one.Values[key] = len(raw)
	}
	return one
}

func state(r *session.Record, now time.Time) string {
	switch {
	case r.Ended && r.Revoked:
		return "revoked"
	case r.Ended:
		return "ended"
	case !now.Before(r.ExpiresAt()):
		return "expired"
	}
	return "live"
}

func (c *command) printShown(one shown) error {
	table := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	row := func(name string, value any) { _, _ = fmt.Fprintf(table, "%s\t%v\n", name, value) }
	row("ID", one.ID)
	row("state", one.State)
	row("realm", one.Realm)
	row("user", orDash(one.User))
	row("note", orDash(one.Note))
	row("tag", orDash(one.Tag))
	if one.State == "ended" || one.State == "revoked" {
		row("goes on as", orDash(one.Successor))
		row("kept for", rough(one.KeptUntil.Sub(c.now())))
		return table.Flush()
	}
	row("created", c.ago(one.CreatedAt))
	row("signed in", c.ago(one.AuthenticatedAt))
	row("last used", c.ago(one.LastUsedAt))
	row("ends if unused", c.ahead(one.ExpiresAt))
	row("ends", c.ahead(one.Deadline))
	row("persistent", one.Persistent)
	row("flashes", one.Flashes)
	for key, size := range sorted(one.Values) {
		row("value "+key, fmt.Sprintf("%d bytes", size))
	}
	return table.Flush()
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

// revoke ends one session of a user, or all.
func (c *command) revoke(ctx context.Context, args []string) error {
	s, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	user := args[0]
	if len(args) == 2 {
		if err := s.manager.Revoke(ctx, user, args[1]); err != nil {
			return err
		}
		return c.ended(1)
	}
	infos, err := s.manager.Sessions(ctx, user)
	if err != nil {
		return err
	}
	if len(infos) > 1 && !c.confirm(fmt.Sprintf("End %d sessions of %s", len(infos), user)) {
		return errors.New("nothing was ended")
	}
	n, err := s.manager.RevokeUser(ctx, user)
	if err != nil {
		return fmt.Errorf("%d ended before: %w", n, err)
	}
	return c.ended(n)
}

// ended prints how many sessions were ended.
func (c *command) ended(n int) error {
	if c.json {
		return json.NewEncoder(c.out).Encode(map[string]int{"ended": n})
	}
	_, err := fmt.Fprintf(c.out, "Ended %s.\n", plural(n, "session"))
	if n == 0 {
		_, _ = fmt.Fprintln(c.err, "There was none in this store, with this realm and prefix. Sessions in encrypted cookies can't be ended from here: "+
			"call RevokeUser in the program, or replace the secret.")
	}
	return err
}

func plural(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// confirm asks, unless -yes was given. Without an answer it reports no.
func (c *command) confirm(question string) bool {
	if c.yes {
		return true
	}
	_, _ = fmt.Fprintf(c.err, "%s? Type yes: ", question)
	answer, _ := bufio.NewReader(c.in).ReadString('\n')
	return strings.TrimSpace(answer) == "yes"
}

// revokeAll ends all sessions of the realm.
func (c *command) revokeAll(ctx context.Context, _ []string) error {
	s, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	if !c.confirm(fmt.Sprintf("Sign out everybody in the realm %s of %s", s.realm, s.name)) {
		return errors.New("nothing was ended")
	}
	n, err := s.manager.RevokeAll(ctx)
	if err != nil {
		return fmt.Errorf("%d ended before: %w", n, err)
	}
	return c.ended(n)
}

// progressEvery is after how many sessions count prints its progress.
const progressEvery = 100_000

// counts are the results of count.
type counts struct{ Sessions, SignedIn, Users int }

// count counts the live sessions of the realm, those that are signed in, and their users.
func (c *command) count(ctx context.Context, _ []string) error {
	s, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	var found counts
	users := map[string]struct{}{}
	for info, err := range s.manager.Each(ctx) {
		if err != nil {
			return fmt.Errorf("after %d sessions: %w", found.Sessions, err)
		}
		found.Sessions++
		if info.User != "" {
			found.SignedIn++
			users[info.User] = struct{}{}
		}
		if found.Sessions%progressEvery == 0 {
			_, _ = fmt.Fprintf(c.err, "%d sessions so far\n", found.Sessions)
		}
	}
	found.Users = len(users)
	if c.json {
		return json.NewEncoder(c.out).Encode(found)
	}
	_, err = fmt.Fprintf(c.out, "%s, %d of them signed in, of %s.\n", plural(found.Sessions, "session"), found.SignedIn, plural(found.Users, "user"))
	return err
}
