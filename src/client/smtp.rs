//! Mail: the settings of a `connection x = smtp "…"` statement, and sending by it.
//!
//! `smtps://` encrypts from the first byte (RFC 8314, port 465). `smtp://` (port 587) has to change over to TLS by STARTTLS
//! before anything else is said; a server that does not is an error, unless the script says `tls = off`. Every mail has
//! `Auto-Submitted: auto-generated` (RFC 3834), so that no absence notice answers it.

use std::path::Path;
use std::time::Duration;

use lettre::address::Envelope;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Mailboxes};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::{Message, SmtpTransport, Transport};

use super::template::Template;
use super::within::{out_of_time, within};
use super::{PASSWORD, place};
use crate::error::{Error, Kind, Result};
use crate::model::connection::{Connection, Endpoint};
use crate::model::message::Mail;
use crate::model::spec::{EndpointSpec, Setting, SettingSpec, SettingType};

/// What stands after `smtp` in a `connection` statement.
pub const ENDPOINT: EndpointSpec =
    EndpointSpec::Url { schemes: &["smtps", "smtp"], default_port: 465, database: false };

/// Settings of a `connection x = smtp "…"` statement.
pub const CONNECTION: &[SettingSpec] = &[
    PASSWORD,
    SettingSpec { required: true, ..SettingSpec::new(
        "from",
        SettingType::Text,
        None,
        "The address that mails come from: \"lode@example.test\", or with a name \"lode <lode@example.test>\".",
    ) }
    .checked(is_address),
    SettingSpec::new(
        "to",
        SettingType::Text,
        None,
        "Who gets the mails for which a hook names nobody: addresses, with commas between them.",
    )
    .checked(are_addresses),
    SettingSpec::new(
        "template",
        SettingType::Path,
        None,
        "A file for mails that are made of an alert's facts: `Subject: …`, an empty line, the text, with {name} for each fact.",
    ),
    SettingSpec::new(
        "tls",
        SettingType::Switch,
        Some("on"),
        "Whether smtp:// has to change over to TLS before anything else; off sends mail and password readable for everybody on the way.",
    ),
    SettingSpec::new(
        "tls_ca",
        SettingType::Path,
        None,
        "A PEM file of the authorities to trust in place of the system's.",
    ),
    SettingSpec::new(
        "timeout",
        SettingType::Duration,
        Some("10s"),
        "How long sending a mail may take as a whole.",
    ),
];

/// Recipients of one mail.
pub const RECIPIENTS_MAX: usize = 100;
/// Characters of a subject; longer ones are cut.
pub const SUBJECT_CHARS_MAX: usize = 200;
/// Bytes of a text; longer ones are cut.
pub const TEXT_BYTES_MAX: usize = 1024 * 1024;

/// Characters of a server's answer that an error quotes.
const ANSWER_CHARS_MAX: usize = 200;

/// A mail server that mails are sent by. Sending opens a connection of its own for each mail.
#[derive(Debug)]
pub struct Smtp {
    transport: SmtpTransport,
    from: Mailbox,
    to: Vec<Mailbox>,
    template: Template,
    timeout: Duration,
    place: String,
}

impl Smtp {
    /// Reads a connection's settings, its template and its authorities. Nothing is sent yet.
    ///
    /// # Errors
    /// `Script` for addresses or an endpoint that cannot be, `Environment` for files that cannot be read.
    pub fn new(connection: &Connection) -> Result<Smtp> {
        Smtp::open(connection).map_err(|error| error.context(place(connection)))
    }

