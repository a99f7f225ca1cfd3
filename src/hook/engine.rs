//! The Rhai engine of a hook: what it offers, what it withholds, and its limits.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rhai::packages::{
    BasicArrayPackage, BasicBlobPackage, BasicMapPackage, BasicMathPackage, BitFieldPackage, CorePackage,
    LogicPackage, MoreStringPackage, Package,
};
use rhai::{Dynamic, Engine, EvalAltResult, FLOAT, INT, ImmutableString, Position, Shared};

use super::error::{Outcome, Problem};
use super::lookup::{self, Lookups};
use super::row::{self, HookRow};
use super::{decimal, json, library, time};
use crate::error::Kind;

/// Operations of Rhai that a hook may use for one row.
pub const OPERATIONS_MAX: u64 = 1_000_000;
/// Time that a hook may take for one row, in milliseconds.
pub const TIME_MAX_MS: u64 = 1_000;
/// How deep functions of a hook may call each other.
pub const CALL_LEVELS_MAX: usize = 24;
/// How deep expressions may lie in each other: in a block, and in a function.
pub const EXPRESSION_DEPTH_MAX: (usize, usize) = (64, 64);
/// Bytes of a text that a hook reads or makes.
pub const TEXT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Items of an array, and bytes of a blob.
pub const ARRAY_ITEMS_MAX: usize = 16 * 1024 * 1024;
/// Entries of an object map.
pub const MAP_ENTRIES_MAX: usize = 10_000;
/// Variables that a hook may hold at a time.
pub const VARIABLES_MAX: usize = 128;
/// Rows that a hook may emit for one row.
pub const EMITTED_ROWS_MAX: usize = 1_000;

/// The clock is read once in so many operations.
pub(super) const OPERATIONS_PER_LOOK: u64 = 64;

/// What one run of a hook may use.
#[derive(Debug)]
pub(super) struct Limits {
    pub operations: u64,
    pub text_bytes: usize,
    pub items: usize,
    pub map_entries: usize,
    /// What one run is for: `for one row`.
    pub run: &'static str,
}

/// The limits of filters and maps.
pub(super) const ROW_LIMITS: Limits = Limits {
    operations: OPERATIONS_MAX,
    text_bytes: TEXT_BYTES_MAX,
    items: ARRAY_ITEMS_MAX,
    map_entries: MAP_ENTRIES_MAX,
    run: "for one row",
};

/// Words of Rhai that a hook lacks, as they would run text as code or read files.
const WITHHELD_WORDS: [&str; 2] = ["eval", "import"];

/// Functions of Rhai that a hook lacks, as they would hold up the pipeline past every limit.
pub(super) const WITHHELD_FUNCTIONS: [&str; 1] = ["sleep"];

/// Why a hook was ended from outside. Rhai's `try` does not catch it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Skipped,
    OutOfTime,
    /// By what failed outside of the hook; the exchange has it.
    Outside,
}

/// What the functions of one engine share with whoever runs it.
#[derive(Default)]
pub(super) struct Exchange {
    /// Rows that `emit` was called with.
    pub emitted: Mutex<Vec<HookRow>>,
    /// Where rows are looked up.
    pub lookups: Option<Arc<Lookups>>,
    /// What failed outside of the hook in the present run.
    pub failed: Mutex<Option<Problem>>,
    /// When the present run began, in microseconds since the process first looked.
    began_us: AtomicU64,
}

impl Exchange {
    pub fn new(lookups: Option<Arc<Lookups>>) -> Exchange {
        Exchange { lookups, ..Exchange::default() }
    }

    fn look_up(&self, place: &str, column: Option<&str>, key: Dynamic) -> Outcome<Dynamic> {
        let asked_us = clock_us();
        let answer = lookup::look_up(self.lookups.as_deref(), place, column, key);
        // What a hook waits for others is not its own time.
        self.began_us.fetch_add(clock_us().saturating_sub(asked_us), Ordering::Relaxed);
        match answer? {
            Ok(row) => Ok(row),
            Err(error) if error.kind() == Kind::Data => Err(Problem::outside(&error).into()),
            Err(error) => {
                *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(Problem::outside(&error));
                Err(Box::new(EvalAltResult::ErrorTerminated(Dynamic::from(Ended::Outside), Position::NONE)))
            }
        }
    }
}

