#!/bin/sh
# Writes a bill of materials (CycloneDX, JSON) for each module into a folder: sbom.sh FOLDER MODULE...
# It lists what a program gets with the module, so nothing that only tests use. SBOM_VERSION is the modules' own version.
set -eu

tool=github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0

mkdir -p "$1"
folder=$(cd "$1" && pwd)
shift
# SBOM_TOOL is the tool built already, where the go command's variables are not for building it.
[ -n "${SBOM_TOOL:-}" ] || SBOM_TOOL="go run $tool"

# write_version writes the module's own version, which the tool finds in no tag of a nested module.
write_version() { # file, module path
	sed "s#\"pkg:golang/$2?#\"pkg:golang/$2@$SBOM_VERSION?#
s#^\( *\)\"name\": \"$2\",\$#&\\
\1\"version\": \"$SBOM_VERSION\",#" "$1" >"$1.new"
	mv "$1.new" "$1"
}

for module in "$@"; do
	name=session
	type=library
	[ "$module" = . ] || name=$(echo "$module" | tr / -)
	case $module in cmd/*) type=application ;; esac
	# shellcheck disable=SC2086 # a command and its arguments
	(cd "$module" && $SBOM_TOOL mod -json -licenses -type "$type" -output "$folder/$name.cdx.json" . 2>"$folder/$name.log") ||
		{ cat "$folder/$name.log" >&2; exit 1; }
	rm "$folder/$name.log"
	[ -z "${SBOM_VERSION:-}" ] || write_version "$folder/$name.cdx.json" "$(cd "$module" && go list -m)"
	echo "$folder/$name.cdx.json"
done