    fn open(connection: &Connection) -> Result<Smtp> {
        let Endpoint::Url { scheme, user, host, port, .. } = &connection.endpoint else {
            return Err(Error::new(Kind::Script, "the connection needs a server as its endpoint")
                .advice("write it as smtp \"smtps://user@host:465\""));
        };
        let settings = &connection.settings;
        let timeout = settings.duration("timeout").unwrap_or(Duration::from_secs(10));
        let wrapped = scheme == "smtps";
        let tls = match (wrapped, settings.switch("tls").unwrap_or(true)) {
            (true, true) => Tls::Wrapper(tls(host, settings.path("tls_ca").as_deref())?),
            (false, true) => Tls::Required(tls(host, settings.path("tls_ca").as_deref())?),
            (false, false) => Tls::None,
            (true, false) => {
                return Err(Error::new(Kind::Script, "smtps:// is always encrypted, but tls is off")
                    .advice("write smtp:// for a server without TLS, or leave tls out"));
            }
        };
        let mut builder =
            SmtpTransport::builder_dangerous(host.as_str()).port(*port).tls(tls).timeout(Some(timeout));
        if let (false, Some(password)) = (user.is_empty(), settings.secret("password")) {
            builder = builder.credentials(Credentials::new(user.clone(), password.expose().to_owned()));
        }
        let text = |key| settings.text(key).unwrap_or_default();
        Ok(Smtp {
            transport: builder.build(),
            from: mailbox(&text("from")).map_err(|why| wrong_address("from", why))?,
            to: mailboxes(&text("to")).map_err(|why| wrong_address("to", why))?,
            template: settings
                .path("template")
                .map_or(Ok(Template::standard()), |path| Template::read(&path))?,
            timeout,
            place: place(connection),
        })
    }

    /// Sends a mail. Ok says that the server took it, for all recipients.
    ///
    /// Blocks for the connection's `timeout` at the most. When the time is over, or the answer lost, the mail may have
    /// gone out all the same.
    ///
    /// # Errors
    /// `Unavailable` when the server is away, too slow, or asks to come again (4xx); `Environment` when it refuses (5xx),
    /// or is not who it should be; `Refused` when the mail has no recipient or one that is no address.
    pub fn send(&self, mail: &Mail) -> Result<()> {
        let message = self.message(mail).map_err(|error| error.context(self.place.clone()))?;
        let (transport, limit) = (self.transport.clone(), self.timeout);
        let (envelope, bytes): (Envelope, Vec<u8>) = (message.envelope().clone(), message.formatted());
        within(limit, move || {
            transport.send_raw(&envelope, &bytes).map(|_| ()).map_err(|error| failure(&error, limit))
        })
        .map_err(|error| error.context(self.place.clone()))
    }

    /// The mail as it travels. Everything that people or rows can bring into a header passes the library's encoders.
    fn message(&self, mail: &Mail) -> Result<Message> {
        let to = if mail.to.is_empty() {
            self.to.clone()
        } else {
            let given: Result<Vec<Vec<Mailbox>>, String> = mail.to.iter().map(|to| mailboxes(to)).collect();
            given
                .map_err(|why| Error::new(Kind::Refused, format!("the mail has a wrong recipient: {why}")))?
                .concat()
        };
        if to.is_empty() {
            return Err(Error::new(Kind::Refused, "the mail has no recipient")
                .advice("name one in the hook, or set to = \"…\" for the connection"));
        }
        if to.len() > RECIPIENTS_MAX {
            let message = format!("the mail has {} recipients, and {RECIPIENTS_MAX} is the most", to.len());
            return Err(Error::new(Kind::Refused, message).advice("send it to a list's address"));
        }
        let (subject, text) = match &mail.facts {
            None => (mail.subject.clone(), mail.text.clone()),
            Some(facts) => self.template.fill(facts),
        };
        let auto = HeaderName::new_from_ascii_str("Auto-Submitted");
        let builder = Message::builder()
            .from(self.from.clone())
            .mailbox(lettre::message::header::To::from(to.into_iter().collect::<Mailboxes>()));
        builder
            .subject(one_line(&subject))
            .date_now()
            .message_id(None)
            .raw_header(HeaderValue::new(auto, "auto-generated".to_owned()))
            .header(ContentType::TEXT_PLAIN)
            .body(cut(text))
            .map_err(|error| Error::new(Kind::Refused, format!("the mail cannot be written: {error}")))
    }
}

