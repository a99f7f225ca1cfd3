//! A system to connect to, as a script declares it.

use std::fmt;
use std::path::PathBuf;

use super::spec::Settings;

/// A checked `connection` statement.
#[derive(Clone, Debug, PartialEq)]
pub struct Connection {
    /// Its name in the script.
    pub name: String,
    /// Its kind: `mysql`.
    pub kind: &'static str,
    /// Where it is.
    pub endpoint: Endpoint,
    /// Checked settings.
    pub settings: Settings,
}

/// A checked endpoint.
#[derive(Clone, Debug, PartialEq)]
pub enum Endpoint {
    /// A server.
    Url {
        /// The scheme as written.
        scheme: String,
        /// User name; empty when none was given.
        user: String,
        /// Host name or address.
        host: String,
        /// Port.
        port: u16,
        /// Database; empty when none was given.
        database: String,
    },
    /// A file or folder, absolute.
    Path(PathBuf),
    /// An address of the web.
    Web {
        /// Scheme, host and port.
        origin: String,
        /// What follows them, with the slash; it may be known to few.
        path: String,
    },
}

/// Without the user, and without the path of an address of the web: it is shown in plans and messages.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Url { scheme, host, port, database, .. } => {
                write!(f, "{scheme}://{host}:{port}")?;
                if database.is_empty() { Ok(()) } else { write!(f, "/{database}") }
            }
            Endpoint::Path(path) => path.display().fmt(f),
            Endpoint::Web { origin, .. } => f.write_str(origin),
        }
    }
}
