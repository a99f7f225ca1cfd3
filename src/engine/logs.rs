//! Logs by the names that people know, for reading.

use std::sync::Arc;

use super::Engine;
use crate::error::{Error, Kind, Result};
use crate::lang::diagnostic::did_you_mean;
use crate::model::connection::Connection;
use crate::model::spec::Settings;
use crate::plan::Plan;
use crate::store::LogReader;

/// A message lists so many logs.
const LISTED_MAX: usize = 12;

/// Where a log is.
#[derive(Clone, Debug, PartialEq)]
pub struct LogPlace {
    /// The connection of its store; `None` is the embedded store in the data folder.
    pub store: Option<Arc<Connection>>,
    /// Its name there.
    pub log: String,
}

impl LogPlace {
    /// `store.log`, as scripts write it; an embedded log goes by its name alone.
    pub fn name(&self) -> String {
        match &self.store {
            Some(store) => format!("{}.{}", store.name, self.log),
            None => self.log.clone(),
        }
    }
}

impl Engine {
    /// The logs that there are: those in the data folder, and those of the mines of a plan, mined or not.
    ///
    /// # Errors
    /// `Environment` when the data folder cannot be read.
    pub async fn logs(&self, plan: &Plan) -> Result<Vec<LogPlace>> {
        let mut places: Vec<LogPlace> = Vec::new();
        for mine in plan.mines.values() {
            places.push(LogPlace { store: mine.store.clone(), log: mine.log.clone() });
        }
        for log in self.store.list().await? {
            let place = LogPlace { store: None, log };
            if !places.contains(&place) {
                places.push(place);
            }
        }
        Ok(places)
    }

    /// Finds a log by `connection.collection`, where the plan has that connection; by the name of a mine of the plan or
    /// of its source connection; or by its name in the data folder, with or without `embedded.` before it.
    ///
    /// # Errors
    /// `Refused` when there is none, with those that there are; `Environment` when the data folder cannot be read.
    pub async fn find_log(&self, plan: &Plan, name: &str) -> Result<LogPlace> {
        let mut mines = plan.mines.values();
        if let Some(mine) = mines.find(|mine| mine.name == name || mine.connection.name == name) {
            return Ok(LogPlace { store: mine.store.clone(), log: mine.log.clone() });
        }
        if let Some((store, log)) = name.split_once('.') {
            if let Some(store) = plan.connections.get(store) {
                return Ok(LogPlace { store: Some(Arc::clone(store)), log: log.to_owned() });
            }
            if store == "embedded" {
                return Ok(LogPlace { store: None, log: log.to_owned() });
            }
        }
        let known = self.logs(plan).await?;
        if let Some(place) = known.iter().find(|place| place.store.is_none() && place.log == name) {
            return Ok(place.clone());
        }
        let folder = self.data_dir.join("logs");
        let names: Vec<String> = known.iter().map(LogPlace::name).collect();
        let error = Error::new(Kind::Refused, format!("there is no log {name} in {}", folder.display()));
        Err(match did_you_mean(name, names.iter().map(String::as_str)) {
            Some(near) => error.advice(format!("did you mean {near}?")),
            None if name.contains('.') && plan.connections.is_empty() => error.advice(format!(
                "name the script that declares the connection, too: --script FILE{}",
                if names.is_empty() {
                    String::new()
                } else {
                    format!("; or take one of the logs here: {}", listed(&names))
                }
            )),
            None if names.is_empty() => error.advice(
                "name the data folder with --data, or the script that keeps its log elsewhere with --script",
            ),
            None => error.advice(format!("the logs are: {}", listed(&names))),
        })
    }

    /// Opens a log for reading, without taking it: it may be written meanwhile, here or elsewhere.
    ///
    /// # Errors
    /// As [`LogStore::open_reader`](crate::store::LogStore::open_reader); `Environment` also when this build cannot read such a store.
    pub async fn read_log(&self, place: &LogPlace) -> Result<Arc<dyn LogReader>> {
        let store = match &place.store {
            None => Arc::clone(&self.store),
            // What the settings say is about writing.
            Some(connection) => {
                let kind = self.registry.store(connection.kind)?;
                kind.store(Arc::clone(connection), &Settings::default())?
            }
        };
        store.open_reader(&place.log).await
    }
}

/// The first of some names.
fn listed(names: &[String]) -> String {
    let more = if names.len() > LISTED_MAX { ", …" } else { "" };
    format!("{}{more}", names[..names.len().min(LISTED_MAX)].join(", "))
}
