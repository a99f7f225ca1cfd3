lode
lode --version
lode --help
lode help check
lode help fmt
lode help plan
lode help run
lode help explain
lode help completions
lode help log
lode help log peek
lode help log tail
lode help log stat
lode help log verify
