#!/bin/sh
# Checks that each action of the workflows is pinned by a commit, with its version as a comment: a tag can be moved.
set -eu

cd "$(dirname "$0")/../.github/workflows"
uses=$(grep -rn 'uses:' .) # fails where there is none: then this looks in the wrong place
loose=$(echo "$uses" | grep -Ev 'uses: [^@ ]+@[0-9a-f]{40} # v[0-9]+\.[0-9]+\.[0-9]+$' || true)
[ -z "$loose" ] || { echo "These are not pinned by a commit with the version as a comment:" >&2; echo "$loose" >&2; exit 1; }
