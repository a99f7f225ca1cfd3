//! What statements declare, and by which names others take their places or take them out.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::names::sink_label;
use crate::lang::ast::{Script, Slot, Spanned, Statement, When};
use crate::lang::print::print;

/// What is declared by a statement of a script.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Declaration {
    /// The word that such statements begin with: `pipeline`, `connection`, `share_mining`, `let`, `test`, `on`, `every`
    /// or `at`.
    pub word: String,
    /// Its name. For `on`, `every` and `at`, which have none, what stands before `do`: `lag > 30s of orders`.
    pub name: String,
}

/// As `remove` takes it.
impl fmt::Display for Declaration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.word, self.name)
    }
}

impl Declaration {
    /// The words that `remove` knows.
    pub const WORDS: &[&str] =
        &["pipeline", "connection", "share_mining", "let", "test", "on", "every", "at"];

    /// What a statement declares; `None` for those that declare nothing, or whose name is left open.
    pub(super) fn of(statement: &Spanned<Statement>) -> Option<Declaration> {
        let (word, name) = match &statement.node {
            Statement::Connection(connection) => ("connection", connection.name.node.clone()),
            Statement::ShareMining(mining) => ("share_mining", mining.connection.given()?.node.clone()),
            Statement::Pipeline(pipeline) => {
                let name = pipeline.name.as_ref().map(|name| name.node.clone());
                ("pipeline", name.or_else(|| Some(sink_label(&pipeline.flow)?.0))?)
            }
            Statement::Let(binding) => ("let", binding.name.node.clone()),
            Statement::Test(test) => ("test", test.name.node.clone()),
            Statement::Alert(_) => ("on", head(statement, "on ")?),
            Statement::Schedule(schedule) => match &schedule.when {
                When::Every(Slot::Given(_)) => ("every", head(statement, "every ")?),
                When::At(Slot::Given(time)) => ("at", time.node.clone()),
                _ => return None,
            },
            Statement::Include(_) | Statement::Command(_) => return None,
        };
        Some(Declaration { word: word.to_owned(), name })
    }
}

/// What stands between the first word and `do`, or the settings before it.
fn head(statement: &Spanned<Statement>, word: &str) -> Option<String> {
    let text = print(&Script { statements: vec![statement.clone()], ..Script::default() });
    let (head, _) = text.strip_prefix(word)?.split_once(" do ")?;
    let head = head.split(" {").next().unwrap_or(head);
    Some(head.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Scripts as they were read: what stands in files may have changed since.
#[derive(Clone, Default)]
pub struct AsRead {
    pub(super) texts: BTreeMap<PathBuf, Arc<str>>,
    /// What the statements declare, each once, in the order of the scripts.
    pub declared: Vec<Declaration>,
}

impl AsRead {
    pub(super) fn text(&self, path: &Path) -> Option<String> {
        self.texts.get(path).map(|text| text.as_ref().to_owned())
    }
}

/// The texts may hold secrets.
impl fmt::Debug for AsRead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files: Vec<_> = self.texts.keys().collect();
        f.debug_struct("AsRead").field("files", &files).field("declared", &self.declared).finish()
    }
}
