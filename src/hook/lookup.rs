//! Lookups: rows of other tables for filters and maps, with the rows that were found kept for a while.
//!
//! **What a row is worth.** A lookup gives the row as it is when somebody looks, or as it was up to the connection's
//! `lookup_ttl` ago; that there is no row is remembered as well. It is not the row of the change's own time, and when a
//! change is read again it may be another one.
//!
//! **Failure.** When the table's server is away, the change is not to blame: the pipeline tries again later, as it does with
//! a sink that is away, and `try` in the hook does not catch it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use lru::LruCache;
use rhai::{AST, ASTNode, Dynamic, Expr, FnCallExpr, Map, Position, Stmt};
use tokio::runtime::{Handle, RuntimeFlavor};

use super::cell::{self, Cell};
use super::error::Problem;
use crate::client::lookup::{Found, Lookup, Wanted};
use crate::error::Result;
use crate::model::connection::Connection;
use crate::model::value::Value;

/// The name of the function.
pub(super) const NAME: &str = "lookup";

/// A call of `lookup` in the code of a hook, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookupCall {
    /// The connection.
    pub connection: String,
    /// The script, or the included `.rhai` file.
    pub file: Arc<str>,
    /// Line in `file`, from 1.
    pub line: u32,
    /// Column in `line`, from 1.
    pub column: u32,
}

/// The tables in which the hooks of a route look rows up.
#[derive(Default)]
pub struct Lookups(BTreeMap<String, Mutex<Tables>>);

/// The tables of a connection.
struct Tables {
    lookup: Box<dyn Lookup>,
    known: LruCache<String, Known>,
    bytes: usize,
    ttl: Duration,
    rows_max: usize,
    bytes_max: usize,
}

/// What an earlier lookup found.
struct Known {
    found: Option<Arc<Found>>,
    at: Instant,
    bytes: usize,
}

impl Lookups {
    /// Tables of these connections, with the settings of each.
    pub fn new(opened: impl IntoIterator<Item = (Arc<Connection>, Box<dyn Lookup>)>) -> Lookups {
        let tables = opened.into_iter().map(|(connection, lookup)| {
            let settings = &connection.settings;
            let tables = Tables {
                lookup,
                known: LruCache::unbounded(),
                bytes: 0,
                ttl: settings.duration("lookup_ttl").unwrap_or(Duration::from_secs(300)),
                rows_max: settings.integer("lookup_rows").unwrap_or(10_000) as usize,
                bytes_max: settings.size("lookup_size").unwrap_or(64 << 20) as usize,
            };
            (connection.name.clone(), Mutex::new(tables))
        });
        Lookups(tables.collect())
    }

    /// The row, known or fetched. The outer error is the hook's own, the inner one that of the connection.
    fn find(
        &self,
        place: &str,
        column: Option<&str>,
        key: Dynamic,
    ) -> std::result::Result<Result<Dynamic>, Problem> {
        let (connection, table) = split(place)?;
        let tables = self.0.get(connection).ok_or_else(|| {
            Problem::new(format!("there are no lookups in `{connection}` here"))
                .advice("a lookup names its table in the code as a text, and its connection is declared")
        })?;
        let Some(key) = key_value(key)? else { return Ok(Ok(Dynamic::UNIT)) };
        let wanted = Wanted { table: table.to_owned(), column: column.map(str::to_owned), key };
        let mut tables = tables.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(tables.find(&wanted).map(|found| found.map_or(Dynamic::UNIT, |found| row(&found))))
    }
}

