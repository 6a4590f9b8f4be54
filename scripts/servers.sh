#!/bin/sh
# Brings Redis and Valkey servers of several versions, and MySQL, onto the machine, for the tests to run against, and
# prints a line for each: its name and its program. Arguments name the servers wanted; without any it is all of them.
#
# They are packages of Debian's suites, from the mirror that the machine's own apt uses, unpacked into a cache folder
# with the C library they were built with. apt works on lists and a state of its own, so what the machine has installed,
# and its lists, stay as they are. What is in the cache folder is not fetched again; remove the folder to get newer ones.
# SERVERS_CACHE names another folder.
set -eu

cache=${SERVERS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/session-servers}
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

fail() { echo "servers.sh: $*" >&2; exit 1; }

# suite_of prints the suite that has a server.
suite_of() {
	case $1 in
	redis-7) echo bookworm ;;
	redis-8 | valkey-8) echo trixie ;;
	valkey-9 | mysql-9) echo sid ;;
	*) fail "there is no server $1: it is redis-7, redis-8, valkey-8, valkey-9 or mysql-9" ;;
	esac
}

# package_of prints the package that has a server, and program_of where its program is in that.
package_of() {
	case $1 in
	mysql-*) echo mysql-server-core ;;
	*) echo "${1%-*}-server" ;;
	esac
}
program_of() {
	case $1 in
	mysql-*) echo usr/sbin/mysqld ;;
	*) echo "usr/bin/${1%-*}-server" ;;
	esac
}

# mirror prints where the machine's apt gets Debian's packages from.
mirror() { apt-get update --print-uris | sed -n "s#^'\(.*/debian\)/dists/[^/]*/InRelease'.*#\1#p" | head -n 1; }

# prepare gives apt a folder of its own for a suite, and reads the suite's list of packages into it.
prepare() { # suite, folder
	mkdir -p "$2/lists/partial" "$2/archives/partial" "$2/none"
	: >"$2/status" # nothing is installed, so that libraries are fetched as well
	echo "deb [signed-by=$keyring target=Packages] $mirror $1 main" >"$2/sources.list"
	cat >"$2/apt.conf" <<-CONF
		Dir::Etc { sourcelist "$2/sources.list"; sourceparts "$2/none"; preferences "none"; preferencesparts "$2/none"; };
		Dir::State "$2";
		Dir::State::status "$2/status";
		Dir::Cache "$2";
		Acquire::Retries "3";
		Debug::NoLocking "1";
		#clear APT::Update;
	CONF
	apt-get -c "$2/apt.conf" -qq update >&2 && ls "$2"/lists/*_Packages* >/dev/null 2>&1 ||
		fail "the mirror of this machine's apt does not have Debian's suite $1"
}

# unpack puts a package and the libraries it needs into a folder, with a program beside them that starts the server.
unpack() { # package, apt's folder, target, program in the package
	rm -f "$2"/archives/*.deb
	apt-get -c "$2/apt.conf" -qq -y --download-only --no-install-recommends install "$1" >&2 ||
		fail "the package $1 can't be had"
	mkdir "$3/root"
	for deb in "$2"/archives/lib*.deb "$2"/archives/zlib*.deb "$2/archives/${1%-*}"-*.deb; do
		dpkg-deb -x "$deb" "$3/root"
	done
	chmod -R ug-s "$3/root"
	loader=$(cd "$3" && find root -name 'ld-linux*.so.*' | head -n 1)
	[ -n "$loader" ] || fail "the package $1 came without the C library"
	libraries=$(cd "$3" && find root -maxdepth 3 -path '*/lib/*-linux-gnu*' -prune | sed 's#^#$here/#' | paste -s -d :)
	cat >"$3/${4##*/}" <<-RUN
		#!/bin/sh
		here=\${0%/*}
		exec "\$here/$loader" --library-path "$libraries" "\$here/root/$4" "\$@"
	RUN
	chmod +x "$3/${4##*/}"
}

# check fails unless a program is the server that its name promises.
check() { # program, server
	version=$("$1" --version) || fail "$1 does not start"
	case $version in
	*" v=${2#*-}."* | *" Ver ${2#*-}."*) ;;
	*) fail "$2 is another version now: $version" ;;
	esac
}

# get brings one server and prints its line.
get() { # server
	suite=$(suite_of "$1")
	package=$(package_of "$1")
	binary=$(program_of "$1")
	program=$cache/$1/${binary##*/}
	if [ ! -x "$program" ]; then
		echo "Getting $1 from Debian $suite" >&2
		[ -d "$work/$suite" ] || prepare "$suite" "$work/$suite"
		mkdir -p "$work/$1" "$cache"
		unpack "$package" "$work/$suite" "$work/$1" "$binary"
		check "$work/$1/${binary##*/}" "$1"
		rm -rf "${cache:?}/$1"
		mv "$work/$1" "$cache/$1"
	fi
	check "$program" "$1"
	echo "$1 $program"
}

[ $# -gt 0 ] || set -- redis-7 redis-8 valkey-8 valkey-9 mysql-9
if ! command -v apt-get >/dev/null 2>&1 || [ ! -e "$keyring" ]; then
	fail "this takes Debian's apt and its keyring. Elsewhere install a server yourself, and name it: REDIS_SERVER=/path/to/valkey-server make test"
fi
mirror=$(mirror)
[ -n "$mirror" ] || fail "the apt sources of this machine name no mirror of Debian"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work" # apt fetches as a user without rights
for server in "$@"; do
	get "$server"
done
