#!/bin/sh
# Runs every fuzz target of the modules for a while each: fuzz.sh TIME MODULE...
set -eu

root=$(pwd)
time=$1
shift
found=0
for module in "$@"; do
	cd "$root/$module"
	# Assigned first: a command that fails inside "for ... in $(...)" would be taken for one that found nothing.
	packages=$(go list -f '{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{end}}' ./...)
	for package in $packages; do
		listed=$(go test -list '^Fuzz' "$package") || { echo "$listed" >&2; exit 1; }
		for target in $(echo "$listed" | grep '^Fuzz'); do
			echo "== $package $target"
			go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 20x "$package"
			found=$((found + 1))
		done
	done
done
[ "$found" -gt 0 ] || { echo "no fuzz target was found" >&2; exit 1; }
echo "ran $found fuzz targets, $time each"
