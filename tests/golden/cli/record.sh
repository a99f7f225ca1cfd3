lode run scripts/01_first.lode > out.jsonl 2> /dev/null
lode log record shop --table orders --limit 3 -o -
MASK=secret lode log record shop --table orders --from 0 --limit 4 --mask-with MASK --plain state -o recorded.jsonl && cat recorded.jsonl
printf 'connection shop = binlog "scripts/binlog" { database = "shop" }\npipeline copy = source binlog shop.orders -> sink null\ntest "as recorded" of copy { given log "recorded.jsonl" expect insert "null" { state = "new" } }' > copy.lode; lode test copy.lode
lode log record shop --mask -o recorded.jsonl 2>&1 | tail -3
lode log record shop --plain state -o recorded.jsonl
lode log record shop --mask-with NO_SUCH_VARIABLE -o recorded.jsonl
lode log record shop -o no/such/folder.jsonl
