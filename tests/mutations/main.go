// Mutations leaves out one rule of the code after the other, and runs the tests that must fail then. It shows that each of
// these tests can fail, and for what. The tree is not touched: the compiler is told to read a changed copy of the file.
//
//	go run ./tests/mutations                    # all; 10 to 20 minutes
//	go run ./tests/mutations -only 'ending.go'  # those whose group ("g3 ", "adopt "), file or rule match
//	go run ./tests/mutations -sample 12         # some, always the same ones, or with -seed others
//	go run ./tests/mutations -list              # says which there are
//
// It fails where a mutation survives, where its text is not found exactly once, where it does not compile, where the tests fail
// without it, or where docs/guarantees.md and docs/rules.md do not name its rule and its tests.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"
)

func main() {
	var o options
	flag.StringVar(&o.only, "only", "", "a regular expression")
	flag.IntVar(&o.sample, "sample", 0, "how many; 0 for all")
	flag.Uint64Var(&o.seed, "seed", 1, "of the sample")
	flag.BoolVar(&o.list, "list", false, "only list them")
	flag.IntVar(&o.workers, "workers", max(1, runtime.NumCPU()), "how many at the same time")
	flag.DurationVar(&o.limit, "limit", 2*time.Minute, "for the tests of one mutation")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := mutate(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "mutations:", err)
		os.Exit(1)
	}
}

type options struct {
	only    string
	sample  int
	seed    uint64
	list    bool
	workers int
	limit   time.Duration
}

func mutate(ctx context.Context, o options) error {
	start := time.Now()
	pattern, err := regexp.Compile(o.only)
	if err != nil {
		return err
	}
	work, err := newWorkshop(o.limit)
	if err != nil {
		return err
	}
	defer work.close()
	all := allMutations()
	selected := draw(slices.DeleteFunc(slices.Clone(all), func(m mutation) bool { return !pattern.MatchString(m.name()) }), o)
	if len(selected) == 0 {
		return errors.New("nothing matches -only")
	}
	if wrong, err := work.check(ctx, all, selected); err != nil || len(wrong) > 0 {
		return cmp.Or(err, errors.New(strings.Join(wrong, "\n  ")))
	}
	fmt.Printf("%d mutations fit the code and the documents; of these %d (%s)\n", len(all), len(selected), since(start))
	if o.list {
		printNames(selected)
		return nil
	}
	return work.run(ctx, selected, o.workers, start)
}

// run tries mutations, and prints what becomes of them.
func (w *workshop) run(ctx context.Context, selected []mutation, workers int, start time.Time) error {
	if err := w.buildAll(ctx, selected); err != nil {
		return err
	}
	fmt.Printf("their tests are built, %d planted in them (%s)\n", w.countPlanted(), since(start))
	if wrong := w.passUnchanged(ctx, selected); len(wrong) > 0 {
		return errors.New(strings.Join(wrong, "\n  "))
	}
	fmt.Printf("the tests pass without them (%s)\n", since(start))
	wrong := w.killAll(ctx, selected, workers)
	fmt.Printf("%d mutations: %d killed, %d not, in %s\n", len(selected), len(selected)-len(wrong), len(wrong), since(start))
	if len(wrong) > 0 {
		return errors.New(strings.Join(wrong, "\n  "))
	}
	return nil
}

func since(start time.Time) time.Duration { return time.Since(start).Round(time.Second) }

func printNames(mutations []mutation) {
	for _, m := range mutations {
		fmt.Println(m.name())
	}
}

// draw returns as many of the mutations as -sample says.
func draw(mutations []mutation, o options) []mutation {
	if o.sample <= 0 || o.sample >= len(mutations) {
		return mutations
	}
	dice := rand.New(rand.NewPCG(o.seed, 0)) //nolint:gosec // a sample
	dice.Shuffle(len(mutations), func(i, j int) { mutations[i], mutations[j] = mutations[j], mutations[i] })
	return mutations[:o.sample]
}
