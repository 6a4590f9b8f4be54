#!/bin/sh
# Uses a release as a stranger does: use-release.sh vX.Y.Z. From an empty module outside the repository it gets each published
# library and builds a program with it, and installs the command.
set -eu

scripts=$(cd "$(dirname "$0")" && pwd)
version=${1:?use-release.sh vX.Y.Z}
published=$(sh "$scripts/modules.sh" published)
root=$(cd "$scripts/.." && go list -m)

work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT

# expression prints what a program calls of a module, given its folder.
expression() {
	case $1 in
	.) echo 'used.New(used.NewMemoryStore(), used.Config{})' ;;
	migrate) echo 'used.Convert(nil), error(nil)' ;;
	mongostore) echo 'used.New(nil, used.Options{})' ;;
	otelsession) echo 'used.New(used.Options{})' ;;
	promsession) echo 'used.New(used.Options{}), error(nil)' ;;
	sqlstore) echo 'used.New(nil, used.Postgres, used.Options{})' ;;
	*) echo "use-release.sh: no program for the module $1: write one" >&2; exit 1 ;;
	esac
}

use() { # folder, module path
	call=$(expression "$1")
	mkdir "$work/program"
	cd "$work/program"
	cat >main.go <<-GO
		package main

		import (
			"fmt"

			used "$2"
		)

		func main() {
			v, err := $call
			fmt.Printf("%T %v\n", v, err)
		}
	GO
	go mod init example.com/program 2>/dev/null
	go get -x "$2@$version" 2>"$work/log" || { grep -v '^#' "$work/log" >&2; exit 1; }
	go mod tidy 2>"$work/log" || { cat "$work/log" >&2; exit 1; }
	said=$(go run .) # assigned first, so that its failure is ours
	echo "$2@$version: $said"
	# No other version of a module of the repository comes with it.
	required=$(go list -m all)
	others=$(echo "$required" | grep "^$root" | grep -v " $version\$" || true)
	[ -z "$others" ] || { echo "$2@$version brings along $others" >&2; exit 1; }
	cd "$work"
	rm -r program
}

install() { # module path
	GOBIN="$work" go install "$1@$version"
	"$work/$(basename "$1")" -h >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
	go version -m "$work/$(basename "$1")" | grep -q "mod.*$1.*$version" || { echo "$1 is not $version" >&2; exit 1; }
	echo "$1@$version: installed; it says: $(head -n 1 "$work/log")"
}

for module in $published; do
	path=$root
	[ "$module" = . ] || path=$root/$module
	case $module in
	cmd/*) (cd "$work" && install "$path") ;;
	*) use "$module" "$path" ;;
	esac
done
