//! How programs watch a running lode: figures over HTTP, log lines as JSON, and traces.

use std::sync::Arc;

use lode::engine::Engine;
use lode::engine::metrics::server::Server;
use lode::error::Result;

use super::screen::Screen;

/// Where figures are served.
#[derive(clap::Args)]
pub struct Metrics {
    /// Serve figures for Prometheus at /metrics, and /healthz and /readyz; a port alone is one of 127.0.0.1
    #[arg(
        long,
        value_name = "ADDR",
        env = "LODE_METRICS",
        hide_env_values = true,
        value_parser = address
    )]
    metrics: Option<String>,
}

// How log lines are written. Its variants have no comments of their own, as these would blow up the help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

impl Metrics {
    /// Serves them from now on, if that is wished, and says where.
    ///
    /// # Errors
    /// As [`Server::open`].
    pub async fn open(&self, engine: &Arc<Engine>, note: impl FnOnce(&str)) -> Result<Option<Server>> {
        let Some(address) = &self.metrics else { return Ok(None) };
        let server = Server::open(engine, address).await?;
        note(&format!("metrics at http://{}/metrics", server.address()));
        Ok(Some(server))
    }
}

/// Log lines are shown, and traces sent, until it is dropped.
pub struct Listening {
    #[cfg(feature = "otel")]
    _traces: Option<super::traces::Traces>,
}

/// Shows log lines, and sends traces where that is built in and wished.
///
/// # Errors
/// `Environment` when the environment says how to send traces, and means nothing.
pub fn listen(screen: &Screen) -> Result<Listening> {
    #[cfg(feature = "otel")]
    {
        let traces = super::traces::Traces::from_environment()?;
        screen.listen_to_logs(traces.as_ref().map(|traces| traces.layer()));
        Ok(Listening { _traces: traces })
    }
    #[cfg(not(feature = "otel"))]
    {
        screen.listen_to_logs([]);
        Ok(Listening {})
    }
}

fn address(text: &str) -> std::result::Result<String, String> {
    if let Ok(port) = text.trim_start_matches(':').parse::<u16>() {
        return Ok(format!("127.0.0.1:{port}"));
    }
    let (host, port) = text.rsplit_once(':').unwrap_or_default();
    match port.parse::<u16>() {
        Ok(_) if !host.is_empty() => Ok(text.to_owned()),
        _ => Err("write an address and a port, such as 127.0.0.1:9464, or a port alone".to_owned()),
    }
}
