lode check scripts/01_first.lode
lode plan scripts/01_first.lode
lode run scripts/01_first.lode
lode run scripts/01_first.lode
