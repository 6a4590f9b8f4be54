package main

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"time"
)

type report struct {
	plan  plan
	start time.Time
	all   []measurement
}

// write prints the results, and writes them to a file unless its name is empty.
func (r *report) write(out string) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# SQL stores\n\nWritten by `go -C benchmarks/sql run .` in %v, with %s on %d processors.\n", time.Since(r.start).Round(time.Second),
		runtime.Version(), runtime.GOMAXPROCS(0))
	fmt.Fprintln(&b, "The servers run on the same machine and do not wait for the disk (fsync is off), for all alike. All libraries share one")
	fmt.Fprintln(&b, "pool of connections. They take turns, and a ratio is the median of the passes': two figures of a pass saw the same load.")
	r.writeSpeeds(&b)
	r.writeSweeps(&b)
	r.writeSizes(&b)
	r.writeWeek(&b)
	fmt.Print(b.String())
	if out == "" {
		return nil
	}
	return os.WriteFile(out, b.Bytes(), 0o644)
}

func (r *report) writeSpeeds(b *bytes.Buffer) {
	fmt.Fprintf(b, "\n## Requests per second, %d goroutines, and lost updates\n", goroutines)
	fmt.Fprintf(b, "\nIn brackets: how many times as fast as this library's. Lost: of %d requests that set a key each in one session at once.\n", writers)
	for _, m := range r.all {
		fmt.Fprintf(b, "\n%s\n\n| | read | read + write | login | lost |\n|---|--:|--:|--:|--:|\n", m.version)
		own := m.speeds[m.subjects[0].name]
		for _, s := range m.subjects {
			fmt.Fprintf(b, "| %s", s.name)
			for _, op := range operations {
				figures := m.speeds[s.name][op]
				switch {
				case len(figures) == 0:
					fmt.Fprint(b, " | can't change the ID")
				case s.ours:
					fmt.Fprintf(b, " | %.0f", median(figures))
				default:
					fmt.Fprintf(b, " | %.0f (%.2f)", median(figures), ratio(figures, own[op]))
				}
			}
			fmt.Fprintf(b, " | %d |\n", m.lost[s.name])
		}
	}
}

func (r *report) writeSweeps(b *bytes.Buffer) {
	fmt.Fprintf(b, "\n## A sweep of %d rows of which a third has expired, beside two readers and a writer\n", r.plan.rows)
	fmt.Fprintf(b, "\nMilliseconds that requests took (median, 99 of 100, longest), before the sweep and beside it. This library sweeps 1000 rows at a time,\n"+
		"on SQLite 100; the others' cleanup is one statement.\n")
	fmt.Fprintln(b, "\n| | swept | in | reads before | reads beside | writes before | writes beside |\n|---|--:|--:|--:|--:|--:|--:|")
	for _, m := range r.all {
		for _, s := range m.sweeps {
			fmt.Fprintf(b, "| %s: %s | %d | %v | %s | %s | %s | %s |\n", m.database.name, s.name, s.deleted, s.took.Round(10*time.Millisecond),
				spread(s.calm), spread(s.beside), spread(s.writes), spread(s.blocked))
		}
	}
}

func spread(figures []float64) string {
	return fmt.Sprintf("%.1f, %.1f, %.0f", percentile(figures, 0.5), percentile(figures, 0.99), percentile(figures, 1))
}

func (r *report) writeSizes(b *bytes.Buffer) {
	fmt.Fprintf(b, "\n## What a table of %d sessions takes\n", r.plan.rows)
	fmt.Fprintf(b, "\nThree small values and a user each: a record of %d bytes. Before the sweep.\n", len(sampleRecord()))
	fmt.Fprintln(b, "\n| | bytes a row | of them table | of them indexes |\n|---|--:|--:|--:|")
	for _, m := range r.all {
		per := func(bytes int) int { return bytes / m.size.rows }
		fmt.Fprintf(b, "| %s | %d | %d | %d |\n", m.database.name, per(m.size.table+m.size.indexes), per(m.size.table), per(m.size.indexes))
	}
}

func (r *report) writeWeek(b *bytes.Buffer) {
	fmt.Fprintf(b, "\n## %d days of touches\n", r.plan.days)
	fmt.Fprintln(b, "\nSessions that are used without a pause, by their clock, in the table that the sweep left: each is touched every three minutes.")
	fmt.Fprintln(b, "HOT: the share of PostgreSQL's updates that stayed in their page and changed no index.")
	fmt.Fprintln(b, "\n| | sessions | touches | before | after | HOT |\n|---|--:|--:|--:|--:|--:|")
	for _, m := range r.all {
		hot := ""
		if m.week.hot >= 0 {
			hot = fmt.Sprintf("%.1f %%", 100*m.week.hot)
		}
		fmt.Fprintf(b, "| %s | %d | %d | %v | %v | %s |\n", m.database.name, m.week.sessions, m.week.touches, m.week.before, m.week.after, hot)
	}
}
