//! The pages that supervisors read, over HTTP: `/metrics`, `/healthz` and `/readyz`.
//!
//! There is no log-in and no encryption: an address of the loopback, or a network whose every user may read how much is
//! delivered from where to where, is the place for it. Nothing can be changed there, and no row and no error text is shown.

use std::convert::Infallible;
use std::future::Future;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tracing::{debug, warn};

use super::Format;
use crate::engine::Engine;
use crate::engine::readiness::{NotReady, Readiness};
use crate::error::{Error, Kind, Result};

/// So many clients may be connected at the same time; others are sent away.
pub const CONNECTIONS_MAX: usize = 64;
/// The head of a request has to be complete so soon, and a connection may be idle for so long.
pub const REQUEST_TIME_MAX: Duration = Duration::from_secs(60);
/// A connection is closed after so long, between two requests where that is possible.
pub const CONNECTION_TIME_MAX: Duration = Duration::from_secs(600);
/// A client has to take an answer within this time when its connection is to be closed.
pub const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);
/// What runs may be busy with a change of plans for so long before the answer says that it is.
pub const BUSY_TIME_MAX: Duration = Duration::from_secs(5);
/// The longest head of a request, in bytes.
pub const HEAD_BYTES_MAX: usize = 16 << 10;

const JSON: &str = "application/json";
const PLAIN: &str = "text/plain; charset=utf-8";
const INDEX: &str = "lode\n/metrics  figures for Prometheus\n/healthz  whether the process is alive\n\
                     /readyz   whether everything is at work\n";

/// The listening side. Dropping it ends all connections.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Server {
    /// Answers at `address` from now on: `127.0.0.1:9464`, `[::1]:9464`, `localhost:0`. Port 0 is any that is free.
    ///
    /// # Errors
    /// `Environment` when the address is taken, is not one of this machine, or means nothing.
    pub async fn open(engine: &Arc<Engine>, address: &str) -> Result<Server> {
        let listener = TcpListener::bind(address).await.map_err(|error| refused(address, &error))?;
        let address = listener.local_addr().map_err(|error| refused(address, &error))?;
        if !address.ip().is_loopback() {
            warn!(%address, "whoever reaches the address reads the metrics: there is no log-in");
        }
        let task = tokio::spawn(serve(Arc::clone(engine), listener));
        Ok(Server { address, task })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn refused(address: &str, error: &std::io::Error) -> Error {
    let failed = Error::new(Kind::Environment, format!("cannot serve metrics at {address}: {error}"));
    match error.kind() {
        ErrorKind::AddrInUse => {
            failed.advice("end the program that has the port, or name another one; 0 takes any")
        }
        ErrorKind::PermissionDenied => {
            failed.advice("ports below 1024 are for root; 127.0.0.1:9464 is usual")
        }
        _ => failed.advice("write an address of this machine and a port: 127.0.0.1:9464"),
    }
}

async fn serve(engine: Arc<Engine>, listener: TcpListener) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    // They end with this task.
    let mut clients = JoinSet::new();
    loop {
        while clients.try_join_next().is_some() {}
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Most likely too many open files: it passes, and the rest goes on.
                warn!("a client of the metrics could not be let in: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        match Arc::clone(&room).try_acquire_owned() {
            Ok(room) => drop(clients.spawn(client(Arc::clone(&engine), stream, room))),
            Err(_) => debug!("{CONNECTIONS_MAX} clients read the metrics, and one more was sent away"),
        }
    }
}

/// One client, until it goes, or its time is over.
async fn client(engine: Arc<Engine>, stream: TcpStream, _room: OwnedSemaphorePermit) {
    let service = service_fn(move |request| {
        let engine = Arc::clone(&engine);
        async move { Ok::<_, Infallible>(answer(&engine, &request).await) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(REQUEST_TIME_MAX).max_buf_size(HEAD_BYTES_MAX);
    let connection = http.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = match timeout(CONNECTION_TIME_MAX, connection.as_mut()).await {
        Ok(ended) => ended,
        Err(_) => {
            connection.as_mut().graceful_shutdown();
            timeout(ANSWER_TIME_MAX, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        debug!("a client of the metrics was sent away: {error}");
    }
}

async fn answer(engine: &Engine, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    if !matches!(path, "/" | "/metrics" | "/healthz" | "/readyz") {
        return page(StatusCode::NOT_FOUND, PLAIN, "there is no such page; / lists them\n");
    }
    // The server leaves out the body of an answer to HEAD.
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refused = page(StatusCode::METHOD_NOT_ALLOWED, PLAIN, "pages are read, with GET\n");
        refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    match path {
        "/metrics" => {
            let format = wanted(request.headers());
            match in_time(engine.metrics(format)).await {
                Some(text) => page(StatusCode::OK, format.media_type(), text),
                None => page(StatusCode::SERVICE_UNAVAILABLE, PLAIN, "what runs is being changed\n"),
            }
        }
        "/readyz" => {
            let busy = || Readiness { ready: false, not_ready: vec![NotReady::Engine] };
            let readiness = in_time(engine.readiness()).await.unwrap_or_else(busy);
            let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            match serde_json::to_vec(&readiness) {
                Ok(body) => page(status, JSON, body),
                Err(error) => page(StatusCode::INTERNAL_SERVER_ERROR, PLAIN, format!("{error}\n")),
            }
        }
        // Who is asked answers.
        "/healthz" => page(StatusCode::OK, PLAIN, "ok\n"),
        _ => page(StatusCode::OK, PLAIN, INDEX),
    }
}

async fn in_time<T>(asked: impl Future<Output = T>) -> Option<T> {
    timeout(BUSY_TIME_MAX, asked).await.ok()
}

/// OpenMetrics for who says that he reads it, as Prometheus does; the older format for all others.
fn wanted(headers: &HeaderMap) -> Format {
    let mut accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    match accepted.any(|value| value.contains("application/openmetrics-text")) {
        true => Format::OpenMetrics,
        false => Format::Text,
    }
}

fn page(status: StatusCode, media_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut page = Response::new(Full::new(body.into()));
    *page.status_mut() = status;
    page.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    page.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    page
}
