//! A mine that runs in this process, from the real source into a real log.

use std::sync::Arc;

use lode::model::clock::Clock;
use lode::model::connection::Connection;
use lode::model::spec::Start;
use lode::model::table::TableSet;
use lode::run::event::Events;
use lode::run::mine::{Mine, MineParts, MineState};
use lode::run::retention::Policy;
use lode::run::signal::{Control, Wish};
use lode::source::SourceKind;
use lode::source::mysql::Mysql;
use lode::store::embedded::{Embedded, Options};
use lode::store::{LogStat, LogStore};
use tempfile::TempDir;
use tokio::task::JoinHandle;

/// A mine at work.
pub struct Live {
    pub mine: Arc<Mine>,
    control: Control,
    task: JoinHandle<()>,
    _folder: TempDir,
}

impl Live {
    /// Starts mining `tables` into a new log.
    pub async fn start(connection: Arc<Connection>, start: Start, tables: &TableSet) -> Live {
        let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder for the log");
        let store = Embedded::new(folder.path(), Options::default());
        let log = store.open("bench").await.expect("a new log");
        let source = Mysql.source(connection).expect("a source");
        let parts = MineParts {
            name: "bench".into(),
            source,
            log,
            start,
            policy: Policy::default(),
            full_rows: false,
            counts: None,
            clock: Clock::default(),
            claim: None,
        };
        let mine = Mine::new(parts, Events::default());
        mine.want(tables);
        let control = Control::default();
        let task = mine.start(control.listen());
        Live { mine, control, task, _folder: folder }
    }

    /// Waits until the mine reads the source.
    pub async fn is_running(&self) {
        let mut state = self.mine.state();
        let running = state.wait_for(|state| *state == MineState::Running || state.is_over()).await;
        assert_eq!(*running.expect("the mine lives"), MineState::Running);
    }

    /// Waits until so many changes are durable in the log.
    pub async fn has_mined(&self, changes: u64) {
        let mut tail = self.mine.hub().tail();
        let mut state = self.mine.state();
        while self.mine.progress().changes() < changes {
            tokio::select! {
                _ = tail.changed() => {}
                _ = state.changed() => {
                    let now = state.borrow_and_update().clone();
                    assert!(!now.is_over(), "mining ended early: {now:?}");
                }
            }
        }
    }

    /// Stops mining. The figures of the log.
    pub async fn stop(self) -> LogStat {
        self.control.tell(Wish::Stop);
        self.task.await.expect("the mine ends properly");
        self.mine.log().stat()
    }
}
