//! Names of targets: which table or file the changes of a source table go to.

use std::path::PathBuf;

use crate::model::table::TableName;

/// A table name with at most one `*`, which stands for the source table's name.
#[derive(Clone, Debug)]
pub(crate) struct TableTemplate(pub String);

impl TableTemplate {
    pub fn table(&self, source: &TableName) -> String {
        self.0.replacen('*', &source.table, 1)
    }
}

/// A path in which `{table}` and `{database}` stand for the source table's names.
#[derive(Clone, Debug)]
pub(super) struct PathTemplate(pub String);

impl PathTemplate {
    pub fn path(&self, source: &TableName) -> PathBuf {
        // Filled in one pass: a table may be called `{database}`.
        let mut path = String::with_capacity(self.0.len() + 32);
        let mut rest = self.0.as_str();
        while let Some(at) = rest.find('{') {
            path.push_str(&rest[..at]);
            rest = &rest[at..];
            if let Some(after) = rest.strip_prefix("{table}") {
                path.push_str(&file_name(&source.table));
                rest = after;
            } else if let Some(after) = rest.strip_prefix("{database}") {
                path.push_str(&file_name(&source.database));
                rest = after;
            } else {
                path.push('{');
                rest = &rest[1..];
            }
        }
        path.push_str(rest);
        PathBuf::from(path)
    }
}

/// A source decides how its tables are called, but not which folder a file lies in.
fn file_name(name: &str) -> String {
    let mut safe = String::with_capacity(name.len());
    for (at, character) in name.chars().enumerate() {
        match character {
            '/' | '\\' | '%' | ':' | '*' | '?' | '"' | '<' | '>' | '|' => escape(&mut safe, character),
            '.' if at == 0 => escape(&mut safe, character),
            character if character.is_control() => escape(&mut safe, character),
            character => safe.push(character),
        }
    }
    safe
}

fn escape(out: &mut String, character: char) {
    let mut bytes = [0; 4];
    for byte in character.encode_utf8(&mut bytes).bytes() {
        out.push_str(&format!("%{byte:02X}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_the_source_table() {
        let source = TableName::new("shop", "a*b");
        assert_eq!(TableTemplate("ods_*".into()).table(&source), "ods_a*b");
        assert_eq!(TableTemplate("orders".into()).table(&source), "orders");
    }

    #[test]
    fn paths_are_filled_once_and_stay_in_their_folder() {
        let template = PathTemplate("/d/{database}/{table}{x.jsonl".into());
        for (database, table, path) in [
            ("shop", "orders", "/d/shop/orders{x.jsonl"),
            ("..", "{database}", "/d/%2E./{database}{x.jsonl"),
            ("a/b", "50%", "/d/a%2Fb/50%25{x.jsonl"),
        ] {
            assert_eq!(template.path(&TableName::new(database, table)), PathBuf::from(path));
        }
    }
}
