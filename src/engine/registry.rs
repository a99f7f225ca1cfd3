//! The kinds of systems that an engine knows. The only place that names concrete connectors.

use std::collections::HashMap;
use std::sync::Arc;

use super::kinds;
use crate::check::Kinds;
use crate::client::ask::Ask;
use crate::client::lookup::{self, LookupKind};
use crate::error::{Error, Kind, Result};
use crate::model::spec::KindSpec;
use crate::sink::SinkKind;
use crate::source::SourceKind;
use crate::store::LogStoreKind;

/// What scripts may name, and the makers of sources, sinks and log stores by the same words.
#[derive(Clone)]
pub struct Registry {
    kinds: Kinds,
    sources: HashMap<&'static str, Arc<dyn SourceKind>>,
    sinks: HashMap<&'static str, Arc<dyn SinkKind>>,
    stores: HashMap<&'static str, Arc<dyn LogStoreKind>>,
    lookups: HashMap<&'static str, Arc<dyn LookupKind>>,
    asked: HashMap<&'static str, Arc<dyn Ask>>,
}

impl Registry {
    /// All kinds that this build knows.
    pub fn built_in() -> Self {
        let sources: [(&str, Arc<dyn SourceKind>); _] = [
            ("mysql", Arc::new(crate::source::mysql::Mysql)),
            ("binlog", Arc::new(crate::source::binlog::BinlogFiles)),
        ];
        let sinks: [(&str, Arc<dyn SinkKind>); _] = [
            ("mysql", Arc::new(crate::sink::mysql::Mysql)),
            ("oracle", Arc::new(crate::sink::oracle::Oracle)),
            ("sqlite", Arc::new(crate::sink::sqlite::Sqlite)),
            ("mongodb", Arc::new(crate::sink::mongodb::Mongodb)),
            ("jsonl", Arc::new(crate::sink::jsonl::Jsonl)),
            ("null", Arc::new(crate::sink::null::Null)),
        ];
        let stores: [(&str, Arc<dyn LogStoreKind>); _] =
            [("mongodb", Arc::new(crate::store::mongodb::MongodbKind))];
        let lookups: [(&str, Arc<dyn LookupKind>); _] =
            [("mysql", Arc::new(lookup::mysql::Mysql)), ("sqlite", Arc::new(lookup::sqlite::Sqlite))];
        let asked: [(&str, Arc<dyn Ask>); _] = [
            ("mysql", Arc::new(crate::client::ask::Mysql)),
            ("sqlite", Arc::new(crate::client::ask::Sqlite)),
        ];
        Registry {
            lookups: lookups.into(),
            kinds: kinds::builtin(),
            sources: sources.into(),
            sinks: sinks.into(),
            stores: stores.into(),
            asked: asked.into(),
        }
    }

    /// Adds a kind of source, or puts it in the place of another. Its spec is what scripts are checked against.
    pub fn add_source(&mut self, spec: KindSpec, kind: Arc<dyn SourceKind>) {
        self.sources.insert(spec.name, kind);
        self.kinds.add(spec);
    }

    /// Adds a kind of sink, or puts it in the place of another. Its spec is what scripts are checked against.
    pub fn add_sink(&mut self, spec: KindSpec, kind: Arc<dyn SinkKind>) {
        self.sinks.insert(spec.name, kind);
        self.kinds.add(spec);
    }

    /// Adds a kind of log store, or puts it in the place of another. Its spec is what scripts are checked against.
    pub fn add_store(&mut self, spec: KindSpec, kind: Arc<dyn LogStoreKind>) {
        self.stores.insert(spec.name, kind);
        self.kinds.add(spec);
    }

    /// Adds lookups to a kind, or puts them in the place of others. Its connections need the settings of
    /// [`lookup`], as the check knows by them which kinds have tables to look rows up in.
    pub fn add_lookup(&mut self, spec: KindSpec, kind: Arc<dyn LookupKind>) {
        self.lookups.insert(spec.name, kind);
        self.kinds.add(spec);
    }

    /// Has connections of a kind be asked by `sql` in this way.
    pub fn add_ask(&mut self, kind: &'static str, ask: Arc<dyn Ask>) {
        self.asked.insert(kind, ask);
    }

    /// What scripts may name.
    pub fn kinds(&self) -> &Kinds {
        &self.kinds
    }

    /// The kind of source called `name`.
    ///
    /// # Errors
    /// `Environment` when this build has none.
    pub fn source(&self, name: &str) -> Result<&Arc<dyn SourceKind>> {
        self.sources.get(name).ok_or_else(|| missing("source", name))
    }

    /// The kind of sink called `name`.
    ///
    /// # Errors
    /// `Environment` when this build has none.
    pub fn sink(&self, name: &str) -> Result<&Arc<dyn SinkKind>> {
        self.sinks.get(name).ok_or_else(|| missing("sink", name))
    }

    /// The kind of log store called `name`. The embedded store is none: it has no connection.
    ///
    /// # Errors
    /// `Environment` when this build has none.
    pub fn store(&self, name: &str) -> Result<&Arc<dyn LogStoreKind>> {
        self.stores.get(name).ok_or_else(|| missing("log store", name))
    }

    /// The lookups of the kind called `name`.
    ///
    /// # Errors
    /// `Environment` when this build has none.
    pub fn lookup(&self, name: &str) -> Result<&Arc<dyn LookupKind>> {
        self.lookups.get(name).ok_or_else(|| missing("lookup", name))
    }

    /// How connections of the kind called `name` are asked by `sql`.
    ///
    /// # Errors
    /// `Refused` when they cannot be.
    pub fn ask(&self, name: &str) -> Result<&Arc<dyn Ask>> {
        self.asked.get(name).ok_or_else(|| {
            let mut kinds: Vec<_> = self.asked.keys().copied().collect();
            kinds.sort_unstable();
            Error::new(Kind::Refused, format!("connections of kind {name} cannot be asked by `sql`"))
                .advice(format!("those of kind {} can", kinds.join(" and ")))
        })
    }
}

fn missing(role: &str, name: &str) -> Error {
    Error::new(Kind::Environment, format!("this build of lode cannot run the {role} kind `{name}`"))
        .advice("`lode check` and `lode plan` work with it; to run it, take another kind or another build")
}
