//! What scripts of a simulation may name.

use std::sync::Arc;

use lode::engine::registry::Registry;
use lode::model::spec::{EndpointSpec, KindSpec, SettingSpec, SettingType, SinkSpec, TargetSpec};
use lode::store::memory::Memory;

use super::sink::Sinks;
use super::source::Sources;
use super::store::Store;
use super::world::World;

/// The kinds of a simulated world, which keeps its logs in `memory`.
pub fn registry(world: &Arc<World>, memory: &Memory) -> Registry {
    let mut registry = Registry::built_in();
    registry.add_source(SOURCE, Arc::new(Sources(Arc::clone(world))));
    registry.add_store(STORE, Arc::new(Store { world: Arc::clone(world), memory: memory.clone() }));
    registry.add_sink(EXACT, Arc::new(Sinks(Arc::clone(world))));
    registry.add_sink(LOOSE, Arc::new(Sinks(Arc::clone(world))));
    registry
}

const SOURCE: KindSpec = KindSpec {
    name: "sim",
    meaning: "a simulated server",
    endpoint: EndpointSpec::Url { schemes: &["sim"], default_port: 1, database: true },
    connection: &[],
    source: Some(&[]),
    sink: None,
    log: None,
    not_built_in: None,
};

const STORE: KindSpec = KindSpec {
    name: "simstore",
    meaning: "a simulated store",
    endpoint: EndpointSpec::Url { schemes: &["simstore"], default_port: 1, database: true },
    connection: &[],
    source: None,
    sink: None,
    log: Some(&[]),
    not_built_in: None,
};

const EXACT: KindSpec = sink("exact", "a simulated sink with transactions");
const LOOSE: KindSpec = sink("loose", "a simulated sink without transactions");

const fn sink(name: &'static str, meaning: &'static str) -> KindSpec {
    KindSpec {
        name,
        meaning,
        endpoint: EndpointSpec::Nothing,
        connection: &[],
        source: None,
        sink: Some(SinkSpec { target: TargetSpec::Nothing, settings: SETTINGS }),
        log: None,
        not_built_in: None,
    }
}

const SETTINGS: &[SettingSpec] = &[
    SettingSpec::new(
        "batch",
        SettingType::Integer { min: 1, max: 1000, unit: "rows" },
        Some("1000"),
        "How many rows are written at once.",
    ),
    SettingSpec::new(
        "number",
        SettingType::Integer { min: 0, max: u64::MAX, unit: "routes" },
        None,
        "Tells the sink what it is to get.",
    ),
];
