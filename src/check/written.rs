//! Checked values and names as scripts write them.

use std::time::Duration;

use super::model::{Measure, Subject};
use crate::lang::parse::is_reserved;
use crate::lang::print::{quotable, quote};
use crate::model::spec::{Place, Setting, Start};

/// A value. Tables stand with their `connection`, where one is given, so that a script can read them again.
pub fn setting_text(setting: &Setting, connection: Option<&str>) -> String {
    match setting {
        Setting::Switch(on) => if *on { "on" } else { "off" }.to_owned(),
        Setting::Integer(number) => number.to_string(),
        Setting::Duration(duration) => duration_text(*duration),
        Setting::Size(bytes) => size_text(*bytes),
        Setting::Text(text) => quote(text),
        Setting::Choice(word) => (*word).to_owned(),
        Setting::Secret(_) => "***".to_owned(),
        Setting::Start(start) => start_text(start),
        Setting::Tables(tables) => match connection {
            None => format!("[{}]", tables.join(", ")),
            Some(connection) => {
                let tables: Vec<_> =
                    tables.iter().map(|table| format!("{connection}.{}", quotable(table))).collect();
                format!("[{}]", tables.join(", "))
            }
        },
        Setting::Path(path) => quote(&path.display().to_string()),
        Setting::Columns(columns) => {
            let columns: Vec<String> =
                columns.iter().map(|(column, word)| format!("{column} = {word}")).collect();
            format!("{{ {} }}", columns.join(", "))
        }
    }
}

/// What a command is about.
pub fn subject_text(subject: &Subject) -> String {
    match subject {
        Subject::Pipeline(name) => name_text(name),
        Subject::Mine(name) => name.clone(),
        Subject::Tables { connection, tables } => {
            let names: Vec<_> = tables.include.iter().map(|pattern| quotable(&pattern.0)).collect();
            match names.as_slice() {
                [only] => format!("{connection}.{only}"),
                several => format!("{connection}.{{{}}}", several.join(", ")),
            }
        }
    }
}

/// A pipeline's name as a command writes it: in quotes, unless it is a word.
pub fn name_text(name: &str) -> String {
    let is_word = name.split('.').count() <= 2
        && name.split('.').all(|part| {
            !part.is_empty()
                && part.chars().all(|letter| letter.is_alphanumeric() || letter == '_')
                && !part.starts_with(|first: char| first.is_numeric())
        });
    if is_word && !is_reserved(name) { name.to_owned() } else { quote(name) }
}

/// What a metric is compared with.
pub fn measure_text(measure: Measure) -> String {
    match measure {
        Measure::Count(number) => number.to_string(),
        Measure::Time(duration) => duration_text(duration),
        Measure::Size(bytes) => size_text(bytes),
    }
}

/// The largest unit that takes the duration in whole numbers.
fn duration_text(duration: Duration) -> String {
    let ms = duration.as_millis();
    let units = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)];
    match units.iter().find(|(_, length)| ms > 0 && ms.is_multiple_of(*length)) {
        Some((unit, length)) => format!("{}{unit}", ms / length),
        None => format!("{ms}ms"),
    }
}

fn size_text(bytes: u64) -> String {
    let units = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    match units.iter().find(|(_, shift)| bytes > 0 && bytes.trailing_zeros() >= *shift) {
        Some((unit, shift)) => format!("{}{unit}", bytes >> shift),
        None => format!("{bytes}B"),
    }
}

/// A place as commands name it.
pub(super) fn place_text(place: &Place) -> String {
    match place {
        Place::Seq { seq } => format!("seq {seq}"),
        Place::Start(start) => start_text(start),
    }
}

fn start_text(start: &Start) -> String {
    match start {
        Start::Now => "now".to_owned(),
        Start::Earliest => "earliest".to_owned(),
        Start::Time(ms) => match jiff::Timestamp::from_millisecond(*ms) {
            Ok(time) => format!("\"{time}\""),
            Err(_) => format!("{ms}ms"),
        },
        Start::Gtid(gtid) => format!("gtid({})", quote(gtid)),
        Start::Position { file, offset } => format!("position({}, {offset})", quote(file)),
    }
}
