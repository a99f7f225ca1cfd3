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
    lode test  shop.lode      what its tests say, without a server
    lode run   shop.lode      go; Ctrl-C delivers what was read and stops
    lode log peek shop        the newest changes that were mined
    lode ctl status           how the lode that runs is doing
    lode attach               a prompt to control it
    lode top                  the same on the whole screen, as it changes

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

pub const TEST: &str = "\
Examples:
    lode test shop.lode                    runs every test \"…\" of … { … } of the script
    lode test tests/*.lode --filter refund only those with `refund` in their name
    lode test --json shop.lode             for CI

Nothing is connected, and no secret is needed: what a test gives goes through the stages of its pipeline, and what would \
come to the sinks is compared with what it expects.
Exit codes: 0 every test passes, 1 one fails, 2 the script has errors, or --filter chooses no test.";

pub const RUN: &str = "\
Examples:
    lode run shop.lode                     go; run it again, and it goes on where it stopped
    lode run shop.lode --data /var/lib/lode
    lode run shop.lode --set batch=500     with another value for `let batch = …`
    lode run -e 'connection old = binlog \"/backup\" { database = \"shop\" }
                 pipeline orders { start = earliest } = source binlog old.orders -> sink jsonl \"-\"'

Rows of `sink jsonl \"-\"` go to standard output, everything else to standard error: a progress line on a terminal, \
log lines elsewhere. LODE_LOG=info (or debug, warn, off) says how much is logged. With --log-format json each line is an \
object with ts, level, target and message, and where they apply mine, pipeline, route, tables, advice and wait_ms.

--metrics 9464 (or an address) serves /metrics for Prometheus, /healthz, and /readyz, which says whether every mine reads \
and every route is at work. There is no log-in: whoever reaches the address reads it, so 127.0.0.1 is the place for it.

`lode ctl` controls it while it runs; what it was told, such as what is stopped, holds for the next run, too. Its data \
folder has one running lode. SIGHUP reads the scripts again and applies what has changed in them; on a terminal it ends \
lode, as it does there with any program.

Ctrl-C or SIGTERM stops reading, delivers what was mined (for 10 seconds at the most) and ends; a second one ends at \
once. Either way nothing is lost: the next run delivers the rest.

Exit codes: 0 done or stopped, 1 failed while running, 2 the script or the arguments are wrong, 3 something outside \
is missing or set up wrongly (a file, a right, a password, a server setting), 130 ended by the second Ctrl-C.";

pub const CTL: &str = "\
Examples:
    lode ctl status                        mines and pipelines of the lode that runs with ./lode-data
    lode ctl show mine shop                one of them in full
    lode ctl stop shop                     its pipelines are shown first; --yes does it
    lode ctl 'set shop.retention = 5d'     while it is stopped; the setting stays over restarts
    lode ctl start shop                    and its pipelines go on by themselves
    lode ctl 'pause shop.big_table' --yes  the other tables go on
    lode ctl 'rewind orders to \"2026-01-31T08:00:00Z\"' --yes
    lode ctl 'diff \"new.lode\"'           what it would change; apply does it
    lode ctl audit                         who changed what, when
    lode ctl help                          every command; `help rewind` shows how one is written
    lode ctl --json status                 for programs

Single quotes keep the shell away from quotes and signs of a command. Only the user who runs lode may ask it, through \
the socket lode.sock in its data folder.
Exit codes: 0 done, 1 it could not be done, 2 the command or a script is wrong, 3 no lode runs there, or it belongs to \
another user, 4 it has to be confirmed with --yes.";

pub const ATTACH: &str = "\
Examples:
    lode attach                            a prompt on the lode that runs with ./lode-data
    lode attach --data /var/lib/lode
    lode attach < commands.txt             each line is carried out; --yes confirms what has to be
    lode> stop shop                        the same commands and answers as `lode ctl`; asks before it does it
    lode> watch status                     again every second, until Ctrl-C
    lode> top                              everything on the whole screen, until q
    lode> help                             every command; `help rewind`, `help retention`

Tab completes commands, names and settings, the right arrow takes what is hinted, the up arrow and Ctrl-R go back in the \
history, which is kept in lode/history in XDG_STATE_HOME (~/.local/state). A line that begins with a blank is not kept. \
A line with an open brace goes on in the next one. Ctrl-C clears the line, leaves a view, or stops waiting for an answer; \
Ctrl-D ends the prompt, and lode runs on.

NO_COLOR switches colours off. Exit codes: 0 done; without a terminal, that of the first command that failed, as for \
`lode ctl`; 3 no lode runs there, or it belongs to another user.";

pub const TOP: &str = "\
Examples:
    lode top                               the lode that runs with ./lode-data
    lode top --data /var/lib/lode

Mines, routes and tables with their rates, refreshed every second; bars show the lag of the last two minutes. Tab and the \
arrows move, < > s sort, / filters, p pauses or stops what is selected and r lets it go on, Enter shows everything about \
it or a table's newest changes, ? lists the keys. What affects others is confirmed first. q, Esc or Ctrl-C leave, and lode \
runs on. When it ends, the view says so and goes on when it runs again.

NO_COLOR switches colours off. Exit codes: 0 left; 2 there is no terminal; 3 no lode runs there, or it belongs to another \
user.";

pub const REPL: &str = "\
Examples:
    lode repl shop.lode                    runs it as `lode run` does, with a prompt
    lode repl                              runs nothing; `apply \"shop.lode\"` at the prompt begins
    lode repl shop.lode --data /var/lib/lode

The prompt is that of `lode attach`, which can be opened on this lode as well, in other terminals. It stays when every \
source has ended. What fails is told above the line that is being typed; LODE_LOG=info tells more.

Ctrl-D or SIGTERM stops reading, delivers what was mined (for 10 seconds at the most) and ends; Ctrl-C then ends at \
once. Either way nothing is lost: the next run delivers the rest.
Exit codes: as for `lode run`.";

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

pub const LOG: &str = "\
A log is named as users know it:
    shop                                   in the data folder, where a mine keeps its log by default
    store.shop_log --script FILE           a collection of a connection that the script declares
    shop --script FILE                     the log of the script's mine or source shop

Examples:
    lode log peek shop                     the newest changes, each with before and after
    lode log tail shop --table orders      changes of one table, as they are mined
    lode log stat                          what each log in the data folder holds
    lode log verify shop                   reads it all; the exit code says whether it is whole

Logs are only read: a mine may be writing meanwhile, and nothing is taken, cut or repaired.";

pub const LOG_RECORD: &str = "\
Examples:
    lode log record shop -o recorded.jsonl                 the 100 newest changes
    lode log record shop --table orders --limit 20 -o recorded.jsonl
    lode log record shop --from -1h --where 'row.total > 100' -o recorded.jsonl
    lode log record shop --mask --plain state -o recorded.jsonl
    lode log record shop --mask-with MASK_SECRET -o recorded.jsonl

The file has one JSON object a line: the tables with their columns, and the changes. A test gives them to its pipeline with \
given log \"recorded.jsonl\".

--mask makes every letter and digit of texts, binary data and documents another one of its kind. The same text always has \
the same mask, so that keys keep their relations. Numbers, dates and words of ENUM and SET stay, and so do columns \
that --plain names. Look through the file before it leaves the house.
Exit codes: 0 done, 1 the log cannot be read, 2 the arguments are wrong, 3 something outside is missing.";

pub const LOG_PEEK: &str = "\
Examples:
    lode log peek shop                     the 10 newest changes
    lode log peek shop --limit 100 --table orders --table 'tmp_*'
    lode log peek shop --from -1h          the first changes of the last hour
    lode log peek shop --from 2026-01-31T23:59:59Z --limit 50
    lode log peek shop --from 1234         from the entry with this number
    lode log peek shop --where 'row.total > 100 && op != \"delete\"'
    lode log peek lyl_mongo.david_mongo_share --script walk.lode
    lode log peek shop --json | jq .after

Text shows bounded values: long texts are cut, binary data is hex with its length. An update shows its key and \
what changed. --json has every value as it is: decimals and times as strings, integers of any size, bytes as base64.

In --where, row is the row after the change, for a delete the one before; a truncate has no row and always fits.
Exit codes: 0 done, 1 the log cannot be read, 2 the arguments are wrong, 3 something outside is missing.";

pub const LOG_TAIL: &str = "\
Examples:
    lode log tail shop                     what is mined from now on
    lode log tail shop --from -15m         what was mined in the last 15 minutes, and goes on
    lode log tail shop --where 'row.state == \"paid\"' --limit 1
    lode log tail lyl_mongo.david_mongo_share --script walk.lode --json

Changes are shown when their transaction is durable in the log. A store that is away is waited for. Ctrl-C ends with \
exit code 0; 1 says that the log can be read no longer, 2 that the arguments are wrong.";

pub const LOG_STAT: &str = "\
Examples:
    lode log stat                          every log in the data folder
    lode log stat shop
    lode log stat --script walk.lode       every log of a script
    lode log stat shop --json

An entry is a change, a commit, a schema or a note of the tables that are mined. Nothing is read but figures.";

pub const LOG_VERIFY: &str = "\
Examples:
    lode log verify shop
    lode log verify shop --json            for programs
    lode log verify lyl_mongo.david_mongo_share --script walk.lode

Reads every entry: numbers without a hole, checksums, commits at the ends of blocks, schemas that the catalog knows, \
positions that never go back. Exit codes: 0 whole, 1 damaged or not readable, 2 the arguments are wrong.";
