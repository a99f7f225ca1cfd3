//! Endpoints: the quoted text behind the kind of a connection.

use percent_encoding::percent_decode_str;
use url::Url;

use crate::lang::ast::Spanned;
use crate::lang::codes::Code;
use crate::lang::diagnostic::{Diagnostic, did_you_mean};
use crate::lang::span::Span;
use crate::model::connection::Endpoint;
use crate::model::spec::EndpointSpec;

use super::ScriptSet;

/// Reads an endpoint. The text of a URL is in no finding: it may hold a password.
pub(super) fn endpoint(
    text: &Spanned<String>,
    spec: EndpointSpec,
    kind: &str,
    scripts: &ScriptSet,
) -> Result<Endpoint, Diagnostic> {
    match spec {
        EndpointSpec::Folder | EndpointSpec::File => {
            if text.node.is_empty() || text.node.contains("://") {
                let what = format!("a connection of kind {kind} is at a path, relative to the script");
                return Err(Diagnostic::new(Code::E0307, text.span, what).help(usage(kind, spec)));
            }
            Ok(Endpoint::Path(scripts.absolute(&text.node, text.span)))
        }
        EndpointSpec::Web => web(text, kind, spec),
        EndpointSpec::Nothing => {
            Err(Diagnostic::new(Code::E0307, text.span, format!("{kind} has no connections"))
                .help("remove the statement; the word can be used without it"))
        }
        EndpointSpec::Url { schemes, default_port, database } => {
            server(text, kind, spec, schemes, default_port, database)
        }
    }
}

/// What to write for an endpoint of this kind.
pub(super) fn usage(kind: &str, spec: EndpointSpec) -> String {
    format!("write {}", form(kind, spec))
}

/// How kind and endpoint look: `mysql "mysql://user@host:3306/database"`.
pub(super) fn form(kind: &str, spec: EndpointSpec) -> String {
    match spec {
        EndpointSpec::Url { schemes, default_port, database } => {
            let scheme = schemes.first().copied().unwrap_or(kind);
            let path = if database { "/database" } else { "" };
            format!("{kind} \"{scheme}://user@host:{default_port}{path}\"")
        }
        EndpointSpec::Web => format!("{kind} \"https://host/path\""),
        EndpointSpec::Folder => format!("{kind} \"path/of/a/folder\""),
        EndpointSpec::File => format!("{kind} \"path/of/a/file\""),
        EndpointSpec::Nothing => kind.to_owned(),
    }
}

/// Ports of schemes that have another one than the usual scheme of their kind. `smtp` is the submission of mail (RFC 6409).
const PORTS: [(&str, u16); 1] = [("smtp", 587)];

fn server(
    text: &Spanned<String>,
    kind: &str,
    spec: EndpointSpec,
    schemes: &[&str],
    default_port: u16,
    database_needed: bool,
) -> Result<Endpoint, Diagnostic> {
    let wrong = |what: String| Diagnostic::new(Code::E0307, text.span, what).help(usage(kind, spec));
    let url = Url::parse(&text.node).map_err(|error| match error {
        url::ParseError::RelativeUrlWithoutBase => {
            wrong("this is not the address of a server: it does not begin with a scheme".to_owned())
        }
        error => wrong(format!("this is not the address of a server: {error}")),
    })?;
    if url.password().is_some() {
        return Err(password_in_address(text, "password = env(\"NAME\")"));
    }
    if !schemes.contains(&url.scheme()) {
        let what = format!("a connection of kind {kind} cannot be at `{}://`", url.scheme());
        return Err(match did_you_mean(url.scheme(), schemes.iter().copied()) {
            Some(near) => {
                // The scheme stands right behind the opening quote.
                let start = text.span.start as usize + 1;
                let scheme = Span::new(text.span.source, start..start + url.scheme().len());
                Diagnostic::new(Code::E0307, text.span, what).suggest(scheme, near, "did you mean this one?")
            }
            None => wrong(what),
        });
    }
    let host = match url.host_str() {
        Some(host) if !host.is_empty() => host.trim_matches(['[', ']']).to_owned(),
        _ => return Err(wrong("the address names no host".to_owned())),
    };
    if url.query().is_some() || url.fragment().is_some() {
        return Err(Diagnostic::new(Code::E0307, text.span, "an address ends with the database")
            .help("write options as settings: { tls = on }"));
    }
    let mut path = url.path().split('/').skip(1);
    let database = decoded(path.next().unwrap_or_default())
        .ok_or_else(|| wrong("the database is not UTF-8 text".into()))?;
    if path.any(|rest| !rest.is_empty()) {
        return Err(wrong("the address has more behind the database".to_owned()));
    }
    if database_needed && database.is_empty() {
        return Err(wrong("the address names no database".to_owned()));
    }
    let user = decoded(url.username()).ok_or_else(|| wrong("the user is not UTF-8 text".into()))?;
    let own_port = PORTS.iter().find(|(scheme, _)| *scheme == url.scheme()).map(|(_, port)| *port);
    let port = url.port().or(own_port).unwrap_or(default_port);
    Ok(Endpoint::Url { scheme: url.scheme().to_owned(), user, host, port, database })
}

/// An address of the web. Its path may be a secret, and is in no finding either.
fn web(text: &Spanned<String>, kind: &str, spec: EndpointSpec) -> Result<Endpoint, Diagnostic> {
    let wrong = |what: String| Diagnostic::new(Code::E0307, text.span, what).help(usage(kind, spec));
    let url = Url::parse(&text.node).map_err(|_| wrong("this is not an address of the web".to_owned()))?;
    if !matches!(url.scheme(), "https" | "http") || url.host_str().is_none_or(str::is_empty) {
        return Err(wrong(format!("a connection of kind {kind} is at an address of the web")));
    }
    if url.password().is_some() || !url.username().is_empty() {
        return Err(password_in_address(text, "authorization = env(\"NAME\")"));
    }
    if url.fragment().is_some() {
        return Err(wrong("an address with `#` is never sent as a whole".to_owned()));
    }
    let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
    let path = format!("{}{query}", url.path());
    Ok(Endpoint::Web { origin: url.origin().ascii_serialization(), path })
}

fn password_in_address(text: &Spanned<String>, instead: &str) -> Diagnostic {
    Diagnostic::new(Code::E0308, text.span, "a password does not belong in an address")
        .label("it is masked here")
        .note("addresses are shown in plans and messages; the password may be in the history of this file already")
        .help(format!("take it out, and add {{ {instead} }}"))
}

fn decoded(text: &str) -> Option<String> {
    percent_decode_str(text).decode_utf8().ok().map(|text| text.into_owned())
}
