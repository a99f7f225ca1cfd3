#!/usr/bin/env bash
# Records two minutes of a load for the picture of `lode top`: orders come into a MariaDB server in a temporary folder,
# lode mines it for four pipelines, and answers `status` every five seconds. One sink is paused for a while, and so is the
# import of a large table. LODE_BIN names a lode that is built already.
set -euo pipefail
cd "$(dirname "$0")/../.."
PATH=$PATH:/usr/sbin
recorded=$PWD/tests/golden/top/status/load.jsonl

work=$(mktemp -d)
# A MariaDB server that starts removes the temporary tables that others have in a shared folder.
export TMPDIR=$work
processes=()
finish() {
  # The last one first: nobody misses a server that still runs.
  for ((at = ${#processes[@]} - 1; at >= 0; at--)); do
    kill "${processes[at]}" 2>/dev/null || true
    wait "${processes[at]}" 2>/dev/null || true
  done
  rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

within() { # within SECONDS COMMAND…: repeats the command until it succeeds.
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    [ "$SECONDS" -lt "$end" ] || { echo "$0: not within $1 seconds: $*" >&2; exit 1; }
    sleep 0.1
  done
}
sql() { mariadb --no-defaults --socket="$work/socket" --user=root --batch "$@"; }
is_up() { sql -e 'SELECT 1' >/dev/null 2>&1; }
ctl() { "$LODE_BIN" ctl --data "$work/lode-data" "$@"; }
runs() { ctl status >/dev/null 2>&1; }

if [ -z "${LODE_BIN:-}" ]; then
  cargo build --release --quiet
  LODE_BIN=${CARGO_TARGET_DIR:-target}/release/lode
fi

user=()
if [ "$(id -u)" = 0 ]; then user=(--user=root); fi
mariadb-install-db --no-defaults --datadir="$work/data" --auth-root-authentication-method=normal \
  --skip-test-db --skip-name-resolve "${user[@]}" >"$work/install.log" 2>&1
port=$((20000 + RANDOM % 12000))
mariadbd --no-defaults --datadir="$work/data" --socket="$work/socket" --pid-file="$work/pid" --port="$port" \
  --bind-address=127.0.0.1 --server-id=1 --log-bin=binlog --binlog-format=ROW --skip-name-resolve \
  "${user[@]}" >"$work/server.log" 2>&1 &
processes+=($!)
within 60 is_up
sql <<'SQL'
CREATE DATABASE shop;
CREATE TABLE shop.customers (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(40) NOT NULL);
CREATE TABLE shop.orders (id INT AUTO_INCREMENT PRIMARY KEY, customer INT NOT NULL, state VARCHAR(10) NOT NULL);
CREATE TABLE shop.order_items (id INT AUTO_INCREMENT PRIMARY KEY, orders INT NOT NULL, qty INT NOT NULL, price DECIMAL(10,2));
CREATE TABLE shop.prices_import (id INT AUTO_INCREMENT PRIMARY KEY, price DECIMAL(10,2));
CREATE TABLE shop.stock (sku INT PRIMARY KEY, count INT NOT NULL);
INSERT INTO shop.stock SELECT seq, 1000 FROM shop.seq_1_to_500;
SQL

cat >"$work/load.lode" <<LODE
connection shop = mysql "mysql://root@127.0.0.1:$port/shop"
connection mart = sqlite "$work/mart.db"
share_mining shop via embedded { start = now, retention = 7d }

pipeline audit  = source mysql shop.{orders, order_items} share_mining -> sink jsonl "$work/audit.jsonl"
pipeline orders = source mysql shop.{customers, orders, order_items} share_mining -> sink sqlite mart.all_*
pipeline paid   = source mysql shop.orders share_mining -> filter { row.state == "paid" } -> sink jsonl "$work/paid.jsonl"
pipeline stock  = source mysql shop.{stock, prices_import} share_mining -> sink sqlite mart.*
LODE
"$LODE_BIN" run "$work/load.lode" --data "$work/lode-data" >/dev/null 2>"$work/lode.log" &
processes+=($!)
within 30 runs

load() {
  while sleep 0.2; do
    local orders=$((20 + RANDOM % 20))
    sql shop -e "
      INSERT INTO orders (customer, state) SELECT seq, 'new' FROM seq_1_to_$orders;
      INSERT INTO order_items (orders, qty, price) SELECT seq, 1 + seq % 4, seq * 1.25 FROM seq_1_to_$((orders * 3));
      UPDATE orders SET state = 'paid' WHERE state = 'new' ORDER BY id LIMIT $((orders / 2));
      UPDATE stock SET count = count - 1 WHERE sku <= $orders;
      INSERT INTO customers (name) VALUES ('Ada');
      INSERT INTO prices_import (price) SELECT seq FROM seq_1_to_$((RANDOM % 30));"
  done
}
load 2>/dev/null &
processes+=($!)

: >"$recorded"
for look in $(seq 24); do
  sleep 5
  case $look in
    3) ctl pause orders --yes >/dev/null ;;
    7) ctl resume orders >/dev/null ;;
    12) ctl pause audit --yes >/dev/null ;;
    20) ctl pause shop.prices_import --yes >/dev/null ;;
  esac
  ctl --json status | sed "s|$work/||g" >>"$recorded"
done
echo "recorded; tests/golden/top/00_load.json has to say \"now_ms\": $(date +%s%3N)"
