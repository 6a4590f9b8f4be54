#!/bin/sh
# Runs every fuzz target of the modules for a while each: fuzz.sh TIME MODULE...
set -eu

root=$(pwd)
time=$1
shift
for module in "$@"; do
	cd "$root/$module"
	for package in $(go list -f '{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{end}}' ./...); do
		for target in $(go test -list '^Fuzz' "$package" | grep '^Fuzz' || :); do
			echo "== $package $target"
			go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" "$package"
		done
	done
done
