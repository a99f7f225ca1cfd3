//! Sets of GTIDs: what has been read of a source, in the source's own text.

use std::collections::BTreeMap;
use std::fmt;

/// The transactions read so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum GtidSet {
    /// MySQL: runs of numbers for each server UUID. A run that has gaps stays as it is.
    MySql(BTreeMap<[u8; 16], Vec<Run>>),
    /// MariaDB: the last transaction of each domain.
    MariaDb(BTreeMap<u32, MariaGtid>),
}

/// Numbers from `first` to `last`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub first: u64,
    pub last: u64,
}

impl Run {
    /// Servers count transactions up to here.
    pub const NUMBER_MAX: u64 = i64::MAX as u64 - 1;
}

/// The last transaction of a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MariaGtid {
    pub server_id: u32,
    pub sequence: u64,
}

/// A text that is no GTID set; it says why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NotAGtidSet(pub String);

impl GtidSet {
    /// Reads MySQL's text: `uuid:1-5:7,uuid:3`. Blanks and line breaks are accepted anywhere between parts.
    pub fn parse_mysql(text: &str) -> Result<GtidSet, NotAGtidSet> {
        let mut set = GtidSet::MySql(BTreeMap::new());
        for part in parts(text) {
            let mut fields = part.split(':').map(str::trim);
            let uuid = fields.next().unwrap_or_default();
            let uuid = uuid::Uuid::try_parse(uuid)
                .map_err(|_| NotAGtidSet(format!("{uuid:?} is no server UUID")))?
                .into_bytes();
            let mut runs = 0;
            for field in fields {
                if field.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_') {
                    return Err(NotAGtidSet(format!("it has the tag {field:?}, and tags are not supported")));
                }
                let (first, last) = field.split_once('-').unwrap_or((field, field));
                let (first, last) = (number(first)?, number(last)?);
                if first == 0 || last < first || last > Run::NUMBER_MAX {
                    return Err(NotAGtidSet(format!("{field:?} is no run of numbers")));
                }
                set.add_run(uuid, Run { first, last });
                runs += 1;
            }
            if runs == 0 {
                return Err(NotAGtidSet(format!("{part:?} has no numbers")));
            }
        }
        Ok(set)
    }

    /// Reads MariaDB's text: `0-1-9,1-2-3`.
    pub fn parse_mariadb(text: &str) -> Result<GtidSet, NotAGtidSet> {
        let mut domains = BTreeMap::new();
        for part in parts(text) {
            let mut fields = part.split('-').map(str::trim);
            let mut field = || fields.next().ok_or_else(|| NotAGtidSet(format!("{part:?} is no GTID")));
            let (domain, server_id, sequence) = (number(field()?)?, number(field()?)?, number(field()?)?);
            let wrong = || NotAGtidSet(format!("{part:?} is no GTID"));
            if fields.next().is_some() {
                return Err(wrong());
            }
            let narrow = |value: u64| u32::try_from(value).map_err(|_| wrong());
            let gtid = MariaGtid { server_id: narrow(server_id)?, sequence };
            if domains.insert(narrow(domain)?, gtid).is_some() {
                return Err(NotAGtidSet(format!("it has two transactions of the domain {domain}")));
            }
        }
        Ok(GtidSet::MariaDb(domains))
    }

    /// Reads either text, which cannot be taken for the other; `None` for the empty one, which could be both, and for one
    /// that is neither.
    pub fn parse(text: &str) -> Option<GtidSet> {
        let set = GtidSet::parse_mariadb(text).or_else(|_| GtidSet::parse_mysql(text)).ok()?;
        (!set.is_empty()).then_some(set)
    }

    /// Whether every transaction of `other` is in it.
    pub fn contains(&self, other: &GtidSet) -> bool {
        match (self, other) {
            (GtidSet::MySql(servers), GtidSet::MySql(others)) => others.iter().all(|(uuid, wanted)| {
                let runs = servers.get(uuid).map_or(&[][..], Vec::as_slice);
                let has = |wanted: &Run| {
                    runs.iter().any(|run| run.first <= wanted.first && wanted.last <= run.last)
                };
                wanted.iter().all(has)
            }),
            (GtidSet::MariaDb(domains), GtidSet::MariaDb(others)) => others.iter().all(|(domain, wanted)| {
                domains.get(domain).is_some_and(|last| last.sequence >= wanted.sequence)
            }),
            _ => false,
        }
    }

    /// Adds one transaction of MySQL.
    pub fn add_mysql(&mut self, uuid: [u8; 16], number: u64) {
        self.add_run(uuid, Run { first: number, last: number });
    }

    /// Adds one transaction of MariaDB: it is the last of its domain now.
    pub fn add_mariadb(&mut self, domain: u32, gtid: MariaGtid) {
        if let GtidSet::MariaDb(domains) = self {
            domains.insert(domain, gtid);
        }
    }

    /// Adds a run, joining it with those it touches.
    pub fn add_run(&mut self, uuid: [u8; 16], run: Run) {
        let GtidSet::MySql(servers) = self else { return };
        let runs = servers.entry(uuid).or_default();
        // The usual case: the next number of the last run.
        if let Some(last) = runs.last_mut()
            && run.first == last.last + 1
        {
            last.last = run.last;
            return;
        }
        let begin = runs.partition_point(|known| known.last.saturating_add(1) < run.first);
        let end = runs.partition_point(|known| known.first <= run.last.saturating_add(1));
        let joined = runs[begin..end].iter().fold(run, |joined, known| Run {
            first: joined.first.min(known.first),
            last: joined.last.max(known.last),
        });
        runs.splice(begin..end, [joined]);
    }

    pub fn is_empty(&self) -> bool {
        match self {
            GtidSet::MySql(servers) => servers.is_empty(),
            GtidSet::MariaDb(domains) => domains.is_empty(),
        }
    }
}

