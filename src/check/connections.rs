//! Connections: kinds, endpoints and settings. Secrets are read when something uses the connection.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Checker;
use super::endpoint::{endpoint, usage};
use super::names::Names;
use super::settings::{Block, Owner};
use crate::lang::ast::{self, Slot};
use crate::lang::codes::Code;
use crate::lang::diagnostic::{Diagnostic, did_you_mean};
use crate::lang::span::Span;
use crate::model::connection::{Connection, Endpoint};
use crate::model::spec::{EndpointSpec, KindSpec, Setting};

/// The declared connections.
#[derive(Debug)]
pub(super) struct Connections<'a> {
    declared: BTreeMap<&'a str, Declared<'a>>,
}

/// One declared connection; what is wrong with it was reported.
#[derive(Debug)]
pub(super) struct Declared<'a> {
    /// Its kind, when that is known.
    pub kind: Option<&'a KindSpec>,
    pub declared_at: Span,
    endpoint: Option<Endpoint>,
    block: Block,
    used: Option<Arc<Connection>>,
}

/// What a kind can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Source,
    Sink,
    Log,
}

impl Role {
    pub fn fits(self, kind: &KindSpec) -> bool {
        match self {
            Role::Source => kind.source.is_some(),
            Role::Sink => kind.sink.is_some(),
            Role::Log => kind.log.is_some(),
        }
    }

    fn verb(self) -> &'static str {
        match self {
            Role::Source => "be a source",
            Role::Sink => "be a sink",
            Role::Log => "keep a log",
        }
    }
}

impl<'a> Connections<'a> {
    pub fn declare(checker: &mut Checker<'a>, names: &Names<'a>) -> Connections<'a> {
        let declared =
            names.connections.iter().map(|(name, ast)| (*name, checker.connection(names, ast))).collect();
        Connections { declared }
    }

    /// The connection of this name, if there is one.
    pub fn get(&self, name: &str) -> Option<&Declared<'a>> {
        self.declared.get(name)
    }

    /// The connection of this name; that there is none is reported with those that could play the `role`.
    pub fn find(&self, name: &ast::Name, role: Role, checker: &mut Checker<'_>) -> Option<&Declared<'a>> {
        let found = self.declared.get(name.as_str());
        if found.is_none() {
            let what = format!("there is no connection named `{}`", name.node);
            let finding = Diagnostic::new(Code::E0201, name.span, what);
            let mut candidates = self.names(|kind| role.fits(kind));
            candidates.extend((role == Role::Log).then_some("embedded"));
            checker.report(match did_you_mean(name, candidates.iter().copied()) {
                Some(near) => finding.suggest(name.span, near, "did you mean this one?"),
                None if candidates.is_empty() => {
                    finding.help(format!("declare it: connection {} = kind \"…\"", name.node))
                }
                None => finding.help(format!("these can {}: {}", role.verb(), candidates.join(", "))),
            });
        }
        found
    }

    /// Names of the connections whose kinds are wanted.
    pub fn names(&self, wanted: impl Fn(&KindSpec) -> bool) -> Vec<&'a str> {
        self.declared
            .iter()
            .filter(|(_, declared)| declared.kind.is_some_and(&wanted))
            .map(|(name, _)| *name)
            .collect()
    }

    /// Every connection of a known kind, with it.
    pub fn kinds(&self) -> BTreeMap<String, &'a str> {
        let kind = |(name, declared): (&&str, &Declared<'a>)| Some(((*name).to_owned(), declared.kind?.name));
        self.declared.iter().filter_map(kind).collect()
    }

    /// The connection, made ready for use: now its secrets are read. `None` was reported.
    pub fn make(&mut self, name: &str, checker: &mut Checker<'_>) -> Option<Arc<Connection>> {
        let declared = self.declared.get_mut(name)?;
        if declared.used.is_none() {
            let kind = declared.kind?;
            let endpoint = declared.endpoint.clone()?;
            let mut settings = declared.block.settings.clone();
            for pending in &declared.block.pending {
                if let Some(secret) = checker.read_secret(pending, name) {
                    settings.0.insert(pending.key, Setting::Secret(secret));
                }
            }
            if let Some(why) = kind.not_built_in {
                checker.refuses_run(&format!("connections of kind {}", kind.name), why, declared.declared_at);
            }
            declared.used =
                Some(Arc::new(Connection { name: name.to_owned(), kind: kind.name, endpoint, settings }));
        }
        declared.used.clone()
    }

    /// The connections that were made ready for use.
    pub fn used(&self) -> BTreeMap<String, Arc<Connection>> {
        let used =
            |(name, declared): (&&str, &Declared<'_>)| Some(((*name).to_owned(), declared.used.clone()?));
        self.declared.iter().filter_map(used).collect()
    }
}

