#!/usr/bin/env bash
# Records shop.000001 and shop.000002 again: runs make.sql on a MariaDB server of its own and keeps the server's
# binlog files. Needs mariadbd, mariadb-install-db and mariadb. Nothing outside of this folder is changed.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
# A MariaDB server that starts removes the temporary tables that others have in a shared folder.
export TMPDIR=$work
server=
finish() {
    if [[ -n $server ]]; then
        kill "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
    fi
    rm -rf "$work"
}
trap finish EXIT

mariadbd=$(command -v mariadbd || echo /usr/sbin/mariadbd)
mariadb-install-db --no-defaults --datadir="$work/data" --auth-root-authentication-method=normal \
    --skip-test-db --skip-name-resolve --user="$(id -un)" > "$work/install.log"
"$mariadbd" --no-defaults --datadir="$work/data" --socket="$work/socket" --pid-file="$work/pid" \
    --skip-networking --user="$(id -un)" --server-id=1 --log-bin="$work/data/shop" --binlog-format=ROW \
    --binlog-row-image=FULL --binlog-row-metadata=FULL --binlog-checksum=CRC32 2> "$work/server.log" &
server=$!
for _ in $(seq 100); do
    [[ -S $work/socket ]] && break
    sleep 0.1
done

mariadb --no-defaults --socket="$work/socket" --user=root --default-character-set=utf8mb4 \
    --abort-source-on-error < "$here/make.sql"
kill "$server"
wait "$server" || true
server=
install -m 644 "$work/data/shop.000001" "$work/data/shop.000002" "$here/"
ls -l "$here"/shop.0*