/// Whom to trust.
fn tls(host: &str, authorities: Option<&Path>) -> Result<TlsParameters> {
    let mut builder = TlsParameters::builder(host.to_owned());
    if let Some(path) = authorities {
        let unusable = |why: String| {
            Error::new(
                Kind::Environment,
                format!("the file of tls_ca cannot be used: {}: {why}", path.display()),
            )
            .advice("name a PEM file with the certificates of the authorities")
        };
        let pem = std::fs::read(path).map_err(|error| unusable(error.to_string()))?;
        let certificate = Certificate::from_pem(&pem).map_err(|error| unusable(error.to_string()))?;
        builder = builder.certificate_store(CertificateStore::None).add_root_certificate(certificate);
    }
    builder.build().map_err(|error| Error::new(Kind::Environment, format!("TLS cannot be set up: {error}")))
}

/// What an error of sending means.
fn failure(error: &lettre::transport::smtp::Error, limit: Duration) -> Error {
    let said = error.to_string();
    if error.is_timeout() || said.contains("timed out") || said.contains("Resource temporarily unavailable") {
        return out_of_time(limit);
    }
    if let Some(code) = error.status() {
        let number = code.to_string();
        let answer = match number.as_str() {
            // An answer to a log-in may repeat what it was sent.
            "535" | "534" | "538" => String::new(),
            _ => std::error::Error::source(error)
                .map(|said| format!(" {}", quoted(&said.to_string())))
                .unwrap_or_default(),
        };
        let kind = if error.is_transient() { Kind::Unavailable } else { Kind::Environment };
        let made = Error::new(kind, format!("the mail server answers {number}{answer}"));
        return match number.as_str() {
            "535" | "534" => made.advice("check the user in the URL and the setting password"),
            "530" => made.advice("the server wants a log-in: name a user in the URL, and set password"),
            "538" => made.advice("the server wants TLS before a log-in: leave tls on"),
            "550" | "551" | "553" | "554" => {
                made.advice("check the addresses, and whether this user may send from `from`")
            }
            _ => made,
        };
    }
    if said.contains("certificate") {
        return Error::new(Kind::Environment, format!("TLS failed: {}", quoted(&said))).advice(
            "name the server's authority with tls_ca = \"ca.pem\", and the server as its certificate does",
        );
    }
    if error.is_client() && said.contains("STARTTLS") {
        return Error::new(Kind::Environment, "the mail server does not offer TLS (STARTTLS)")
            .advice("use smtps:// with its port, or write tls = off to send everything readable");
    }
    if error.is_client() && said.contains("authentication") {
        return Error::new(
            Kind::Environment,
            "the mail server offers no log-in that lode knows (PLAIN, LOGIN)",
        )
        .advice("leave the user out of the URL where the server needs none");
    }
    if said.contains("corrupt message") || said.contains("InvalidContentType") {
        return Error::new(Kind::Environment, "the mail server does not speak TLS at this port")
            .advice("use smtp:// for a port that changes over to TLS by STARTTLS");
    }
    Error::new(Kind::Unavailable, format!("the mail server cannot be reached: {}", quoted(&said)))
}

/// A server's words, shortened, in one line.
fn quoted(said: &str) -> String {
    said.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).take(ANSWER_CHARS_MAX).collect()
}

