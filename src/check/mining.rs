//! Shared mining: which log keeps the changes of which source connection.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Checker;
use super::connections::{Connections, Role};
use super::model::{Mine, default_log};
use super::names::Names;
use super::settings::{Block, Owner};
use super::specs::SHARE_MINING;
use crate::lang::ast::{self, Slot, Statement};
use crate::lang::codes::Code;
use crate::lang::diagnostic::Diagnostic;
use crate::lang::span::Span;
use crate::model::spec::SettingSpec;

/// The mines that pipelines read, by source connection.
#[derive(Debug, Default)]
pub(super) struct Mines(BTreeMap<String, Arc<Mine>>);

impl Mines {
    /// The mine of a source connection.
    pub fn get(&self, connection: &str) -> Option<&Arc<Mine>> {
        self.0.get(connection)
    }

    /// All of them.
    pub fn used(self) -> BTreeMap<String, Arc<Mine>> {
        self.0
    }
}

/// Where a log is to be kept, as one place of the scripts says it.
#[derive(Clone, Debug)]
struct Place {
    /// `None` is the embedded store.
    store: Option<String>,
    /// `None` leaves the name to lode.
    log: Option<String>,
    span: Span,
}

/// What scripts say of the mining of one connection.
#[derive(Debug, Default)]
struct Wish {
    declared: Option<Span>,
    settings: Option<Block>,
    places: Vec<Place>,
    /// Whether a pipeline reads through it.
    used: bool,
}

impl<'a> Checker<'a> {
    /// Gathers what scripts say of shared mining, and decides on the logs.
    pub(super) fn mines(&mut self, names: &Names<'a>, connections: &mut Connections<'a>) -> Mines {
        let mut wishes: BTreeMap<String, Wish> = BTreeMap::new();
        let scripts = self.scripts;
        for statement in &scripts.statements {
            if let Statement::ShareMining(mining) = &statement.node {
                self.declared_mining(names, mining, connections, &mut wishes);
            }
        }
        for (_, pipeline) in &names.pipelines {
            for source in &pipeline.sources {
                self.mining_of_source(source, connections, &mut wishes);
            }
        }
        let mut mines: BTreeMap<String, Arc<Mine>> = BTreeMap::new();
        let mut logs: BTreeMap<(Option<String>, String), (String, Option<Span>)> = BTreeMap::new();
        for (name, wish) in wishes {
            let place = self.agreed_place(&name, &wish.places);
            if !wish.used {
                continue;
            }
            let Some(mine) = self.mine(names, &name, wish.settings, &place, connections) else { continue };
            let key = (mine.store.as_ref().map(|store| store.name.clone()), mine.log.clone());
            let span = place.map(|place| place.span).or(wish.declared);
            if let Some((other, other_span)) = logs.insert(key, (name.clone(), span))
                && let Some(span) = span.or(other_span)
            {
                let what = format!("`{other}` and `{name}` would be mined into one log, `{}`", mine.log);
                let mut finding = Diagnostic::new(Code::E0503, span, what)
                    .note("a log keeps the changes of one source")
                    .help("name another log behind the dot: via store.log");
                if let Some(other_span) = other_span.filter(|other| *other != span) {
                    finding = finding.related(other_span, format!("the log of `{other}`"));
                }
                self.report(finding);
            }
            mines.insert(name, Arc::new(mine));
        }
        Mines(mines)
    }

    fn declared_mining(
        &mut self,
        names: &Names<'a>,
        mining: &ast::ShareMining,
        connections: &Connections<'a>,
        wishes: &mut BTreeMap<String, Wish>,
    ) {
        let place = mining.via.as_ref().and_then(|via| self.place(via, connections));
        let name = match &mining.connection {
            Slot::Given(name) => name,
            Slot::Hole(hole) => {
                let candidates = connections.names(|kind| Role::Source.fits(kind));
                let finding =
                    Diagnostic::new(Code::E0501, hole.span, "the connection to mine is missing here");
                return self.report(finding.help(format!("write one of {}", list(&candidates))));
            }
        };
        let Some(connection) = connections.find(name, Role::Source, self) else { return };
        if connection.kind.is_some_and(|kind| !self.can_be(kind, Role::Source, name.span)) {
            return;
        }
        let store_kind = match &place {
            Some(Place { store: Some(store), .. }) => connections.get(store).and_then(|store| store.kind),
            _ => self.kinds.get("embedded"),
        };
        let own: &'static [SettingSpec] = store_kind.and_then(|kind| kind.log).unwrap_or_default();
        let owner = Owner { what: "share_mining", span: name.span, connection: Some(name) };
        let block = self.settings(names, &mining.settings, &[own, SHARE_MINING], owner);
        let wish = wishes.entry(name.node.clone()).or_default();
        if let Some(first) = wish.declared {
            let finding = Diagnostic::new(
                Code::E0202,
                name.span,
                format!("the shared mining of `{}` is declared twice", name.node),
            )
            .related(first, "the first time")
            .help("keep one of them: a connection is mined once, whoever reads it");
            return self.report(finding);
        }
        wish.declared = Some(name.span);
        wish.settings = Some(block);
        wish.places.extend(place);
    }

