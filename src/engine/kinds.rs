//! The kinds of systems that this build knows.

use crate::check::Kinds;
use crate::client::{mongodb, mysql, oracle, smtp, webhook};
use crate::model::spec::{EndpointSpec, KindSpec};
use crate::sink::{self, jsonl, null, sqlite};
use crate::source;

/// Every kind that scripts may name without an embedding program adding any.
pub fn builtin() -> Kinds {
    [MYSQL, BINLOG, SQLITE, JSONL, NULL, EMBEDDED, MONGODB, ORACLE, SMTP, WEBHOOK].into_iter().collect()
}

const MYSQL: KindSpec = KindSpec {
    name: "mysql",
    meaning: "a MySQL or MariaDB server: its binlog as a source, its tables as a sink",
    endpoint: mysql::ENDPOINT,
    connection: mysql::CONNECTION,
    source: Some(source::mysql::SETTINGS),
    sink: Some(sink::mysql::SPEC),
    log: None,
    not_built_in: None,
};

const BINLOG: KindSpec = KindSpec {
    name: "binlog",
    meaning: "binlog files in a folder, read without a server",
    endpoint: source::binlog::ENDPOINT,
    connection: source::binlog::CONNECTION,
    source: Some(source::binlog::SETTINGS),
    sink: None,
    log: None,
    not_built_in: None,
};

const SQLITE: KindSpec = KindSpec {
    name: "sqlite",
    meaning: "tables of an SQLite file",
    endpoint: EndpointSpec::File,
    connection: sqlite::CONNECTION,
    source: None,
    sink: Some(sqlite::SPEC),
    log: None,
    not_built_in: None,
};

const JSONL: KindSpec = KindSpec {
    name: "jsonl",
    meaning: "one line of JSON for each change, in files or on standard output",
    endpoint: EndpointSpec::Nothing,
    connection: &[],
    source: None,
    sink: Some(jsonl::SPEC),
    log: None,
    not_built_in: None,
};

const NULL: KindSpec = KindSpec {
    name: "null",
    meaning: "nothing: changes are counted and dropped",
    endpoint: EndpointSpec::Nothing,
    connection: &[],
    source: None,
    sink: Some(null::SPEC),
    log: None,
    not_built_in: None,
};

const EMBEDDED: KindSpec = KindSpec {
    name: "embedded",
    meaning: "lode's own log store, in files below the data folder",
    endpoint: EndpointSpec::Nothing,
    connection: &[],
    source: None,
    sink: None,
    log: Some(&[]),
    not_built_in: None,
};

const MONGODB: KindSpec = KindSpec {
    name: "mongodb",
    meaning: "collections of a MongoDB: as a log store, or as a sink",
    endpoint: mongodb::ENDPOINT,
    connection: mongodb::CONNECTION,
    source: None,
    sink: Some(sink::mongodb::SPEC),
    log: Some(&[]),
    not_built_in: None,
};

const ORACLE: KindSpec = KindSpec {
    name: "oracle",
    meaning: "tables of an Oracle database",
    endpoint: oracle::ENDPOINT,
    connection: oracle::CONNECTION,
    source: None,
    sink: Some(sink::oracle::SPEC),
    log: None,
    not_built_in: None,
};

const SMTP: KindSpec = KindSpec {
    name: "smtp",
    meaning: "a mail server, for hooks of alerts and schedules: mail(name, to, subject, text)",
    endpoint: smtp::ENDPOINT,
    connection: smtp::CONNECTION,
    source: None,
    sink: None,
    log: None,
    not_built_in: None,
};

const WEBHOOK: KindSpec = KindSpec {
    name: "webhook",
    meaning: "a server that takes JSON over HTTPS, for hooks of alerts and schedules: webhook(name, body)",
    endpoint: webhook::ENDPOINT,
    connection: webhook::CONNECTION,
    source: None,
    sink: None,
    log: None,
    not_built_in: None,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::specs::{self, default_is_readable};

    #[test]
    fn every_default_can_be_read_and_every_key_is_there_once() {
        let kinds = builtin();
        let lists = kinds.setting_lists().chain([specs::SHARE_MINING, specs::PIPELINE]);
        for list in lists {
            for (index, spec) in list.iter().enumerate() {
                assert!(default_is_readable(spec), "{}", spec.key);
                assert!(list[..index].iter().all(|other| other.key != spec.key), "{} twice", spec.key);
                assert!(spec.meaning.ends_with('.'), "{}: a sentence", spec.key);
            }
        }
    }
}
