#!/bin/sh
# Prints how many statements of each package of the root module its tests reach, as a Markdown table. A statement counts
# whichever package's test reaches it. COVER_HTML names a file for the lines themselves, COVER_PROFILE one for the profile.
set -eu

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=""
profile=${COVER_PROFILE:-$work/profile}

# What users link: neither the helpers of our own tests nor the tools. sessiontest and storetest are for users' tests.
packages=$(go list ./... | grep -v -e /tests/ -e 'internal/.*test$' | paste -s -d ,)
go test -timeout 8m -covermode atomic -coverpkg "$packages" -coverprofile "$profile" ./... >"$work/log" 2>&1 || failed=yes

[ -s "$profile" ] || { cat "$work/log" >&2; exit 1; }

# The profile has a line for each test program and block: FILE:RANGE STATEMENTS COUNT.
awk 'NR > 1 { statements[$1] = $2; reached[$1] += $3 }
	END {
		for (block in statements) {
			package = block
			sub(/\/[^\/]*$/, "", package)
			all[package] += statements[block]
			if (reached[block] > 0) hit[package] += statements[block]
		}
		for (package in all) {
			printf "%s %d %d\n", package, all[package], hit[package]
		}
	}' "$profile" | sort >"$work/table"
echo "| package | statements | reached |"
echo "|---|--:|--:|"
awk '{ printf "| %s | %d | %.1f %% |\n", $1, $2, 100 * $3 / $2; all += $2; hit += $3 }
	END { printf "| **all** | %d | **%.1f %%** |\n", all, 100 * hit / all }' "$work/table"

[ -z "${COVER_HTML:-}" ] || go tool cover -html "$profile" -o "$COVER_HTML"

# The table is of use all the same, but not a success.
[ -z "$failed" ] || { grep -v '^ok' "$work/log" >&2; exit 1; }
