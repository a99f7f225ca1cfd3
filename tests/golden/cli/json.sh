lode check --json scripts/01_first.lode
lode check --json -e 'pipeline a = source mysql shop.orders -> sink nul'
lode plan --json scripts/01_first.lode
