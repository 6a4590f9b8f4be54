#!/bin/sh
# Tries scripts/release.sh on a copy of what is committed, with a remote of its own, and uses what it made as a stranger does.
# It also tries what the recipe has to refuse. Nothing of this repository changes.
set -eu

cd "$(dirname "$0")/.."
root=$(go list -m)
work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT

git clone -q --bare --no-local . "$work/remote.git" 2>/dev/null
git -C "$work/remote.git" update-ref refs/heads/main "$(git rev-parse HEAD)"
git -C "$work/remote.git" tag --list | xargs -r git -C "$work/remote.git" tag -d >/dev/null # the trial starts before the first
git clone -q --branch main "$work/remote.git" "$work/copy"
cd "$work/copy"
git config user.name trial
git config user.email trial@localhost

# The trial's versions have no section yet, whichever of them the real changelog has by now.
sed -i 's/^## [0-9].*/## Before the trial/' CHANGELOG.md
git diff --quiet || git commit -q -a -m "Take the versions out of the changelog"
git push -q origin main

commit() { git commit -q -a -m "$1" && git push -q origin main; }

# write_notes puts the section of a version above the others.
write_notes() { # version, a heading in it
	awk -v add="## ${1#v} - 2000-01-01\n\n### $2\n\n- Tried.\n" '/^## / && !done { print add; done = 1 } { print }' CHANGELOG.md >"$work/changelog"
	cp "$work/changelog" CHANGELOG.md
}

# refused fails unless the recipe refuses a version, for a reason.
refused() { # version, reason
	if sh scripts/release.sh "$1" >"$work/log" 2>&1; then
		echo "$1 was not refused ($2)" >&2
		exit 1
	fi
	grep -q "$2" "$work/log" || { cat "$work/log" >&2; exit 1; }
	[ -z "$(git tag --points-at HEAD)" ] || [ "$(git tag --points-at HEAD)" = "${3:-}" ] || { echo "a refused release left tags" >&2; exit 1; }
	echo "refused, as it has to be: $(grep -h "$2" "$work/log" | tail -n 1)"
}

echo "== before the first release"
refused 0.1.0 "is no version"
refused v0.1.0 "CHANGELOG.md has no section"
write_notes v0.1.0 Added
refused v0.1.0 "the tree is not clean"
git commit -q -a -m "Write the notes of v0.1.0"
refused v0.1.0 "origin's main is another commit"
git push -q origin main

echo "== v0.1.0"
sh scripts/release.sh v0.1.0 >"$work/said" # into a file: a pipe would hide that it failed
cat "$work/said"
sed -n 's/^    \(git push.*\)/\1 -q/p' "$work/said" | sh # as the recipe says
test -s dist/notes.md

echo "== used from outside"
(
	# Paths stay out of what is built, so that a second trial finds in the build cache what the first has put there.
	GOFLAGS="$(go env GOFLAGS) -trimpath"
	GOPROXY="file://$(go env GOMODCACHE)/cache/download,$(go env GOPROXY)"
	GOMODCACHE="$work/cache"
	GOPRIVATE="$root"
	GOWORK=off
	GIT_CONFIG_COUNT=1
	GIT_CONFIG_KEY_0="url.file://$work/remote.git.insteadOf"
	GIT_CONFIG_VALUE_0="https://$root"
	export GOFLAGS GOPROXY GOMODCACHE GOPRIVATE GOWORK GIT_CONFIG_COUNT GIT_CONFIG_KEY_0 GIT_CONFIG_VALUE_0
	sh scripts/use-release.sh v0.1.0
)

echo "== after it"
refused v0.1.0 "is there already" v0.1.0
refused v0.0.9 "is not above" v0.1.0
grep -rl 'LocalPath(' --include='*.go' . | xargs sed -i 's/\bLocalPath(/LocalWay(/g'
write_notes v0.1.1 Fixed
commit "Break the surface, and say nothing"
refused v0.1.1 "INCOMPATIBLE"
make -s api-update >/dev/null
commit "Write the break into the baseline"
refused v0.1.1 "a patch version has the surface"
write_notes v0.2.0 Added
commit "Take a minor version"
refused v0.2.0 "nothing under"
write_notes v0.2.1 Changed
commit "Say it"
sh scripts/release.sh check v0.2.1
echo "The trial passed."
