#!/bin/sh
# Prints the folders of the modules in modules.txt that are published, or internal, or all: modules.sh published|internal|all
# With "check" it fails for a module that modules.txt or Dependabot does not know.
set -eu

cd "$(dirname "$0")/.."

list() { awk -v want="$1" '!/^#/ && NF == 2 && (want == "all" || $2 == want) { print $1 }' modules.txt; }

check() {
	work=$(mktemp -d)
	trap 'rm -rf "$work"' EXIT
	git ls-files -co --exclude-standard '*go.mod' | xargs -n 1 dirname | sort >"$work/there"
	list all | sort >"$work/listed"
	# Dependabot's folders begin with a slash.
	sed -n '/gomod/,/github-actions/s#^ *- "*/\([^"]*\)"*$#\1#p' .github/dependabot.yml | sed 's#^$#.#' | sort >"$work/dependabot"
	diff -u "$work/there" "$work/listed" || { echo "modules.txt and the go.mod files differ (-: there, +: listed)" >&2; exit 1; }
	diff -u "$work/there" "$work/dependabot" ||
		{ echo ".github/dependabot.yml and the go.mod files differ (-: there, +: listed)" >&2; exit 1; }
	kinds=$(awk '!/^#/ && NF > 0 && (NF != 2 || $2 != "published" && $2 != "internal")' modules.txt)
	[ -z "$kinds" ] || { echo "modules.txt: a line is a folder and published or internal: $kinds" >&2; exit 1; }
	echo "$(wc -l <"$work/there") modules, all in modules.txt and .github/dependabot.yml"
}

case ${1:-} in
published | internal | all) list "$1" ;;
check) check ;;
*) echo "modules.sh published|internal|all|check" >&2; exit 2 ;;
esac