fn one_line(subject: &str) -> String {
    let line: String = subject.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    let line = line.trim();
    match line.char_indices().nth(SUBJECT_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

fn cut(mut text: String) -> String {
    if text.len() > TEXT_BYTES_MAX {
        text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
        text.push_str("\n…\n");
    }
    text
}

fn mailbox(text: &str) -> Result<Mailbox, String> {
    text.trim().parse().map_err(|_| format!("`{}` is no address such as `dba@example.test`", quoted(text)))
}

/// Addresses with commas between them.
fn mailboxes(text: &str) -> Result<Vec<Mailbox>, String> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let all: Result<Mailboxes, _> = text.parse();
    all.map(|all| all.into_iter().collect()).map_err(|_| {
        format!("`{}` is no list of addresses such as `dba@example.test, ops@example.test`", quoted(text))
    })
}

/// Looks at addresses while a script is checked.
///
/// # Errors
/// Why they cannot be.
pub fn check_addresses(text: &str) -> Result<(), String> {
    match mailboxes(text)?.len() {
        0 => Err("an address is missing here".to_owned()),
        _ => Ok(()),
    }
}

fn is_address(setting: &Setting) -> Result<Option<String>, String> {
    match setting {
        Setting::Text(text) => mailbox(text).map(|_| None),
        _ => Ok(None),
    }
}

fn are_addresses(setting: &Setting) -> Result<Option<String>, String> {
    match setting {
        Setting::Text(text) => check_addresses(text).map(|()| None),
        _ => Ok(None),
    }
}

fn wrong_address(key: &str, why: String) -> Error {
    Error::new(Kind::Script, format!("`{key}`: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::secret::Secret;
    use crate::model::spec::Settings;

    fn smtp() -> Smtp {
        let mut settings = Settings::default();
        settings.0.insert("from", Setting::Text("lode <lode@example.test>".into()));
        settings.0.insert("password", Setting::Secret(Secret::new("s3cret")));
        let endpoint = Endpoint::Url {
            scheme: "smtps".into(),
            user: "lode".into(),
            host: "127.0.0.1".into(),
            port: 465,
            database: String::new(),
        };
        Smtp::new(&Connection { name: "oncall".into(), kind: "smtp", endpoint, settings }).unwrap()
    }

    fn written(to: &str, subject: &str, text: &str) -> Mail {
        Mail { to: vec![to.into()], subject: subject.into(), text: text.into(), facts: None }
    }

    #[test]
    fn nothing_in_a_subject_becomes_a_header() {
        let subject = "lag\r\nBcc: all@example.test\r\n\r\nhello";
        let message = smtp().message(&written("dba@example.test", subject, "x")).unwrap();
        let bytes = String::from_utf8(message.formatted()).unwrap();
        let (head, _) = bytes.split_once("\r\n\r\n").unwrap();
        assert!(!head.contains("\r\nBcc:"), "{head}");
        assert!(head.contains("\r\nAuto-Submitted: auto-generated"), "{head}");
        assert_eq!(message.envelope().to().len(), 1);
    }

    #[test]
    fn recipients_are_addresses_or_an_error() {
        for wrong in
            ["", "dba", "dba@example.test\r\nBcc: x@example.test", "a@b@c", "dba@example.test\r\nDATA"]
        {
            let error = smtp().message(&written(wrong, "s", "t")).unwrap_err();
            assert_eq!(error.kind(), Kind::Refused, "{wrong}: {error}");
        }
        let two = smtp().message(&written("a@example.test, Bé <b@example.test>", "s", "t")).unwrap();
        assert_eq!(two.envelope().to().len(), 2);
        let many = vec!["a@example.test"; RECIPIENTS_MAX + 1].join(", ");
        assert_eq!(smtp().message(&written(&many, "s", "t")).unwrap_err().kind(), Kind::Refused);
    }

    #[test]
    fn long_subjects_and_texts_are_cut() {
        assert_eq!(one_line(&"é".repeat(300)).chars().count(), SUBJECT_CHARS_MAX + 1);
        assert!(cut("é".repeat(TEXT_BYTES_MAX)).len() < TEXT_BYTES_MAX + 10);
    }

    #[test]
    fn no_debug_text_shows_the_password() {
        assert!(!format!("{:?}", smtp()).contains("s3cret"));
    }
}
