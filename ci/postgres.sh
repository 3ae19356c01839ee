#!/usr/bin/env bash
# Succeeds if there is a Postgres to test with, after installing one if it can. It
# starts none: the tests start their own.
set -euo pipefail

have() {
	[ -n "${REALTIME_POSTGRES:-}" ] || compgen -G '/usr/lib/postgresql/*/bin/initdb' ||
		compgen -G '/opt/homebrew/opt/postgresql@*/bin/initdb' || command -v initdb
}

have >/dev/null && exit 0
[ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || exit 1
echo "=== Installing Postgres"
# Without a cluster there is nothing that its package would start.
mkdir -p /etc/postgresql-common
[ -e /etc/postgresql-common/createcluster.conf ] ||
	echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
apt-get update -qq
DEBIAN_FRONTEND=noninteractive UCF_FORCE_CONFFOLD=1 apt-get install -qq -y --no-install-recommends postgresql >/dev/null
have >/dev/null
