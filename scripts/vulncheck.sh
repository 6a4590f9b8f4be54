#!/bin/sh
# Looks for known vulnerabilities in what the modules use. A finding fails. So does any other error, but for one: where
# the vulnerability database can't be reached, as on a machine without internet, it says so and goes on, unless
# VULNCHECK=required. VULNDB is the URL of another database. The floors below are checked in any case.
set -eu

root=$(pwd)
output=$(mktemp)
trap 'rm -f "$output"' EXIT

# Versions below these have known advisories: go-redis CVE-2025-29923, x/crypto CVE-2025-22869, pgx CVE-2024-27304.
floors="github.com/redis/go-redis/v9 v9.7.3
golang.org/x/crypto v0.35.0
github.com/jackc/pgx/v5 v5.5.4"

floor() { # module, minimum, version in use
	lowest=$(printf '%s\n%s\n' "$2" "$3" | sort -V | head -n 1)
	[ "$lowest" = "$2" ] || { echo "$1 $3 is below $2, which fixes an advisory" >&2; exit 1; }
}

for module in "$@"; do
	cd "$root/$module"
	echo "$floors" | while read -r path minimum; do
		version=$(go list -m -f '{{.Version}}' "$path" 2>/dev/null) || continue
		floor "$path" "$minimum" "$version"
	done
	if go run golang.org/x/vuln/cmd/govulncheck@v1.9.0 -db "${VULNDB:-https://vuln.go.dev}" ./... >"$output" 2>&1; then
		continue
	fi
	if [ "${VULNCHECK:-}" != required ] && grep -q 'fetching vulnerabilities: Get ' "$output"; then
		echo "WARNING: govulncheck did NOT run: its database can't be reached from here. With internet access, set VULNCHECK=required." >&2
		continue
	fi
	cat "$output" >&2
	exit 1
done