impl fmt::Display for GtidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GtidSet::MySql(servers) => {
                for (index, (uuid, runs)) in servers.iter().enumerate() {
                    let comma = if index > 0 { "," } else { "" };
                    write!(f, "{comma}{}", uuid::Uuid::from_bytes_ref(uuid))?;
                    for Run { first, last } in runs {
                        if first == last { write!(f, ":{first}")? } else { write!(f, ":{first}-{last}")? }
                    }
                }
            }
            GtidSet::MariaDb(domains) => {
                for (index, (domain, gtid)) in domains.iter().enumerate() {
                    let comma = if index > 0 { "," } else { "" };
                    write!(f, "{comma}{domain}-{}-{}", gtid.server_id, gtid.sequence)?;
                }
            }
        }
        Ok(())
    }
}

fn parts(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty())
}

fn number(text: &str) -> Result<u64, NotAGtidSet> {
    let text = text.trim();
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits).ok_or_else(|| NotAGtidSet(format!("{text:?} is no number")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    const A: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
    const B: &str = "5e11fa47-71ca-11e1-9e33-c80aa9429562";

    #[test]
    fn text_is_read_and_written() {
        for (text, normal) in [
            ("", String::new()),
            (&format!("{A}:1-5")[..], format!("{A}:1-5")),
            (&format!("{}:7", A.to_uppercase()), format!("{A}:7")),
            (&format!("{A}:1-5:6-9:11,\n {B}:3\r\n"), format!("{A}:1-9:11,{B}:3")),
            (&format!("{B}:3,{A}:4,{A}:2:3"), format!("{A}:2-4,{B}:3")),
        ] {
            assert_eq!(GtidSet::parse_mysql(text).unwrap().to_string(), normal);
        }
        assert_eq!(GtidSet::parse_mariadb("1-2-3, 0-1-9").unwrap().to_string(), "0-1-9,1-2-3");
    }

    #[test]
    fn sets_contain_each_other() {
        for (one, other, contains) in [
            (format!("{A}:1-5"), format!("{A}:2-3:5"), true),
            (format!("{A}:1-5,{B}:1"), format!("{A}:1-5"), true),
            (format!("{A}:1-5"), format!("{A}:1-6"), false),
            (format!("{A}:1-5"), format!("{A}:1-5,{B}:1"), false),
            ("0-1-9,1-1-3".into(), "0-2-9".into(), true),
            ("0-1-9".into(), "0-1-10".into(), false),
            ("0-1-9".into(), "0-1-9,1-1-1".into(), false),
            ("0-1-9".into(), format!("{A}:1"), false),
        ] {
            let (one, other) = (GtidSet::parse(&one).unwrap(), GtidSet::parse(&other).unwrap());
            assert_eq!(one.contains(&other), contains, "{one} and {other}");
        }
        assert_eq!((GtidSet::parse(""), GtidSet::parse("x")), (None, None));
    }

    #[test]
    fn bad_text_says_why() {
        for (text, why) in [
            (format!("{A}:blue:1-3"), "tag \"blue\""),
            (format!("{A}:5-1"), "no run"),
            (A.to_owned(), "no numbers"),
            (format!("{A}:+1"), "no number"),
            (format!("{A}:1-18446744073709551615"), "no run"),
            ("x:1".into(), "no server UUID"),
        ] {
            let error = GtidSet::parse_mysql(&text).unwrap_err();
            assert!(error.0.contains(why), "{error:?}");
        }
        for text in ["0-1", "0-1-2-3", "0-1-5,0-2-7", "0-4294967296-1", "0-1-x"] {
            assert!(GtidSet::parse_mariadb(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_set_never_loses_or_invents_numbers(runs in proptest::collection::vec((1_u64..60, 0_u64..6), 0..25)) {
            let mut set = GtidSet::MySql(BTreeMap::new());
            let mut numbers = BTreeSet::new();
            for (first, more) in runs {
                set.add_run([7; 16], Run { first, last: first + more });
                numbers.extend(first..=first + more);
            }
            let GtidSet::MySql(servers) = &set else { unreachable!() };
            let runs = servers.get(&[7; 16]).cloned().unwrap_or_default();
            let held: Vec<u64> = runs.iter().flat_map(|run| run.first..=run.last).collect();
            prop_assert_eq!(held, numbers.into_iter().collect::<Vec<_>>());
            prop_assert!(runs.windows(2).all(|pair| pair[0].last + 1 < pair[1].first));
            prop_assert_eq!(GtidSet::parse_mysql(&set.to_string()).unwrap(), set);
        }
    }
}
