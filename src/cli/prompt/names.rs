//! The names that can be completed, as the engine knows them.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lode::engine::reply::Reply;
use lode::engine::socket::Request;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::side::Side;

/// The prompt waits so long for news of names; then it shows those that it knows.
const PATIENCE: Duration = Duration::from_millis(200);
/// So many names of a sort are offered.
const NAMES_MAX: usize = 1000;

/// What runs.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// The pipelines.
    pub pipelines: BTreeSet<String>,
    /// The mines.
    pub mines: BTreeSet<String>,
    /// The tables that have changes, as commands name them: `shop.orders`.
    pub tables: BTreeSet<String>,
}

impl Names {
    fn of(reply: &Reply) -> Option<Names> {
        let Reply::Status { status, .. } = reply else { return None };
        let tables = status.mines.iter().flat_map(|mine| {
            mine.counts.tables.iter().map(|counted| {
                let table = counted.table.split_once('.').map_or(counted.table.as_str(), |(_, table)| table);
                format!("{}.{table}", mine.name)
            })
        });
        Some(Names {
            pipelines: status.pipelines.iter().map(|one| one.name.clone()).take(NAMES_MAX).collect(),
            mines: status.mines.iter().map(|one| one.name.clone()).take(NAMES_MAX).collect(),
            tables: tables.take(NAMES_MAX).collect(),
        })
    }
}

/// Asks for the names, in the background where that takes longer than a moment.
pub struct NamesWatch {
    side: Side,
    known: Arc<Mutex<Names>>,
    asking: Option<JoinHandle<()>>,
}

impl NamesWatch {
    /// Nothing is known yet.
    pub fn new(side: Side) -> NamesWatch {
        NamesWatch { side, known: Arc::default(), asking: None }
    }

    /// What is known, now and later.
    pub fn known(&self) -> Arc<Mutex<Names>> {
        Arc::clone(&self.known)
    }

    /// Has the names looked up again. Nobody is asked a second time before the first answer has come.
    pub fn refresh(&mut self, runtime: &Handle) {
        if self.asking.as_ref().is_some_and(|asking| !asking.is_finished()) {
            return;
        }
        let (side, known) = (self.side.clone(), Arc::clone(&self.known));
        let request = Request {
            command: "status".to_owned(),
            confirmed: false,
            folder: PathBuf::from("/"),
            parts: false,
        };
        let mut asking = runtime.spawn(async move {
            if let Some(names) = side.answer(request).await.ok().as_ref().and_then(Names::of) {
                *known.lock().unwrap_or_else(PoisonError::into_inner) = names;
            }
        });
        // Whether it is in time or not, names are only offered.
        let _ = runtime.block_on(async { tokio::time::timeout(PATIENCE, &mut asking).await });
        self.asking = Some(asking);
    }
}