impl Declared<'_> {
    /// The database that its tables are in.
    pub fn database(&self) -> Option<String> {
        match &self.endpoint {
            Some(Endpoint::Url { database, .. }) if !database.is_empty() => Some(database.clone()),
            _ => self.block.settings.text("database"),
        }
    }

    /// Whether its statement was right so far as it says where the system is.
    pub fn is_sound(&self) -> bool {
        self.kind.is_some() && self.endpoint.is_some()
    }
}

impl<'a> Checker<'a> {
    fn connection(&mut self, names: &Names<'a>, ast: &'a ast::Connection) -> Declared<'a> {
        let mut declared = Declared {
            kind: None,
            declared_at: ast.name.span,
            endpoint: None,
            block: Block::default(),
            used: None,
        };
        let has_connections = |kind: &KindSpec| !matches!(kind.endpoint, EndpointSpec::Nothing);
        let Some(kind) = self.kind(&ast.kind, "connection", has_connections) else { return declared };
        declared.kind = Some(kind);
        let kind_span = ast.kind.given().map_or(ast.name.span, |name| name.span);
        declared.endpoint = match &ast.endpoint {
            Some(Slot::Given(text)) => endpoint(text, kind.endpoint, kind.name, self.scripts)
                .map_err(|finding| {
                    self.masks.extend((finding.code == Code::E0308).then_some(text.span));
                    self.report(finding);
                })
                .ok(),
            Some(Slot::Hole(hole)) => {
                let finding = Diagnostic::new(
                    Code::E0501,
                    hole.span,
                    format!("the address of `{}` is missing here", ast.name.node),
                );
                self.report(finding.help(usage(kind.name, kind.endpoint)));
                None
            }
            None => {
                let what = format!("the connection `{}` does not say where it is", ast.name.node);
                self.report(
                    Diagnostic::new(Code::E0307, kind_span, what).help(usage(kind.name, kind.endpoint)),
                );
                None
            }
        };
        let what = format!("a connection of kind {}", kind.name);
        let owner = Owner { what: &what, span: kind_span, connection: None };
        declared.block = self.settings(names, &ast.settings, &[kind.connection], owner);
        declared
    }

    /// The kind that a script names. `wanted` says which kinds are offered when the name is wrong or left open.
    pub(super) fn kind(
        &mut self,
        slot: &Slot<ast::Name>,
        place: &str,
        wanted: impl Fn(&KindSpec) -> bool,
    ) -> Option<&'a KindSpec> {
        let kinds = self.kinds;
        let candidates: Vec<&str> = kinds.iter().filter(|kind| wanted(kind)).map(|kind| kind.name).collect();
        match slot {
            Slot::Hole(hole) => {
                let finding = Diagnostic::new(
                    Code::E0501,
                    hole.span,
                    format!("the kind of the {place} is missing here"),
                );
                self.report(finding.help(format!("write one of {}", candidates.join(", "))));
                None
            }
            Slot::Given(name) => {
                let kind = kinds.get(name);
                if kind.is_none() {
                    let finding =
                        Diagnostic::new(Code::E0203, name.span, format!("there is no kind `{}`", name.node));
                    self.report(match did_you_mean(name, candidates.iter().copied()) {
                        Some(near) => finding.suggest(name.span, near, "did you mean this one?"),
                        None => finding.help(format!("for a {place} there are {}", candidates.join(", "))),
                    });
                }
                kind
            }
        }
    }

    /// Reports a kind that cannot play a role. True when it can.
    pub(super) fn can_be(&mut self, kind: &KindSpec, role: Role, span: Span) -> bool {
        if role.fits(kind) {
            return true;
        }
        let able: Vec<&str> =
            self.kinds.iter().filter(|kind| role.fits(kind)).map(|kind| kind.name).collect();
        let finding = Diagnostic::new(Code::E0205, span, format!("{} cannot {}", kind.name, role.verb()))
            .note(format!("{}: {}", kind.name, kind.meaning));
        self.report(finding.help(format!("these can: {}", able.join(", "))));
        false
    }
}
