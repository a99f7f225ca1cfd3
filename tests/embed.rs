//! What programs that embed lode rely on.

use std::sync::Arc;
use std::time::Duration;

use lode::check::Input;
use lode::engine::Engine;
use lode::engine::registry::Registry;
use lode::error::{Error, Kind, Result};
use lode::model::connection::Connection;
use lode::model::spec::{EndpointSpec, KindSpec};
use lode::plan::Plan;
use lode::run::event::Event;
use lode::source::{Source, SourceKind};

#[allow(dead_code)]
#[path = "../examples/embed.rs"]
mod embed;

#[tokio::test(flavor = "multi_thread")]
async fn the_embedding_example_gets_every_change() {
    let data = tempfile::tempdir().unwrap();
    let mut out = Vec::new();
    embed::run(data.path(), &mut out).await.unwrap();
    let out = String::from_utf8(out).unwrap();
    assert!(out.contains(r#"event {"event":"mine","mine":"shop","state":{"state":"running"}}"#), "{out}");
    let figures: Vec<_> = out.lines().filter(|line| !line.starts_with("event ")).collect();
    insta::assert_snapshot!(figures.join("\n"));
}

const SCRIPT: &str = r#"
connection shop = binlog "scripts/binlog" { database = "shop" }
share_mining shop { start = earliest }
pipeline deletes = source binlog shop.orders share_mining -> filter { op == "delete" } -> sink null
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_that_only_moved_within_its_script_goes_on_untouched() {
    let data = tempfile::tempdir().unwrap();
    let engine = Engine::new(data.path(), registry());
    engine.apply(plan(&engine, SCRIPT)).await.unwrap();
    engine.settled().await;
    let mut events = engine.events();
    let moved = format!(
        "# A comment.\n{SCRIPT}pipeline more = source binlog shop.orders share_mining -> sink null {{ }}\n"
    );
    engine.apply(plan(&engine, &moved)).await.unwrap();
    engine.settled().await;
    engine.shutdown(Duration::from_secs(10)).await;
    let mut heard = 0;
    while let Ok(event) = events.try_recv() {
        if let Event::Route { pipeline, state, .. } = event {
            assert_ne!(pipeline, "deletes", "{state:?}");
            heard += 1;
        }
    }
    assert!(heard > 0, "the other pipeline was started");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_cannot_be_carried_out_changes_nothing() {
    let data = tempfile::tempdir().unwrap();
    let engine = Engine::new(data.path(), registry());
    engine.apply(plan(&engine, SCRIPT)).await.unwrap();
    let changed = SCRIPT.replace("delete", "insert")
        + "connection moods = moody \"moody://there/shop\"\npipeline more = source moody moods.t -> sink null\n";
    let error = engine.apply(plan(&engine, &changed)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Environment);
    let names: Vec<_> = engine.status().await.pipelines.into_iter().map(|pipeline| pipeline.name).collect();
    assert_eq!(names, ["deletes"], "it still runs, or has delivered everything");
    engine.shutdown(Duration::from_secs(10)).await;
}

fn registry() -> Registry {
    let mut registry = Registry::built_in();
    registry.add_source(MOODY, Arc::new(Moody));
    registry
}

fn plan(engine: &Engine, script: &str) -> Plan {
    let input = Input::new(env!("CARGO_MANIFEST_DIR")).text("test.lode", script);
    engine.plan(&engine.load(&input).into_model().unwrap())
}

const MOODY: KindSpec = KindSpec {
    name: "moody",
    meaning: "a source that can be planned and not made",
    endpoint: EndpointSpec::Url { schemes: &["moody"], default_port: 1, database: true },
    connection: &[],
    source: Some(&[]),
    sink: None,
    log: None,
    not_built_in: None,
};

struct Moody;

impl SourceKind for Moody {
    fn source(&self, _: Arc<Connection>) -> Result<Arc<dyn Source>> {
        Err(Error::new(Kind::Environment, "not today"))
    }
}