/// An engine whose rows have a getter for each of `properties`.
pub(super) fn build(exchange: &Arc<Exchange>, properties: &[ImmutableString]) -> Engine {
    let mut engine = bare(&ROW_LIMITS);
    row::register(&mut engine, properties);
    let rows = Arc::clone(exchange);
    engine
        .register_fn("emit", move |row: HookRow| -> Outcome<()> {
            let mut rows = rows.emitted.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            if rows.len() >= EMITTED_ROWS_MAX {
                return Err(Problem::new(format!(
                    "more than {EMITTED_ROWS_MAX} rows were emitted for one row"
                ))
                .into());
            }
            rows.push(row);
            Ok(())
        })
        .register_fn("skip", || -> Outcome<()> {
            Err(Box::new(EvalAltResult::ErrorTerminated(Dynamic::from(Ended::Skipped), Position::NONE)))
        });
    let tables = Arc::clone(exchange);
    let by_key = move |place: &str, key: Dynamic| tables.look_up(place, None, key);
    let tables = Arc::clone(exchange);
    let by_column = move |place: &str, column: &str, key: Dynamic| tables.look_up(place, Some(column), key);
    engine.register_fn(lookup::NAME, by_key).register_fn(lookup::NAME, by_column);
    let began = Arc::clone(exchange);
    engine.on_progress(move |operations| {
        if operations % OPERATIONS_PER_LOOK != 1 {
            return None;
        }
        let now = clock_us();
        if operations == 1 {
            began.began_us.store(now, Ordering::Relaxed);
            return None;
        }
        let spent = Duration::from_micros(now.saturating_sub(began.began_us.load(Ordering::Relaxed)));
        (spent > Duration::from_millis(TIME_MAX_MS)).then(|| Dynamic::from(Ended::OutOfTime))
    });
    engine
}

/// An engine with values and limits, but without rows.
pub(super) fn bare(limits: &Limits) -> Engine {
    // Rhai's packages are large and the same for all engines. Its clock is left out: a hook that looks at the time
    // would give another row when a change is read again.
    static PACKAGES: LazyLock<Vec<Shared<rhai::Module>>> = LazyLock::new(|| {
        vec![
            CorePackage::new().as_shared_module(),
            BitFieldPackage::new().as_shared_module(),
            LogicPackage::new().as_shared_module(),
            BasicMathPackage::new().as_shared_module(),
            BasicArrayPackage::new().as_shared_module(),
            BasicBlobPackage::new().as_shared_module(),
            BasicMapPackage::new().as_shared_module(),
            MoreStringPackage::new().as_shared_module(),
        ]
    });
    let mut engine = Engine::new_raw();
    for package in PACKAGES.iter() {
        engine.register_global_module(Shared::clone(package));
    }
    engine
        .set_max_operations(limits.operations)
        .set_max_call_levels(CALL_LEVELS_MAX)
        .set_max_expr_depths(EXPRESSION_DEPTH_MAX.0, EXPRESSION_DEPTH_MAX.1)
        .set_max_string_size(limits.text_bytes)
        .set_max_array_size(limits.items)
        .set_max_map_size(limits.map_entries)
        .set_max_variables(VARIABLES_MAX)
        .on_print(|text| tracing::debug!(target: "lode::hook", "{text}"))
        .on_debug(|text, _, position| tracing::debug!(target: "lode::hook", %position, "{text}"));
    for word in WITHHELD_WORDS {
        engine.disable_symbol(word);
    }
    // A call by a computed name gets past the compiler, but not past these.
    for function in WITHHELD_FUNCTIONS {
        engine
            .register_fn(function, move |_: INT| -> Outcome<()> { Err(withheld(function).into()) })
            .register_fn(function, move |_: FLOAT| -> Outcome<()> { Err(withheld(function).into()) });
    }
    decimal::register(&mut engine);
    time::register(&mut engine);
    json::register(&mut engine);
    library::register(&mut engine);
    engine
}

/// The error for a function that hooks lack.
pub(super) fn withheld(function: &str) -> Problem {
    Problem::new(format!("`{function}` is not available in hooks, as it would hold up the pipeline"))
}

pub(super) fn clock_us() -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    START.elapsed().as_micros() as u64
}
