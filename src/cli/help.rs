//! Help that teaches: what each command is for, shown by examples.

pub const LODE: &str = "\
A script says what is connected; Rhai in braces says what is computed:

    connection shop = mysql  \"mysql://repl@10.0.0.5:3306/shop\" { password = env(\"SHOP_PW\") }
    connection mart = sqlite \"mart.db\"
    pipeline orders =
      source mysql shop.orders share_mining
      -> filter { row.state == \"paid\" }
      -> sink sqlite mart.orders

Try it:
    lode check shop.lode      every mistake at once, and what to type instead
    lode plan  shop.lode      what is read once, and who reads it
    lode run   shop.lode      go; Ctrl-C delivers what was read and stops

Exit codes: 0 done, 1 failed while running, 2 the script or the arguments are wrong, 3 something \
outside is missing or set up wrongly. `lode help COMMAND` shows examples.";

pub const CHECK: &str = "\
Examples:
    lode check shop.lode                   every mistake at once, and what to type instead
    lode check connections.lode shop.lode  several files are put together
    lode check -e 'connection mart = sqlite \"mart.db\"'
    generate-script | lode check -         `-` is standard input
    lode check --json shop.lode            for editors and CI

Nothing is connected. A secret that is not there is a warning here, and an error for `lode run`.
Exit codes: 0 no error, 2 errors.";

pub const FMT: &str = "\
Examples:
    lode fmt *.lode                        in place; comments stay where they are
    lode fmt - < shop.lode                 to standard output, for editors
    lode fmt --check scripts/*.lode        for CI: changes nothing

Exit codes: 0 done, or in the usual form; 1 --check found a file that is not; 2 a script that cannot be read.";

pub const PLAN: &str = "\
Examples:
    lode plan shop.lode                    a tree: mines, logs, pipelines, stages, sinks
    lode plan shop.lode --set batch=500    with another value for `let batch = …`
    lode plan --json shop.lode             for programs; secrets are never shown

Nothing is connected. Exit codes: 0 done, 2 the script has errors.";

pub const RUN: &str = "\
Examples:
    lode run shop.lode                     go; run it again, and it goes on where it stopped
    lode run shop.lode --data /var/lib/lode
    lode run shop.lode --set batch=500     with another value for `let batch = …`
    lode run -e 'connection old = binlog \"/backup\" { database = \"shop\" }
                 pipeline orders { start = earliest } = source binlog old.orders -> sink jsonl \"-\"'

Rows of `sink jsonl \"-\"` go to standard output, everything else to standard error: a progress line on a terminal, \
log lines elsewhere. LODE_LOG=info (or debug, warn, off) says how much is logged.

Ctrl-C or SIGTERM stops reading, delivers what was mined (for 10 seconds at the most) and ends; a second one ends at \
once. Either way nothing is lost: the next run delivers the rest.

Exit codes: 0 done or stopped, 1 failed while running, 2 the script or the arguments are wrong, 3 something outside \
is missing or set up wrongly (a file, a right, a password, a server setting), 130 ended by the second Ctrl-C.";

pub const EXPLAIN: &str = "\
Examples:
    lode explain E0203                     the page of a code: why, and how it is made right
    lode explain mysql                     settings of its connections, sources and sinks, with defaults
    lode explain share_mining              settings of shared mining
    lode explain                           everything that has a page";

pub const COMPLETIONS: &str = "\
Examples:
    source <(lode completions bash)                           bash, now
    lode completions zsh > ~/.zfunc/_lode                     zsh, where fpath has ~/.zfunc
    lode completions fish > ~/.config/fish/completions/lode.fish";
