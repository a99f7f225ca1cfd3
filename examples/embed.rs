//! A program that embeds lode, with a sink of its own: changes come to the program itself.
//!
//! ```console
//! $ cargo run --example embed
//! ```
//!
//! It mines the recorded binlog that ships with the project. The sink is a kind like any other: scripts name it, `check`
//! holds its settings against its spec, and the engine runs it with the same guarantees.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lode::check::Input;
use lode::engine::Engine;
use lode::engine::registry::Registry;
use lode::error::{Error, Kind, Result};
use lode::model::change::Batch;
use lode::model::position::Cursor;
use lode::model::spec::{EndpointSpec, KindSpec, SettingSpec, SettingType, SinkSpec, TargetSpec};
use lode::sink::{Durable, Sink, SinkKind, SinkRoute, Written};
use tokio::sync::mpsc;

const SCRIPT: &str = r#"
connection shop = binlog "scripts/binlog" { database = "shop" }
share_mining shop { start = earliest }

pipeline orders =
  source binlog shop.{orders, order_items} share_mining
  -> [ sink program { label = "all" },
       filter { op == "delete" } -> sink program { label = "deletes" } ]
"#;

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let data = tempfile::tempdir()?;
    run(data.path(), &mut std::io::stdout()).await
}

/// Runs the script with logs and cursors in `data_dir`, and tells `out` what happens.
pub async fn run(
    data_dir: &Path,
    out: &mut (dyn Write + Send),
) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let (program, mut arriving) = mpsc::channel(64);
    let mut registry = Registry::built_in();
    registry.add_sink(PROGRAM, Arc::new(ProgramSinks { program }));

    // The engine is the only door: it checks scripts, plans them, and runs plans.
    let engine = Engine::new(data_dir, registry);
    let mut events = engine.events();
    let input = Input::new(env!("CARGO_MANIFEST_DIR")).text("embed.lode", SCRIPT);
    let plan = engine.plan(&engine.load(&input).into_model()?);
    engine.apply(plan).await?;

    // A binlog in a folder has an end; live servers have none, and a program would stop when it likes.
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    let settled = engine.settled();
    tokio::pin!(settled);
    loop {
        tokio::select! {
            Some(arrived) = arriving.recv() => *counts.entry(arrived).or_default() += 1,
            Ok(event) = events.recv() => writeln!(out, "event {}", serde_json::to_string(&event)?)?,
            () = &mut settled => break,
        }
    }
    while let Ok(arrived) = arriving.try_recv() {
        *counts.entry(arrived).or_default() += 1;
    }
    for (what, count) in counts {
        writeln!(out, "{count} {what}")?;
    }

    for pipeline in engine.status().await.pipelines {
        for route in pipeline.routes {
            writeln!(out, "route {}: {} delivered", route.key, route.figures.changes_delivered)?;
        }
    }
    engine.shutdown(Duration::from_secs(10)).await;
    Ok(())
}

/// What scripts may say about the sink: `sink program { label = "…" }`.
const PROGRAM: KindSpec = KindSpec {
    name: "program",
    meaning: "the program that embeds lode",
    endpoint: EndpointSpec::Nothing,
    connection: &[],
    source: None,
    sink: Some(SinkSpec {
        target: TargetSpec::Nothing,
        settings: &[SettingSpec {
            key: "label",
            ty: SettingType::Text,
            default: None,
            required: true,
            meaning: "What the program calls these changes.",
            check: None,
        }],
    }),
    log: None,
    not_built_in: None,
};

/// The kind: makes a sink for each route.
struct ProgramSinks {
    program: mpsc::Sender<String>,
}

impl SinkKind for ProgramSinks {
    fn sink(&self, route: SinkRoute) -> Result<Box<dyn Sink>> {
        let label = route.settings.text("label").unwrap_or_default();
        Ok(Box::new(ProgramSink { label, program: self.program.clone() }))
    }
}

/// The sink of one route.
struct ProgramSink {
    label: String,
    program: mpsc::Sender<String>,
}

#[async_trait]
impl Sink for ProgramSink {
    /// A sink that keeps its cursor returns it here, and gets each change once. This one begins again with
    /// every start.
    async fn open(&mut self) -> Result<Option<Cursor>> {
        Ok(None)
    }

    async fn write(&mut self, batch: Batch) -> Result<Written> {
        let rows = batch.changes.len() as u64;
        for change in batch.changes {
            // Waits while the program is busy; so does this route then, and no other.
            let arrived = format!("{}: {} {}", self.label, change.op.as_str(), change.table.name);
            self.program
                .send(arrived)
                .await
                .map_err(|_| Error::new(Kind::Refused, "the program has ended"))?;
        }
        // Only now: the cursor moves by this proof, and by nothing else.
        Ok(Written { durable: batch.cursor.map(Durable::after_commit), rows })
    }

    async fn close(&mut self) -> Result<()> {
        Ok(())
    }
}
