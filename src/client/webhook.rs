//! Webhooks: JSON that is posted to somebody's server, signed where there is a secret.
//!
//! **Signature.** With `secret`, a call has `X-Lode-Timestamp`, the seconds since 1970 at which it was made, and
//! `X-Lode-Signature: sha256=HEX`, the HMAC-SHA256 (RFC 2104) of the timestamp, a dot and the body's bytes under the secret.
//! The receiver computes the same over the bytes as they came, compares in constant time, and refuses timestamps that are
//! more than some minutes old, so that nobody can send an old call again. `X-Lode-Delivery` is the same for each attempt of
//! one call: as an answer can be lost, a call may arrive twice.
//!
//! **Who is called.** Only `https://`, but for this machine itself and where `plain = on` says so. No redirect is followed.

use std::sync::{Arc, OnceLock};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Map, Value};
use sha2::Sha256;
use ureq::Agent;
use ureq::http::HeaderValue;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use url::Url;

use super::place;
use super::within::out_of_time;
use crate::error::{Error, Kind, Result};
use crate::model::connection::{Connection, Endpoint};
use crate::model::secret::Secret;
use crate::model::spec::{EndpointSpec, SettingSpec, SettingType};

/// What stands after `webhook` in a `connection` statement.
pub const ENDPOINT: EndpointSpec = EndpointSpec::Web;

/// Settings of a `connection x = webhook "…"` statement.
pub const CONNECTION: &[SettingSpec] = &[
    SettingSpec::new(
        "secret",
        SettingType::Secret,
        None,
        "What calls are signed with: HMAC-SHA256 in X-Lode-Signature, over X-Lode-Timestamp, a dot and the body.",
    ),
    SettingSpec::new(
        "authorization",
        SettingType::Secret,
        None,
        "The header Authorization as a whole: \"Bearer …\".",
    ),
    SettingSpec::new(
        "secret_path",
        SettingType::Secret,
        None,
        "What follows the address, where that must not be seen, as with the addresses of chat services.",
    ),
    SettingSpec::new(
        "tls_ca",
        SettingType::Path,
        None,
        "A PEM file of the authorities to trust in place of the system's.",
    ),
    SettingSpec::new(
        "plain",
        SettingType::Switch,
        Some("off"),
        "Whether http:// may be used for another machine, where everybody on the way can read and change the call.",
    ),
    SettingSpec::new(
        "timeout",
        SettingType::Duration,
        Some("10s"),
        "How long a call may take as a whole, with all of its attempts.",
    ),
    SettingSpec::new(
        "attempts",
        SettingType::Integer { min: 1, max: ATTEMPTS_MAX, unit: "attempts" },
        Some("3"),
        "How often a server that cannot be reached or fails (5xx, 429) is called.",
    ),
];

/// How long a call to a plain address may take.
pub const TIMEOUT: Duration = Duration::from_secs(10);
/// How often a plain address is called.
pub const ATTEMPTS: u64 = 3;
/// How often anybody is called for one call.
pub const ATTEMPTS_MAX: u64 = 10;
/// Bytes of a body.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of the head of an answer. Its body is not read.
pub const ANSWER_HEAD_BYTES_MAX: usize = 16 * 1024;

/// How long it takes to the second attempt; twice as long to each further one.
const PAUSE: Duration = Duration::from_millis(200);

/// Somebody who is called.
pub struct Receiver {
    agent: Agent,
    url: Url,
    secret: Option<Secret>,
    authorization: Option<Secret>,
    timeout: Duration,
    attempts: u64,
    place: String,
}

