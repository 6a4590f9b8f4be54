#!/bin/sh
# Makes the tags of a release, of the root module and of each other module that modules.txt says is published, and writes
# notes and bills of materials into dist: release.sh [check] vX.Y.Z, where check ends after the checks. It pushes nothing.
# docs/releasing.md says how to go on.
#
# On main a module finds the others through "replace", so that a change of two of them is one commit. Users' programs don't
# see a replace, and "go install" refuses one. The tag of a nested module is therefore on a commit beside main, which
# requires the released versions in place of it. The root module requires no other, and its tag is on main.
set -eu

cd "$(dirname "$0")/.."
only_check=""
if [ "${1:-}" = check ]; then
	only_check=yes
	shift
fi
version=${1:?release.sh [check] vX.Y.Z}
published=$(sh scripts/modules.sh published)
root=$(go list -m)

fail() { echo "release.sh: $*" >&2; exit 1; }

# newest prints the highest of the versions that it reads. A pre-release comes before its release.
newest() { sed 's/-/~/' | sort -V | tail -n 1 | sed 's/~/-/'; }
git fetch -q --tags origin || fail "origin's tags can't be had"
last=$(git tag --list 'v*' | newest)
last_release=$(git tag --list 'v*' | grep -v -e - | newest)

check_version() {
	echo "$version" | grep -Eq '^v[01]\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)(-[0-9A-Za-z]+(\.[0-9A-Za-z]+)*)?$' ||
		fail "$version is no version vX.Y.Z or vX.Y.Z-rc.1, with X 0 or 1: from v2 on the modules' paths change"
	[ "$version" != "$last" ] || fail "$version is there already"
	[ "$(printf '%s\n%s\n' "$last" "$version" | newest)" = "$version" ] || fail "$version is not above $last"
}

check_tree() {
	[ -z "$(git status --porcelain)" ] || fail "the tree is not clean"
	[ "$(git branch --show-current)" = main ] || fail "this is not the branch main"
	there=$(git ls-remote origin refs/heads/main | cut -f 1)
	[ "$there" = "$(git rev-parse HEAD)" ] || fail "origin's main is another commit: push or pull first, and let CI pass"
}

# check_surface fails for a break that the version may not have, or that the changelog does not tell.
check_surface() {
	# shellcheck disable=SC2086 # the modules, one word each
	go run ./tests/api $published || fail "the exported surface is not that of the folder api"
	[ -n "$last_release" ] || return 0
	if git diff --quiet "$last_release" HEAD -- api; then return 0; fi
	[ "${version%%-*}" = "$version" ] || [ "${version%%-*}" != "$last_release" ] || fail "$version is below $last_release"
	[ "$(minor "$version")" != "$(minor "$last_release")" ] ||
		fail "a patch version has the surface of $last_release, and the folder api has changed since. Take the next minor version"
	changed=$(git diff --no-renames "$last_release" HEAD -- api) # by itself, so that its failure is ours
	gone=$(echo "$changed" | grep '^-[^-]' || true)
	[ -n "$gone" ] || return 0
	[ "$(major "$version")" = v0 ] || [ "$(major "$version")" != "$(major "$last_release")" ] ||
		fail "these were in $last_release, and a minor version after v1 keeps them:
$gone"
	sh scripts/changelog.sh "$version" | grep -Eq '^### (Changed|Removed)' ||
		fail "these were in $last_release, and CHANGELOG.md has nothing under \"Changed\" or \"Removed\" of them:
$gone"
}
minor() { echo "$1" | cut -d . -f 1,2; }
major() { echo "$1" | cut -d . -f 1; }

check_version
check_tree
sh scripts/modules.sh check
sh scripts/changelog.sh "$version" >/dev/null
check_surface
if [ -n "$only_check" ]; then
	echo "$version can be released"
	exit 0
fi

work=$(mktemp -d)
made=""
cleanup() {
	status=$?
	# shellcheck disable=SC2086 # the tags, one word each
	[ "$status" = 0 ] || [ -z "$made" ] || git tag -d $made >&2 || true
	git worktree remove --force "$work/tree" 2>/dev/null || true
	chmod -R u+w "$work"
	rm -rf "$work"
	exit "$status"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

tag() { # name, folder
	git -C "$2" tag -a "$1" -m "$1"
	made="$made $1"
	echo "tagged $1"
}

# prepare_go has the go command take this repository's modules from here, where their tags are, and others as usual. It gets
# a module cache of its own: a version that is not published may still change.
prepare_go() {
	GOBIN="$work" go install github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0
	GOPROXY="file://$(go env GOMODCACHE)/cache/download,$(go env GOPROXY)"
	GOMODCACHE="$work/cache"
	GOPRIVATE="$root"
	GOWORK=off
	GIT_CONFIG_COUNT=1
	GIT_CONFIG_KEY_0="url.file://$(git rev-parse --path-format=absolute --git-common-dir).insteadOf"
	GIT_CONFIG_VALUE_0="https://$root"
	export GOPROXY GOMODCACHE GOPRIVATE GOWORK GIT_CONFIG_COUNT GIT_CONFIG_KEY_0 GIT_CONFIG_VALUE_0
}

# require_released writes the released versions into the go.mod of a folder in the release's tree.
require_released() { # folder
	for other in $published; do
		path=$root
		[ "$other" = . ] || path=$root/$other
		go mod edit -dropreplace="$path"
		! grep -Eq "(^|[[:space:]])$path v" go.mod || go mod edit -require="$path@$version"
	done
	! grep -q '=>' go.mod || fail "$1/go.mod still has a replace. Is that module published, and in modules.txt?"
	go mod tidy
}

release_nested() { # folder
	(cd "$work/tree/$1" && require_released "$1")
	git -C "$work/tree" commit -q -a -m "Require the released modules in $1 $version"
	tag "$1/$version" "$work/tree"
}

tag "$version" .
git worktree add -q --detach "$work/tree" "$version"
prepare_go
for module in $published; do
	[ "$module" = . ] || release_nested "$module"
done

rm -rf dist # of an earlier release
mkdir dist
sh scripts/changelog.sh "$version" >dist/notes.md
dist=$PWD/dist
# shellcheck disable=SC2086 # the modules, one word each
(cd "$work/tree" && SBOM_TOOL="$work/cyclonedx-gomod" SBOM_VERSION="$version" sh scripts/sbom.sh "$dist" $published)

prerelease=""
[ "${version%%-*}" = "$version" ] || prerelease=" --prerelease"

echo
cat <<TEXT
The tags are here, and nowhere else. Look at them and at dist, then publish them, all or none:
    git push --atomic origin$made
Try them, and tell it:
    sh scripts/use-release.sh $version
    gh release create $version --verify-tag --title $version --notes-file dist/notes.md$prerelease dist/*.cdx.json
TEXT
