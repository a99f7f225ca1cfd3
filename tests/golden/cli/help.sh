lode
lode --version
lode --help
lode help check
lode help fmt
lode help plan
lode help run
lode help explain
lode help completions