    fn mining_of_source(
        &mut self,
        source: &ast::Source,
        connections: &Connections<'a>,
        wishes: &mut BTreeMap<String, Wish>,
    ) {
        let Some(mining) = &source.mining else { return };
        let place = mining.via.as_ref().and_then(|via| self.place(via, connections));
        let Some(name) = source.tables.given().map(|tables| &tables.connection) else { return };
        let Some(declared) = connections.get(name) else { return };
        if declared.kind.is_some_and(|kind| Role::Source.fits(kind)) {
            let wish = wishes.entry(name.node.clone()).or_default();
            wish.used = true;
            wish.places.extend(place);
        }
    }

    fn place(&mut self, via: &Slot<ast::Via>, connections: &Connections<'a>) -> Option<Place> {
        match via {
            Slot::Hole(hole) => {
                let mut stores = connections.names(|kind| Role::Log.fits(kind));
                stores.push("embedded");
                let finding = Diagnostic::new(Code::E0501, hole.span, "the store of the log is missing here");
                self.report(finding.help(format!("write one of {}", list(&stores))));
                None
            }
            Slot::Given(via) => {
                let log = via.log.as_ref().map(|log| log.node.clone());
                let span = via.log.as_ref().map_or(via.store.span, |log| via.store.span.to(log.span));
                if via.is_embedded() {
                    return Some(Place { store: None, log, span });
                }
                let store = connections.find(&via.store, Role::Log, self)?;
                if store.kind.is_some_and(|kind| !self.can_be(kind, Role::Log, via.store.span)) {
                    return None;
                }
                Some(Place { store: Some(via.store.node.clone()), log, span })
            }
        }
    }

    /// The one place that all agree on; a place that names no log agrees with any log in its store.
    fn agreed_place(&mut self, name: &str, places: &[Place]) -> Option<Place> {
        let mut agreed = places.first()?.clone();
        for place in &places[1..] {
            let same_log = agreed.log.is_none() || place.log.is_none() || agreed.log == place.log;
            if agreed.store == place.store && same_log {
                if agreed.log.is_none() {
                    agreed = place.clone();
                }
                continue;
            }
            let finding =
                Diagnostic::new(Code::E0502, place.span, format!("`{name}` would be mined into two logs"))
                    .related(agreed.span, "the other log")
                    .note("a connection is mined once, and every pipeline reads that one log")
                    .help("name one log, or leave `via` out where the log is named already");
            self.report(finding);
        }
        Some(agreed)
    }

    fn mine(
        &mut self,
        names: &Names<'a>,
        name: &str,
        block: Option<Block>,
        place: &Option<Place>,
        connections: &mut Connections<'a>,
    ) -> Option<Mine> {
        let (store_name, log) = match place {
            Some(place) => (place.store.clone(), place.log.clone()),
            None => (None, None),
        };
        let store = match &store_name {
            Some(store) => Some(connections.make(store, self)?),
            None => None,
        };
        let connection = connections.make(name, self)?;
        let block = block.unwrap_or_else(|| {
            let own = self
                .kinds
                .get(store.as_ref().map_or("embedded", |store| store.kind))
                .and_then(|kind| kind.log);
            let owner = Owner { what: "share_mining", span: Span::default(), connection: Some(name) };
            self.settings(names, &ast::Settings::default(), &[own.unwrap_or_default(), SHARE_MINING], owner)
        });
        self.mining_not_yet(&block, store.is_none());
        Some(Mine {
            name: block.settings.text("name").unwrap_or_else(|| name.to_owned()),
            connection,
            log: log.unwrap_or_else(|| default_log(name, store.is_some())),
            store,
            settings: block.settings,
        })
    }

    pub(super) fn mining_not_yet(&mut self, block: &Block, embedded: bool) {
        if let Some(span) =
            block.places.get("threads").filter(|_| embedded && block.settings.integer("threads") > Some(1))
        {
            let why = "the embedded store is written by one thread, and writes several hundred thousand rows a second";
            self.refuses_run("threads of an embedded log", why, *span);
        }
    }
}

fn list(names: &[&str]) -> String {
    if names.is_empty() { "a connection, once one is declared".to_owned() } else { names.join(", ") }
}
