#!/bin/sh
# Runs the tests that use Redis on several servers, one after the other, and those of sqlstore on MySQL, and says at the end
# which failed: test-servers.sh "SERVER..." "PACKAGE..." [CLUSTER], where CLUSTER, if not empty, adds the cluster and Sentinel
# tests.
set -eu

cd "$(dirname "$0")/.."
packages=$2
cluster=${3:-}
list=$(sh scripts/servers.sh $1) # assigned first, so that its failure is ours

run() { # server, program
	status=0
	case $1 in mysql-*)
		sh scripts/deps.sh # the same tests run on PostgreSQL
		MYSQL_SERVER=$2 go -C sqlstore test -count=1 -timeout 15m ./...
		return
		;;
	esac
	REDIS_SERVER=$2 go test -count=1 -timeout 8m $packages || status=1
	[ -z "$cluster" ] || REDIS_SERVER=$2 go -C tests/integration test -count=1 -timeout 8m -run '^Test(Cluster|Sentinel)_' . || status=1
	return $status
}

failed=""
while read -r server program; do
	echo "== $server: $("$program" --version)"
	run "$server" "$program" </dev/null || failed="$failed $server"
done <<-LIST
	$list
LIST
[ -z "$failed" ] || { echo "The tests failed on:$failed" >&2; exit 1; }
