//! Which changes are shown, and from where.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use clap::Args;
use lode::check::code_finding;
use lode::error::{Error, Kind, Result};
use lode::hook::{CompiledHook, Facts, HookError, HookKind, compile};
use lode::model::change::Change;
use lode::model::hook::{Hook, HookCode};
use lode::model::position::Seq;
use lode::model::table::{Pattern, TableName};
use lode::store::LogReader;

/// The name that messages give the code.
const WHERE: &str = "--where";

/// Which changes are meant.
#[derive(Args)]
pub struct Chosen {
    /// Only this table: `orders` or `shop.orders`; `*` stands for any letters. May be given several times
    #[arg(long = "table", value_name = "TABLE")]
    tables: Vec<TablePattern>,
    /// Only changes for which this Rhai code is true; it has `row`, `before`, `op`, `table` and `ts`, as in a filter
    #[arg(long = "where", value_name = "RHAI")]
    filter: Option<String>,
}

impl Chosen {
    /// What is ready to choose; `None` when the code is wrong, which was shown.
    pub fn compile(self) -> Option<Choice> {
        let filter = match self.filter {
            None => None,
            Some(text) => {
                let hook = Hook {
                    code: HookCode::Block(text.as_str().into()),
                    file: WHERE.into(),
                    line: 1,
                    column: 1,
                    modules: Arc::default(),
                };
                match compile(&hook, HookKind::Filter) {
                    Ok(hook) => Some((hook, text)),
                    Err(error) => {
                        show(&error, &text);
                        return None;
                    }
                }
            }
        };
        Some(Choice { tables: self.tables, filter })
    }
}

/// Chooses changes.
pub struct Choice {
    tables: Vec<TablePattern>,
    filter: Option<(CompiledHook, String)>,
}

impl Choice {
    /// Whether the change is meant. A truncate has no row, and passes the code.
    ///
    /// # Errors
    /// `Data` when the code fails; where, was shown.
    pub fn takes(&mut self, change: &Change) -> Result<bool> {
        let name = &change.table.name;
        if !self.tables.is_empty() && !self.tables.iter().any(|table| table.matches(name)) {
            return Ok(false);
        }
        let (Some((filter, text)), Some(row)) = (&mut self.filter, change.row()) else { return Ok(true) };
        let facts = Facts {
            row,
            before: change.before.as_ref(),
            op: change.op,
            table: &change.table,
            time_ms: change.time_ms,
        };
        filter.filter(&facts).map_err(|error| {
            show(&error, text);
            let failed = Error::new(Kind::Data, format!("--where failed at entry {} of {name}", change.seq));
            if self.tables.is_empty() {
                failed.advice("if it is about one table, name that, too: --table TABLE")
            } else {
                failed.advice("an absent column is told by row.contains(\"column\")")
            }
        })
    }
}

/// Shows an error at its place in the code.
fn show(error: &HookError, text: &str) {
    let (finding, sources) = code_finding(WHERE, text, error);
    super::show_findings(&[finding], &sources);
}

/// `orders`, `shop.orders`, `shop.*`.
#[derive(Clone)]
struct TablePattern {
    database: Option<Pattern>,
    table: Pattern,
}

impl TablePattern {
    fn matches(&self, name: &TableName) -> bool {
        self.database.as_ref().is_none_or(|database| database.matches(&name.database))
            && self.table.matches(&name.table)
    }
}

impl FromStr for TablePattern {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let (database, table) = match text.split_once('.') {
            Some((database, table)) => (Some(Pattern(database.to_owned())), table),
            None => (None, text),
        };
        if table.is_empty() {
            return Err("write `orders` or `shop.orders`".to_owned());
        }
        Ok(TablePattern { database, table: Pattern(table.to_owned()) })
    }
}

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Start {
    /// At this entry.
    Seq(Seq),
    /// With the first transaction that was committed at this time or later; milliseconds since 1970 UTC.
    Time(i64),
}

impl Start {
    /// The entry. One that retention has dropped is the oldest that is there; that is told.
    ///
    /// # Errors
    /// `Refused` when the log does not reach so far yet.
    pub async fn find(self, log: &dyn LogReader) -> Result<Seq> {
        match self {
            Start::Time(time_ms) => log.find_time(time_ms).await,
            Start::Seq(seq) => {
                let (horizon, next) = (log.stat().horizon, log.tail().next);
                if seq > next {
                    return Err(Error::new(Kind::Refused, format!("the log has no entry {seq} yet"))
                        .advice(format!("its next one is {next}")));
                }
                if seq < horizon {
                    eprintln!(
                        "the log begins with entry {horizon}; what was before was dropped by retention"
                    );
                }
                Ok(seq.max(horizon))
            }
        }
    }
}

impl FromStr for Start {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        if let Ok(seq) = text.parse() {
            return Ok(Start::Seq(Seq(seq)));
        }
        if let Some(ago) = text.strip_prefix('-') {
            // Jiff knows a sign, too; with two of them nobody knows what is meant.
            let span = ago.parse().ok().filter(|span: &jiff::Span| span.is_positive());
            let span = span.and_then(|span| span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).ok());
            let time = span.and_then(|span| jiff::Timestamp::now().checked_sub(span).ok());
            return time
                .map(|time| Start::Time(time.as_millisecond()))
                .ok_or_else(|| format!("{text} is no time ago: write -90s, -15m, -1h30m or -2d"));
        }
        match text.parse::<jiff::Timestamp>() {
            Ok(time) => Ok(Start::Time(time.as_millisecond())),
            Err(_) => Err("write an entry's number (1234), a time with its zone (2026-01-31T23:59:59Z, \
                 2026-01-31T23:59:59+01:00), or how long ago (-1h)"
                .to_owned()),
        }
    }
}

impl fmt::Display for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Start::Seq(seq) => seq.fmt(f),
            Start::Time(time_ms) => write!(f, "{time_ms} ms"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_to_begin_are_numbers_times_and_how_long_ago() {
        let start = |text: &str| text.parse::<Start>();
        assert_eq!(start("17"), Ok(Start::Seq(Seq(17))));
        assert_eq!(start("1970-01-01T00:00:01Z"), Ok(Start::Time(1000)));
        assert_eq!(start("1970-01-01T01:00:01.5+01:00"), Ok(Start::Time(1500)));
        let now = jiff::Timestamp::now().as_millisecond();
        for (text, ago_ms) in
            [("-90s", 90_000), ("-1h", 3_600_000), ("-1h30m", 5_400_000), ("-2d", 172_800_000)]
        {
            let Ok(Start::Time(time_ms)) = start(text) else { panic!("{text}") };
            assert!((now - ago_ms - time_ms).abs() < 10_000, "{text}");
        }
        for wrong in ["", "-", "-1", "1h", "2026-01-31", "2026-01-31T23:59:59", "-1 parsec", "--1h"] {
            assert!(start(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn tables_are_chosen_with_or_without_their_database() {
        let name = TableName::new("shop", "orders");
        for (text, fits) in [
            ("orders", true),
            ("shop.orders", true),
            ("shop.*", true),
            ("*.orders", true),
            ("ord*", true),
            ("crm.orders", false),
            ("order", false),
        ] {
            assert_eq!(text.parse::<TablePattern>().unwrap().matches(&name), fits, "{text}");
        }
        assert!("shop.".parse::<TablePattern>().is_err());
    }
}
