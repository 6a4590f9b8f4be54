#!/bin/sh
# Tests what needs no server: test-noservers.sh [list] MODULE..., where list only prints the packages.
#
# The rule: with the build tag noservers, the package's tests do not link what starts a server or a browser. The tag leaves
# out the files that test Redis, and Redis among the stores that a test runs over. The tests get a PATH with Go alone, so
# one that needs a server all the same fails.
set -eu

# What starts servers or a browser.
starters="github.com/doorman-go/session/internal/redistest
github.com/doorman-go/session/internal/sqltest
github.com/doorman-go/session/benchmarks
github.com/chromedp/chromedp"

root=$(pwd)
action='test'
if [ "${1:-}" = list ]; then
	action='list'
	shift
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
linked=$work/linked # the packages that need a server, each with what it links
: >"$linked"

# alone writes the packages of a module that need no server to a file: a test program is PACKAGE.test.
alone() { # file
	go list -tags noservers -test -f '{{if eq .Name "main"}}{{.ImportPath}} {{join .Deps " "}}{{end}}' ./... >"$work/tests"
	echo "$starters" >"$work/starters"
	grep '^[^ ]*\.test ' "$work/tests" | grep -F -w -f "$work/starters" >>"$linked" || true
	grep '^[^ ]*\.test ' "$work/tests" | grep -F -w -v -f "$work/starters" | sed 's/\.test .*//' >"$1" || true
}

goroot=$(go env GOROOT)
! command -v cygpath >/dev/null 2>&1 || goroot=$(cygpath "$goroot")

failed=""
count=0
for module in "$@"; do
	cd "$root/$module"
	alone "$work/packages"
	[ -s "$work/packages" ] || continue
	count=$((count + $(wc -l <"$work/packages")))
	if [ "$action" = list ]; then
		cat "$work/packages"
		continue
	fi
	echo "== $module"
	# One word for each package, which has no spaces: $(cat) is not quoted. They are vetted as they are tested.
	# shellcheck disable=SC2046
	env -u REDIS_SERVER PATH="$goroot/bin" CGO_ENABLED=0 "$goroot/bin/go" test -tags noservers -timeout 8m $(cat "$work/packages") ||
		failed="$failed $module"
done
[ "$action" = list ] && exit 0

[ "$count" -gt 0 ] || { echo "no package was found that needs no server" >&2; exit 1; }
echo "Tested $count packages without a server. These need servers, and were not tested:"
sed 's/\.test .*//' "$linked"
[ -z "$failed" ] || { echo "The tests failed in:$failed" >&2; exit 1; }
