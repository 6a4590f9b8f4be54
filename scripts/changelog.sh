#!/bin/sh
# Prints what CHANGELOG.md says of a version, as a release's notes: changelog.sh vX.Y.Z
set -eu

version=${1#v}
notes=$(awk -v head="## $version - " '
	index($0, "## ") == 1 { inside = index($0, head) == 1; next }
	inside { print }' CHANGELOG.md)
[ -n "$(echo "$notes" | tr -d '[:space:]')" ] ||
	{ echo "CHANGELOG.md has no section \"## $version - YYYY-MM-DD\", or nothing in it" >&2; exit 1; }
echo "$notes"