impl Receiver {
    /// Reads the settings of a connection, and its authorities.
    ///
    /// # Errors
    /// `Script` for an address that cannot be called, `Environment` for a file of authorities that cannot be read.
    pub fn new(connection: &Connection) -> Result<Receiver> {
        let open = || {
            let Endpoint::Web { origin, path } = &connection.endpoint else {
                return Err(Error::new(Kind::Script, "the connection needs an address")
                    .advice("write it as webhook \"https://host/path\""));
            };
            let settings = &connection.settings;
            let hidden = settings.secret("secret_path");
            let hidden = hidden.as_ref().map_or("", |path| path.expose());
            let path = if hidden.starts_with('/') { path.trim_end_matches('/') } else { path };
            let url = address(&format!("{origin}{path}{hidden}"), settings.switch("plain").unwrap_or(false))?;
            let roots = match settings.path("tls_ca") {
                None => system_roots(),
                Some(path) => {
                    let unusable = |why: String| {
                        let what = format!("the file of tls_ca cannot be used: {}: {why}", path.display());
                        Error::new(Kind::Environment, what)
                            .advice("name a PEM file with the certificates of the authorities")
                    };
                    let pem = std::fs::read(&path).map_err(|error| unusable(error.to_string()))?;
                    let roots: Vec<_> = parse_pem(&pem)
                        .filter_map(|item| match item {
                            Ok(PemItem::Certificate(certificate)) => Some(certificate),
                            _ => None,
                        })
                        .collect();
                    if roots.is_empty() {
                        return Err(unusable("there is no certificate in it".to_owned()));
                    }
                    Arc::new(roots)
                }
            };
            let timeout = settings.duration("timeout").unwrap_or(TIMEOUT);
            Ok(Receiver {
                agent: agent(&url, roots),
                url,
                secret: settings.secret("secret"),
                authorization: settings.secret("authorization"),
                timeout,
                attempts: settings.integer("attempts").unwrap_or(ATTEMPTS),
                place: place(connection),
            })
        };
        open().map_err(|error| error.context(place(connection)))
    }

    /// An address by itself: unsigned, with the system's authorities.
    ///
    /// # Errors
    /// `Refused` for an address that cannot be called.
    pub fn plain(text: &str) -> Result<Receiver> {
        let url = address(text, false)?;
        let place = format!("webhook {}", url.origin().ascii_serialization());
        Ok(Receiver {
            agent: agent(&url, system_roots()),
            url,
            secret: None,
            authorization: None,
            timeout: TIMEOUT,
            attempts: ATTEMPTS,
            place,
        })
    }

    /// The same receiver with what a call says otherwise: `timeout_ms`, which cannot be longer than the receiver's own time,
    /// and `attempts`.
    ///
    /// # Errors
    /// `Refused` for any other option, or a value that is no number from 1.
    pub fn with(mut self, options: &Map<String, Value>) -> Result<Receiver> {
        for (name, value) in options {
            let number = value.as_u64().filter(|number| *number > 0);
            match (name.as_str(), number) {
                ("timeout_ms", Some(ms)) => self.timeout = self.timeout.min(Duration::from_millis(ms)),
                ("attempts", Some(attempts)) => self.attempts = attempts.min(ATTEMPTS_MAX),
                ("timeout_ms" | "attempts", None) => {
                    let what = format!("the option `{name}` of a webhook is a whole number from 1");
                    return Err(Error::new(Kind::Refused, what));
                }
                _ => {
                    let what = format!("a webhook has no option `{name}`");
                    return Err(Error::new(Kind::Refused, what).advice("there are timeout_ms and attempts"));
                }
            }
        }
        Ok(self)
    }

    /// Posts `body`. Ok says that the server answered with success (2xx).
    ///
    /// Blocks for the time of the connection at the most. When no answer came, the call may have arrived all the same.
    ///
    /// # Errors
    /// `Unavailable` when the server is away, too slow, or fails (5xx, 429) in every attempt; `Environment` when it refuses
    /// (other answers), or is not who it should be; `Refused` when the body is too large.
    pub fn post(&self, body: &Value) -> Result<()> {
        self.deliver(body).map_err(|error| error.context(self.place.clone()))
    }

