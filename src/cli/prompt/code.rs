//! What can stand in Rhai code and in lists of columns: functions of hooks, and columns of the table that it is about.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use lode::engine::reply::Reply;
use lode::engine::socket::Request;
use lode::hook::library::{Group, functions};
use tokio::runtime::Handle;

use super::completion::Offer;
use super::names::Names;
use super::side::Side;

/// The prompt waits so long for the columns of a table.
const PATIENCE: Duration = Duration::from_millis(500);
/// What stands before the brace of code.
const BEFORE_CODE: [&str; 4] = ["filter", "map", "where", "do"];
/// What code of rows begins with.
const VARIABLES: [(&str, &str); 6] = [
    ("row", "The row that the change is about."),
    ("before", "The row before the change, or ()."),
    ("op", "insert, update or delete."),
    ("table", "The name of the table."),
    ("source", "source.name and source.database."),
    ("ts", "When the source executed the change."),
];

/// What the end of a line is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Code that gets rows.
    Rows,
    /// Code that acts.
    Acting,
    /// The columns of `keep` or `drop`.
    Columns,
}

/// Who knows the columns of tables.
pub trait Columns {
    /// The columns of what `subject` names; none where they are not known, or not in time.
    fn of(&self, subject: &str) -> BTreeSet<String>;
}

/// Nobody: for what is looked at with each key.
pub struct NoColumns;

impl Columns for NoColumns {
    fn of(&self, _: &str) -> BTreeSet<String> {
        BTreeSet::new()
    }
}

/// The newest change in the log has them.
pub struct NewestChange {
    /// Who is asked.
    pub side: Side,
    /// Where it is asked.
    pub runtime: Handle,
}

impl Columns for NewestChange {
    fn of(&self, subject: &str) -> BTreeSet<String> {
        let request = Request {
            command: format!("peek {subject} limit 1"),
            confirmed: false,
            folder: PathBuf::from("/"),
            parts: false,
        };
        let asked = self.side.clone().answer(request);
        match self.runtime.block_on(async { tokio::time::timeout(PATIENCE, asked).await }) {
            Ok(Ok(Reply::Changes(changes))) => {
                let rows =
                    changes.changes.iter().flat_map(|change| [change.get("before"), change.get("after")]);
                let columns =
                    rows.flatten().filter_map(|row| row.as_object()).flat_map(|row| row.keys().cloned());
                columns.collect()
            }
            _ => BTreeSet::new(),
        }
    }
}

/// What may follow in code or a list of columns; `None` where a line ends in neither.
pub fn offers(line: &str, names: &Names, columns: &dyn Columns, width: usize) -> Option<(usize, Vec<Offer>)> {
    let (place, begins) = place(line)?;
    let word = line.rfind(|letter: char| !(letter.is_alphanumeric() || "_.".contains(letter)));
    let word = word.map_or(0, |at| at + line[at..].chars().next().map_or(1, char::len_utf8));
    let known = || subject(&line[..begins], names).map(|subject| columns.of(subject)).unwrap_or_default();
    let fitting = |begun: &str, offers: Vec<Offer>| Offer::fitting(begun, offers);
    if place == Place::Columns {
        return Some((word, fitting(&line[word..], known().into_iter().map(Offer::new).collect())));
    }
    if let Some((of, begun)) = line[word..].rsplit_once('.') {
        let found = if matches!(of, "row" | "before") { known() } else { BTreeSet::new() };
        return Some((line.len() - begun.len(), fitting(begun, found.into_iter().map(Offer::new).collect())));
    }
    let begun = &line[word..];
    let mut seen = BTreeSet::new();
    let functions = functions().into_iter().filter(|function| match place {
        Place::Acting => function.group != Group::Rows,
        _ => function.group != Group::Acting,
    });
    let functions = functions.filter(|function| seen.insert(function.name));
    let functions = functions.map(|function| Offer::meaning(function.name, function.meaning, width));
    let variables = VARIABLES.iter().filter(|_| place == Place::Rows);
    let variables = variables.map(|(name, meaning)| Offer::meaning(name, meaning, width));
    Some((word, fitting(begun, variables.chain(functions).collect())))
}

/// What the end of a line is in, and where that begins.
fn place(line: &str) -> Option<(Place, usize)> {
    let mut open = Vec::new();
    for (at, letter) in line.char_indices() {
        match letter {
            '{' => open.push(at),
            '}' => drop(open.pop()),
            _ => {}
        }
    }
    for at in open {
        let before = line[..at].trim_end();
        let word = before.rsplit(|letter: char| !letter.is_alphanumeric() && letter != '_').next()?;
        if word == "do" {
            return Some((Place::Acting, at));
        }
        if BEFORE_CODE.contains(&word) || line.trim_start().starts_with("eval ") {
            return Some((Place::Rows, at));
        }
    }
    let stage = line.rfind("->").map(|at| at + 2)?;
    let columns = line[stage..].trim_start();
    let is_list = columns.starts_with("keep ") || columns.starts_with("drop ");
    is_list.then_some((Place::Columns, stage))
}

/// The last word before the code that something is known by: a table, or else a pipeline or mine.
fn subject<'l>(before: &'l str, names: &Names) -> Option<&'l str> {
    let words = || before.rsplit(|letter: char| letter.is_whitespace() || ",[]".contains(letter));
    let is_known = |word: &&str| names.pipelines.contains(*word) || names.mines.contains(*word);
    words().find(|word| names.tables.contains(*word)).or_else(|| words().find(is_known))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Known;

    impl Columns for Known {
        fn of(&self, subject: &str) -> BTreeSet<String> {
            ["id", "amount"].map(|column| format!("{column}_of_{}", subject.replace('.', "_"))).into()
        }
    }

    #[test]
    fn code_gets_functions_and_columns_of_what_it_is_about() {
        let names = Names {
            pipelines: ["paid".to_owned()].into(),
            mines: ["shop".to_owned()].into(),
            tables: ["shop.orders".to_owned()].into(),
        };
        let texts = |line: &str| {
            let (begins, found) = offers(line, &names, &Known, 80)?;
            Some((
                line[begins..].to_owned(),
                found.iter().map(|offer| offer.text().to_owned()).collect::<Vec<_>>(),
            ))
        };
        let both = |of: &str| vec![format!("amount_of_{of}"), format!("id_of_{of}")];
        assert_eq!(texts("eval paid { if row."), Some((String::new(), both("paid"))));
        assert_eq!(
            texts("tail shop.orders where { before.i"),
            Some(("i".into(), vec!["id_of_shop_orders".into()]))
        );
        assert_eq!(texts("x.y { a = 1"), None);
        let typed = "pipeline p = source mysql shop.orders share_mining -> ";
        assert_eq!(texts(&format!("{typed}keep id, ")), Some((String::new(), both("shop_orders"))));
        assert_eq!(
            texts(&format!("{typed}map {{ row.x = mask_e")),
            Some(("mask_e".into(), vec!["mask_email".into()]))
        );
        assert_eq!(texts("on lag > 5s do { web"), Some(("web".into(), vec!["webhook".into()])));
        assert_eq!(texts("eval paid { web"), Some(("web".into(), Vec::new())), "rows cannot act");
        assert_eq!(texts("eval paid { other."), Some((String::new(), Vec::new())));
    }
}
