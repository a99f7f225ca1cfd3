//! Figures for Prometheus and whatever reads its formats.
//!
//! A page is made when somebody asks for it, from what is counted anyway; so an engine that nobody asks does nothing for
//! it. `lode_mine_changes_total` goes on over restarts, as the totals are kept with the log. All other counters begin at
//! zero with what they count: a mine or a route that is made anew, which also happens when its settings change. Prometheus
//! takes that for what it is.

pub mod server;

mod alerts;
mod page;
mod sheet;

use std::sync::Arc;

use self::sheet::Sheet;
use super::Engine;
use crate::run::pipeline::Pipeline;

/// So many tables of a mine have figures of their own, those whose first change is oldest; the others are counted together,
/// as `other`.
pub const TABLES_MAX: usize = 500;

/// A format of the page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// [OpenMetrics 1.0](https://prometheus.io/docs/specs/om/open_metrics_spec/).
    #[default]
    OpenMetrics,
    /// [Prometheus' text format 0.0.4](https://prometheus.io/docs/instrumenting/exposition_formats/).
    Text,
}

impl Format {
    /// The format's media type, as HTTP names it.
    pub fn media_type(self) -> &'static str {
        match self {
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Format::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

impl Engine {
    /// The figures of all mines and pipelines at this moment, as a page that Prometheus reads. It waits while what runs is
    /// being changed. Cancel-safe.
    pub async fn metrics(&self, format: Format) -> String {
        let running = self.running.lock().await;
        let mines: Vec<_> = running.mines.values().map(|running| Arc::clone(&running.mine)).collect();
        let pipelines: Vec<Arc<Pipeline>> = running.pipelines.values().cloned().collect();
        drop(running);
        let mut families = page::families(&mines, &pipelines, &self.clock, self.began_ms);
        families.extend(alerts::families(&self.alerts()));
        let sheet = Sheet(families);
        match format {
            Format::OpenMetrics => sheet.open_metrics(),
            Format::Text => sheet::as_text(&sheet.open_metrics()),
        }
    }
}