    fn deliver(&self, body: &Value) -> Result<()> {
        let body = body.to_string();
        if body.len() > BODY_BYTES_MAX {
            let what = format!("the body has {} bytes, and {BODY_BYTES_MAX} is the most", body.len());
            return Err(Error::new(Kind::Refused, what));
        }
        let end = Instant::now() + self.timeout;
        let delivery = uuid::Uuid::new_v4().to_string();
        let mut pause = PAUSE;
        for attempt in 1.. {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(out_of_time(self.timeout));
            }
            let error = match self.attempt(&body, &delivery, left) {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            let too_late = Instant::now() + pause >= end;
            if error.kind() != Kind::Unavailable || attempt >= self.attempts || too_late {
                return Err(error);
            }
            sleep(pause);
            pause *= 2;
        }
        Err(out_of_time(self.timeout))
    }

    fn attempt(&self, body: &str, delivery: &str, left: Duration) -> Result<()> {
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs().to_string();
        let mut request = self
            .agent
            .post(self.url.as_str())
            .header("Content-Type", "application/json")
            .header("X-Lode-Delivery", delivery)
            .header("X-Lode-Timestamp", &seconds);
        if let Some(secret) = &self.secret {
            request = request.header("X-Lode-Signature", signature(secret, &seconds, body));
        }
        if let Some(authorization) = &self.authorization {
            let mut value = HeaderValue::from_str(authorization.expose()).map_err(|_| {
                Error::new(Kind::Environment, "`authorization` has signs that no header can have")
                    .advice("look for line ends in it")
            })?;
            value.set_sensitive(true);
            request = request.header("Authorization", value);
        }
        let answer = request.config().timeout_global(Some(left)).build().send(body);
        let status = answer.map_err(|error| self.failure(error))?.status();
        let said = format!("the server answers {}", status.as_u16());
        match status.as_u16() {
            200..=299 => Ok(()),
            300..=399 => {
                Err(Error::new(Kind::Environment, format!("{said}: it redirects, and that is not followed"))
                    .advice("write the address that it redirects to"))
            }
            401 | 403 => Err(Error::new(Kind::Environment, said)
                .advice("check the settings secret and authorization of the connection")),
            404 | 410 => Err(Error::new(Kind::Environment, said).advice("check the address")),
            408 | 425 | 429 | 500..=599 => Err(Error::new(Kind::Unavailable, said)),
            _ => Err(Error::new(Kind::Environment, said)),
        }
    }

    /// What an error of the library means. Its texts may hold the address with a secret path, and are not all shown.
    fn failure(&self, error: ureq::Error) -> Error {
        let said = error.to_string();
        match error {
            ureq::Error::Timeout(_) => out_of_time(self.timeout),
            ureq::Error::HostNotFound => Error::new(Kind::Unavailable, "the host's name is not known"),
            _ if said.contains("certificate") => Error::new(Kind::Environment, format!("TLS failed: {said}"))
                .advice("name the server's authority with tls_ca = \"ca.pem\", and the server as its certificate does"),
            ureq::Error::Rustls(_) | ureq::Error::Tls(_) => {
                Error::new(Kind::Environment, format!("TLS failed: {said}")).advice("check whether the port speaks TLS")
            }
            ureq::Error::Io(error) if said.contains("corrupt message") => {
                Error::new(Kind::Environment, "the server does not speak TLS at this port").caused_by(error)
            }
            ureq::Error::Io(error) => {
                Error::new(Kind::Unavailable, format!("the server cannot be reached: {error}"))
            }
            ureq::Error::LargeResponseHeader(..) | ureq::Error::Protocol(_) => {
                Error::new(Kind::Environment, "the server's answer is not HTTP as it should be")
            }
            ureq::Error::ConnectionFailed | ureq::Error::ConnectProxyFailed(_) => {
                Error::new(Kind::Unavailable, "the server cannot be reached")
            }
            _ => Error::new(Kind::Environment, "the call cannot be made"),
        }
    }
}

/// Without its path, which may be a secret.
impl std::fmt::Debug for Receiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receiver").field("place", &self.place).finish_non_exhaustive()
    }
}

