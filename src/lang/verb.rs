//! The verbs of commands, with how they are written and what they do.

macro_rules! verbs {
    ($($variant:ident = $text:literal, $usage:literal, $meaning:literal;)*) => {
        /// The verb of a command. The same verbs serve scripts, schedules, hooks, the prompt and `lode ctl`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Verb {
            $(#[doc = $meaning] $variant,)*
        }

        impl Verb {
            /// Every verb.
            pub const ALL: &[Verb] = &[$(Verb::$variant),*];

            /// As it is written.
            pub fn as_str(self) -> &'static str {
                match self { $(Verb::$variant => $text,)* }
            }

            /// The forms of its commands, one a line.
            pub fn usage(self) -> &'static str {
                match self { $(Verb::$variant => $usage,)* }
            }

            /// What it does, in a sentence.
            pub fn meaning(self) -> &'static str {
                match self { $(Verb::$variant => $meaning,)* }
            }
        }
    };
}

verbs! {
    Status = "status", "status\nstatus NAME", "Says how everything is, or one mine or pipeline.";
    Mines = "mines", "mines", "Lists the mines with their places and rates.";
    Pipelines = "pipelines", "pipelines", "Lists the pipelines with their routes.";
    Tables = "tables", "tables MINE", "Lists the tables of a mine with their figures.";
    Show = "show", "show NAME\nshow mine NAME\nshow pipeline NAME", "Shows one mine or pipeline in full.";
    Start = "start", "start NAME…", "Starts mines or pipelines that were stopped, have failed or are finished.";
    Stop = "stop", "stop NAME…", "Stops mines or pipelines, until somebody starts them.";
    Restart = "restart", "restart PIPELINE…", "Stops pipelines and starts them where they were.";
    Pause = "pause", "pause PIPELINE…\npause shop.big_table\npause shop.{a, b}\npause shop.tmp_*", "Pauses pipelines, or the mining of single tables; what they have not seen is kept.";
    Resume = "resume", "resume PIPELINE…\nresume shop.big_table\nresume shop.big_table accept gap", "Goes on after a pause, without loss.";
    Set = "set", "set MINE.retention = 5d\nset MINE { retention = 5d, exclude = [shop.tmp_*] }", "Changes settings of a mine that is stopped; they stay over restarts.";
    Rewind = "rewind", "rewind PIPELINE to \"2026-01-31T08:00:00Z\"\nrewind PIPELINE to seq 123\nrewind PIPELINE to gtid \"…\"\nrewind PIPELINE to position(\"binlog.000042\", 4)\nrewind PIPELINE to earliest", "Has a pipeline go on from another place; what lies behind it is delivered again.";
    Skip = "skip", "skip PIPELINE", "Sets the one row aside on which a pipeline has failed, and goes on behind it.";
    Apply = "apply", "apply\napply \"FILE\"", "Makes what runs equal to a script: the one that runs, read again, or another.";
    Diff = "diff", "diff\ndiff \"FILE\"", "Shows what `apply` would change, and changes nothing.";
    Remove = "remove", "remove pipeline NAME\nremove connection NAME\nremove share_mining CONNECTION\nremove let NAME\nremove test NAME\nremove on lag > 30s", "Takes a statement out of what runs, as if the script did not have it.";
    Undo = "undo", "undo", "Takes back the last statement, `remove` or `apply`.";
    Save = "save", "save \"FILE\"", "Writes what runs, with what was typed, as one script.";
    Audit = "audit", "audit\naudit COUNT", "Lists the last commands that changed something: when, by which door, how they went.";
    Alerts = "alerts", "alerts", "Says which alerts fire, which are muted, and what was told last.";
    Mute = "mute", "mute lag of sales for 1h\nmute lag\nmute sales\nmute all", "Has alerts tell nobody, for a while or until `unmute`; they go on being watched.";
    Unmute = "unmute", "unmute lag of sales\nunmute all", "Has muted alerts tell again; what still fires is told at once.";
    Ack = "ack", "ack lag of sales\nack sales", "Has alerts that fire tell no more until they are resolved.";
    Help = "help", "help\nhelp VERB\nhelp SETTING", "Says how commands are written, and what settings mean.";
    Explain = "explain", "explain E0203\nexplain mysql", "Prints the page of a code, or the settings of a kind.";
    Peek = "peek", "peek shop.orders\npeek shop.orders limit 5\npeek PIPELINE from \"2026-01-31T08:00:00Z\"\npeek shop.orders where { row.qty > 3 }", "Shows the newest changes in a mine's log, or those from a place on.";
    Sql = "sql", "sql CONNECTION \"select …\"\nsql shop \"select * from orders\" limit 5", "Asks a database by a statement that only reads.";
    Eval = "eval", "eval shop.orders { row.qty * row.price }\neval PIPELINE limit 3 { row.total = row.qty * row.price; }", "Tries Rhai code on the newest rows of a log, and writes nothing.";
    Trace = "trace", "trace PIPELINE id = 42\ntrace PIPELINE limit 3 order_id = 42, line = 1", "Shows what the stages of a pipeline make of a row's last changes.";
    Tail = "tail", "tail\ntail shop.orders\ntail PIPELINE where { row.qty > 3 }\ntail shop.orders from earliest", "Follows changes as they are mined, until Ctrl-C.";
}

impl Verb {
    /// The verbs that may begin a statement of a script. They are reserved words; the others are verbs only where a
    /// command is expected, so that scripts may use them as names.
    pub const RESERVED: &[Verb] = &[
        Verb::Start,
        Verb::Stop,
        Verb::Pause,
        Verb::Resume,
        Verb::Status,
        Verb::Show,
        Verb::Tail,
        Verb::Set,
        Verb::Explain,
    ];

    /// The verbs that only show data to whoever asks. No script and no schedule has them, but for `tail` as a statement.
    pub const LOOKING: &[Verb] = &[Verb::Peek, Verb::Sql, Verb::Eval, Verb::Trace];

    /// The verb that is written like this; `?` is `help`, too.
    pub fn find(text: &str) -> Option<Verb> {
        if text == "?" {
            return Some(Verb::Help);
        }
        Verb::ALL.iter().copied().find(|verb| verb.as_str() == text)
    }
}
