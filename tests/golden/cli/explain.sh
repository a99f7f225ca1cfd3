lode explain
lode explain share_mining
lode explain sqlite
lode completions bash | head -n 1
lode completions zsh | head -n 1
lode completions fish | grep -c 'n "__fish_lode_needs_command"' | sed 's/[0-9][0-9]*/some/'
