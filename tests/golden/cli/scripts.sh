lode check -e 'pipeline a = sourc mysql x.y -> sink null'
lode check -e 'conection a = sqlite "x.db"'
lode check -e 'connection mart = sqlite "mart.db"'
lode check - < scripts/01_first.lode
lode check scripts/language/connections.lode
lode check scripts/01_first.lode scripts/language/01_one_line.lode 2>/dev/null
lode check -e 'let batch = 10' --set batch=x --set bath=1
lode plan -e ''
lode run -e ''
lode run -e 'connection a = sqlite "x.db"'
lode run scripts/language/01_one_line.lode
mkdir -p s/shop; echo x > s/shop/repl; LODE_SECRETS=$PWD/s DW_PASSWORD=x lode run scripts/language/01_one_line.lode
lode run -e 'connection old = binlog "scripts/binlog" { database = "shop" } pipeline p { start = earliest } = source binlog old.customers -> filter { row.id == 1 } -> keep id, name -> sink jsonl "-"'