impl std::fmt::Debug for Lookups {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Tables {
    fn find(&mut self, wanted: &Wanted) -> Result<Option<Arc<Found>>> {
        let name = format!("{}\0{}\0{:?}", wanted.table, wanted.column.as_deref().unwrap_or(""), wanted.key);
        if let Some(known) = self.known.get(&name)
            && known.at.elapsed() < self.ttl
        {
            return Ok(known.found.clone());
        }
        let at = Instant::now();
        let found = off_the_workers(|| self.lookup.find(wanted))?.map(Arc::new);
        let bytes = 2 * name.len() + 128 + found.as_deref().map_or(0, size);
        if let Some(former) = self.known.put(name, Known { found: found.clone(), at, bytes }) {
            self.bytes -= former.bytes;
        }
        self.bytes += bytes;
        while self.known.len() > self.rows_max || self.bytes > self.bytes_max {
            let Some((_, oldest)) = self.known.pop_lru() else { break };
            self.bytes -= oldest.bytes;
        }
        Ok(found)
    }
}

/// Looks up by the hook's own arguments. See [`Lookups::find`].
pub(super) fn look_up(
    lookups: Option<&Lookups>,
    place: &str,
    column: Option<&str>,
    key: Dynamic,
) -> std::result::Result<Result<Dynamic>, Problem> {
    match lookups {
        Some(lookups) => lookups.find(place, column, key),
        None => Err(Problem::new("there are no lookups here")
            .advice("they work in the filters and maps of pipelines")),
    }
}

/// The calls of `lookup` in a tree: the text that names the table, where it stands, or what is wrong with it.
pub(super) fn calls(tree: &AST) -> Vec<(std::result::Result<String, Problem>, Position)> {
    let is_own = |call: &FnCallExpr| {
        tree.iter_functions().any(|own| own.name == NAME && own.params.len() == call.args.len())
    };
    let mut calls = Vec::new();
    tree.walk(&mut |path: &[ASTNode<'_>]| {
        let (call, position): (&FnCallExpr, _) = match path.last() {
            Some(ASTNode::Expr(Expr::FnCall(call, position)))
            | Some(ASTNode::Stmt(Stmt::FnCall(call, position))) => (call, *position),
            _ => return true,
        };
        if call.name == NAME && !call.is_qualified() && !is_own(call) {
            calls.push(match call.args.first() {
                Some(Expr::StringConstant(text, at)) => (split(text).map(|(name, _)| name.to_owned()), *at),
                _ => (Err(unnamed()), position),
            });
        }
        true
    });
    calls
}

/// `dim.customers` is the connection and the table.
fn split(place: &str) -> std::result::Result<(&str, &str), Problem> {
    place.split_once('.').filter(|(name, table)| !name.is_empty() && !table.is_empty()).ok_or_else(unnamed)
}

fn unnamed() -> Problem {
    Problem::new("a lookup names connection and table as a text in the code")
        .advice("write lookup(\"connection.table\", key), or lookup(\"connection.table\", \"column\", key)")
}

/// A key; `None` is NULL, which no row has.
fn key_value(key: Dynamic) -> std::result::Result<Option<Value<'static>>, Problem> {
    let kind = cell::type_name(&key).to_owned();
    Ok(Some(match Cell::from_dynamic(key, "key")? {
        Cell::Null => return Ok(None),
        Cell::Int(v) => Value::Int(v),
        Cell::Decimal(v) => match v.to_integer().map(u64::try_from) {
            // Integers beyond 64 bits with sign are DECIMAL in hooks.
            Some(Ok(whole)) => i64::try_from(whole).map_or(Value::UInt(whole), Value::Int),
            _ => Value::Decimal(v.to_string().into()),
        },
        Cell::Text(v) => Value::Text(v.to_string().into()),
        Cell::Bytes(v) => Value::Bytes(v.into()),
        Cell::Date(v) => Value::Date(v),
        Cell::DateTime(v) => Value::DateTime(v),
        Cell::Timestamp(v) => Value::Timestamp(v),
        Cell::Time(v) => Value::Time(v),
        Cell::Bool(_) | Cell::Float(_) | Cell::Json(..) => {
            return Err(Problem::new(format!("no row is looked up by a {kind}"))
                .advice("keys are INT, DECIMAL, texts, blobs, dates and times"));
        }
    }))
}

fn row(found: &Found) -> Dynamic {
    let columns = found.iter().map(|(name, value)| (name.as_str().into(), cell::to_dynamic(value.clone())));
    Dynamic::from_map(columns.collect::<Map>())
}

/// About the memory that a row takes.
fn size(found: &Found) -> usize {
    let value = |value: &Value<'_>| match value {
        Value::Decimal(v) | Value::Text(v) | Value::Json(v) => v.len(),
        Value::Bytes(v) => v.len(),
        _ => 0,
    };
    found.iter().map(|(name, held)| name.len() + value(held) + size_of::<(String, Value<'_>)>()).sum()
}

/// Servers may be slow: where there are several workers, the others take over this one's tasks.
fn off_the_workers<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}
