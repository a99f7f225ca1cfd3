lode run
lode run nope.lode
lode run script/01_first.lode
lode run scripts
lode chek scripts/01_first.lode
lode check --set batch scripts/01_first.lode
touch file; lode run scripts/01_first.lode --data file/data
lode run -e 'connection old = binlog "nowhere" { database = "shop" } pipeline p = source binlog old.customers -> sink null'
lode run -e 'connection old = binlog "scripts/binlog" { database = "shop" } pipeline p { start = earliest } = source binlog old.order_items -> map { row.total = row.qty * 2; } -> sink null'
lode run -e 'connection old = binlog "scripts/binlog" { database = "shop" } connection mart = sqlite "file/mart.db" pipeline p { start = earliest } = source binlog old.orders -> sink sqlite mart.a'
lode explain e0204
lode explain E024
lode explain nonsense
lode explain mysq
lode completions tcsh
echo 'connection old = binlog "scripts/binlog" { database = "shop" } connection mart = sqlite "mart.db" share_mining old { start = earliest } pipeline p = source binlog old.orders share_mining -> sink sqlite mart.a' > p.lode; lode run p.lode --data one
lode run p.lode --data two
mkdir taken; touch taken/logs; lode run p.lode --data taken
