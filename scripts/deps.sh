#!/bin/sh
# Installs the programs that the tests start themselves, as far as they are missing. Arguments name further packages.
set -eu

browser() { command -v chromium || command -v chromium-browser || command -v google-chrome || [ -d "/Applications/Chromium.app" ] || [ -d "/Applications/Google Chrome.app" ]; }

# Debian keeps PostgreSQL's programs out of PATH, one folder for each version.
postgres() { command -v postgres || ls -d /usr/lib/postgresql/*/bin/postgres; }
mariadb() { command -v mariadbd || [ -x /usr/sbin/mariadbd ] || [ -x /usr/libexec/mariadbd ]; }

missing=""
command -v redis-server >/dev/null 2>&1 || missing="redis-server"
browser >/dev/null 2>&1 || missing="$missing chromium"
postgres >/dev/null 2>&1 || missing="$missing postgresql"
mariadb >/dev/null 2>&1 || missing="$missing mariadb-server"
command -v promtool >/dev/null 2>&1 || missing="$missing prometheus"
command -v pgbouncer >/dev/null 2>&1 || [ -x /usr/sbin/pgbouncer ] || missing="$missing pgbouncer"
for extra in "$@"; do
	command -v "$extra" >/dev/null 2>&1 || missing="$missing $extra"
done
[ -n "$missing" ] || exit 0

root=""
if [ "$(id -u)" != 0 ]; then
	root="sudo"
	command -v sudo >/dev/null 2>&1 || { echo "Install these, as root, and try again:$missing" >&2; exit 1; }
fi

echo "Installing:" $missing
if command -v apt-get >/dev/null 2>&1; then
	# The tests start servers of their own: the package's service is told not to.
	policy=/usr/sbin/policy-rc.d
	if [ ! -e "$policy" ]; then
		printf '#!/bin/sh\nexit 101\n' | $root tee "$policy" >/dev/null
		$root chmod +x "$policy"
		trap '$root rm -f "$policy"' EXIT
	fi
	$root apt-get update -qq
	$root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $missing >/dev/null
elif command -v dnf >/dev/null 2>&1; then
	$root dnf install -y -q $(echo "$missing" | sed 's/redis-server/redis/; s/postgresql/postgresql-server/')
elif command -v brew >/dev/null 2>&1; then
	for package in $missing; do # one by one: --cask would hold for all names on its line
		case $package in
		chromium) brew install -q --cask chromium ;;
		redis-server) brew install -q redis ;;
		postgresql) brew install -q postgresql@17 && brew link -q --overwrite postgresql@17 ;;
		mariadb-server) brew install -q mariadb ;;
		*) brew install -q "$package" ;;
		esac
	done
else
	echo "No apt-get, dnf or brew here. Install these and try again:$missing" >&2
	exit 1
fi