/// Looks at an address while a script is checked. It is in no message, as it may hold a secret.
///
/// # Errors
/// Why it cannot be called.
pub fn check_address(text: &str) -> Result<()> {
    address(text, false).map(|_| ())
}

fn address(text: &str, plain: bool) -> Result<Url> {
    let refused = |what: &str| Error::new(Kind::Refused, what.to_owned());
    let url = Url::parse(text).map_err(|_| {
        refused("the webhook has no address")
            .advice("write it as \"https://host/path\", or name a connection of kind webhook")
    })?;
    match url.scheme() {
        _ if !url.username().is_empty() || url.password().is_some() => {
            Err(refused("an address with a user or a password in it is not called")
                .advice("use a connection of kind webhook with the setting authorization"))
        }
        "https" => Ok(url),
        "http" if plain || is_this_machine(&url) => Ok(url),
        "http" => {
            Err(refused("http:// to another machine is not called, as everybody on the way could read it")
                .advice("use https://, or a connection of kind webhook with plain = on"))
        }
        _ => Err(refused("a webhook begins with https://")),
    }
}

fn is_this_machine(url: &Url) -> bool {
    url.host().is_some_and(|host| match host {
        url::Host::Domain(name) => name == "localhost",
        url::Host::Ipv4(ip) => ip.is_loopback(),
        url::Host::Ipv6(ip) => ip.is_loopback(),
    })
}

fn agent(url: &Url, roots: Arc<Vec<Certificate<'static>>>) -> Agent {
    let tls = TlsConfig::builder().root_certs(RootCerts::Specific(roots)).build();
    let mut config = Agent::config_builder()
        .tls_config(tls)
        .http_status_as_error(false)
        .max_redirects(0)
        .max_response_header_size(ANSWER_HEAD_BYTES_MAX)
        // A connection that was kept may be closed at the other side; alerts are rare enough to open one each.
        .max_idle_connections(0)
        .user_agent(concat!("lode/", env!("CARGO_PKG_VERSION")));
    if url.scheme() == "http" || is_this_machine(url) {
        // A proxy cannot reach this machine, and would read what is not encrypted.
        config = config.proxy(None);
    }
    config.build().into()
}

/// The authorities that the system trusts, read once.
fn system_roots() -> Arc<Vec<Certificate<'static>>> {
    static ROOTS: OnceLock<Arc<Vec<Certificate<'static>>>> = OnceLock::new();
    let read = || {
        let found = rustls_native_certs::load_native_certs();
        Arc::new(found.certs.iter().map(|der| Certificate::from_der(der.as_ref()).to_owned()).collect())
    };
    Arc::clone(ROOTS.get_or_init(read))
}

fn signature(secret: &Secret, seconds: &str, body: &str) -> String {
    // HMAC takes keys of every length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()) else {
        return String::new();
    };
    mac.update(seconds.as_bytes());
    mac.update(b".");
    mac.update(body.as_bytes());
    let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256={hex}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_the_one_that_openssl_makes() {
        // printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac key
        let made = signature(&Secret::new("key"), "1700000000", "{\"a\":1}");
        assert_eq!(made, "sha256=a438e398bfafc57e4396bb7fc2304422f0f768e965d073ca313cb52e22e6ad03");
    }

    #[test]
    fn only_addresses_that_nobody_can_read_on_the_way_are_called() {
        for right in
            ["https://pager.example.test/hook", "http://127.0.0.1:1/x", "http://localhost/x", "http://[::1]/"]
        {
            assert!(check_address(right).is_ok(), "{right}");
        }
        for wrong in
            ["pager.example.test", "", "http://pager.example.test/s3cret", "ftp://x/", "https://a:s3cret@x/"]
        {
            let error = check_address(wrong).unwrap_err();
            assert_eq!(error.kind(), Kind::Refused, "{wrong}");
            assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");
        }
        assert!(address("http://pager.example.test/", true).is_ok());
    }
}
