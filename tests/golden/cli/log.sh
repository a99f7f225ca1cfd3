lode log stat
lode run scripts/01_first.lode > out.jsonl 2> /dev/null
lode log stat
lode log stat shop --json
lode log peek shop --limit 3 --table orders
lode log peek --from 102 --limit 3
lode log peek embedded.shop --from 102 --limit 2 --json
lode log peek shop --script scripts/01_first.lode --table 'shop.*items' --where 'row.quantity > 3 && op == "delete"'
lode log peek shop --where 'row.state == paid'
lode log peek shop --where 'row.quantity > 3'
lode log peek shop --where 'row.quantity > 3' --table nothing
lode log peek shop --from 9999
lode log peek shop --from yesterday
lode log tail shop --from 0 --limit 2 --table orders
lode log verify
lode log verify shop --json
lode log peek shp
lode log peek mongo.orders
lode log peek shop --data elsewhere
lode log peek other --script scripts/01_first.lode --data elsewhere
lode log peek shop --script scripts/01_first.lode --data elsewhere
lode log peek shop -e 'connection mart = sqlite'
