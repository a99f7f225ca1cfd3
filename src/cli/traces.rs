//! Traces, with the feature `otel`: what takes how long goes to a collector that speaks OTLP over HTTP.
//!
//! They are set up by [the variables that OpenTelemetry names](https://opentelemetry.io/docs/specs/otel/protocol/exporter/).
//! Without `OTEL_EXPORTER_OTLP_ENDPOINT` or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` there are none, and spans cost nothing.

use std::time::Duration;

use async_trait::async_trait;
use lode::error::{Error, Kind, Result};
use lode::run::event::SPANS;
use opentelemetry::trace::TracerProvider;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::{Layer, Registry};
use ureq::Agent;

/// Any of these variables says that traces are wanted.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];
/// A collector has to answer within this time.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);
/// The most that is read of an answer, in bytes.
const ANSWER_BYTES_MAX: u64 = 1 << 20;
/// So long, what is left may take at the end.
const FLUSH_TIME_MAX: Duration = Duration::from_secs(5);

/// The way to the collector. Dropping it sends what is left.
pub struct Traces(SdkTracerProvider);

impl Traces {
    /// Sends traces from now on, if the environment says where to.
    ///
    /// # Errors
    /// `Environment` when a variable means nothing.
    pub fn from_environment() -> Result<Option<Traces>> {
        let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        if !ENDPOINTS.into_iter().any(is_set) {
            return Ok(None);
        }
        let config =
            Agent::config_builder().timeout_global(Some(ANSWER_TIME_MAX)).http_status_as_error(false);
        let client = Client(config.build().into());
        let exporter =
            SpanExporter::builder().with_http().with_http_client(client).build().map_err(|error| {
                Error::new(Kind::Environment, format!("traces cannot be sent: {error}"))
                    .advice("look at the variables whose names begin with OTEL_")
            })?;
        let mut resource = Resource::builder();
        if !is_set("OTEL_SERVICE_NAME") {
            resource = resource.with_service_name("lode");
        }
        let provider = SdkTracerProvider::builder().with_batch_exporter(exporter);
        Ok(Some(Traces(provider.with_resource(resource.build()).build())))
    }

    /// What takes the spans.
    pub fn layer(&self) -> Box<dyn Layer<Registry> + Send + Sync> {
        let layer = tracing_opentelemetry::layer().with_tracer(self.0.tracer("lode"));
        let layer = layer.with_location(false).with_threads(false).with_target(false).with_level(false);
        layer.with_filter(Targets::new().with_target(SPANS, tracing::Level::TRACE)).boxed()
    }
}

impl Drop for Traces {
    fn drop(&mut self) {
        // The log tells when a collector does not take them.
        let _ = self.0.shutdown_with_timeout(FLUSH_TIME_MAX);
    }
}

/// Sends spans from the thread that collects them, which nobody waits for.
#[derive(Debug)]
struct Client(Agent);

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (head, body) = request.into_parts();
        let answer = self.0.run(Request::from_parts(head, body.to_vec()))?;
        let (head, mut body) = answer.into_parts();
        let bytes = body.with_config().limit(ANSWER_BYTES_MAX).read_to_vec()?;
        Ok(Response::from_parts(head, bytes.into()))
    }
}
