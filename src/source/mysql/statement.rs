//! What a QUERY event's text means for reading rows: just enough of SQL to find transactions, TRUNCATE, DROP and
//! changes that were logged as statements.

use crate::model::table::TableName;

/// The meaning of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Statement {
    Begin,
    Commit,
    Rollback,
    Savepoint(String),
    RollbackTo(String),
    XaStart,
    /// CREATE TABLE … SELECT of MySQL 8: rows follow it in the same transaction.
    CreateAndFill,
    /// Changes nothing and ends nothing.
    InTransaction,
    Truncate(TableName),
    /// A verb that changes rows, and every name in it that may be a table.
    Change(&'static str, Vec<TableName>),
    Drop(Vec<TableName>),
    /// ALTER TABLE that moves or removes whole partitions or tablespaces, whose rows are not logged: its words, and
    /// every name in it that may be a table.
    Partition(String, Vec<TableName>),
    Other,
}

/// Reads a statement; names without a database are of `database`.
pub(crate) fn read(text: &[u8], database: &str) -> Statement {
    // The two that come with every transaction.
    match text {
        b"BEGIN" => return Statement::Begin,
        b"COMMIT" => return Statement::Commit,
        _ => {}
    }
    let text = String::from_utf8_lossy(text);
    let mut tokens = Tokens(&text);
    let first = tokens.word();
    match first.as_str() {
        "BEGIN" | "START" => Statement::Begin,
        "COMMIT" => Statement::Commit,
        "ROLLBACK" => match tokens.word().as_str() {
            "TO" => Statement::RollbackTo(savepoint(&mut tokens)),
            _ => Statement::Rollback,
        },
        "SAVEPOINT" => Statement::Savepoint(savepoint(&mut tokens)),
        "RELEASE" => Statement::InTransaction,
        "XA" => match tokens.word().as_str() {
            "START" | "BEGIN" => Statement::XaStart,
            "END" => Statement::InTransaction,
            _ => Statement::Other,
        },
        "TRUNCATE" => match table_names(tokens, database).into_iter().next() {
            Some(table) => Statement::Truncate(table),
            None => Statement::Other,
        },
        "DROP" => match tokens.word().as_str() {
            "TABLE" | "TABLES" => Statement::Drop(table_names(tokens, database)),
            _ => Statement::Other,
        },
        "CREATE" if text.trim_end().to_ascii_uppercase().ends_with("START TRANSACTION") => {
            Statement::CreateAndFill
        }
        "ALTER" => match partition_words(&text) {
            Some(words) => Statement::Partition(words, table_names(tokens, database)),
            None => Statement::Other,
        },
        "INSERT" => Statement::Change("INSERT", table_names(tokens, database)),
        "UPDATE" => Statement::Change("UPDATE", table_names(tokens, database)),
        "DELETE" => Statement::Change("DELETE", table_names(tokens, database)),
        "REPLACE" => Statement::Change("REPLACE", table_names(tokens, database)),
        "LOAD" => Statement::Change("LOAD DATA", table_names(tokens, database)),
        "WITH" => Statement::Change("a change", table_names(tokens, database)),
        _ => Statement::Other,
    }
}

/// `TRUNCATE PARTITION` and its like in an ALTER statement, unless the rows stay as they are.
fn partition_words(text: &str) -> Option<String> {
    let mut tokens = Tokens(text);
    let mut before = String::new();
    while let Some(token) = tokens.next() {
        let Token::Word(word) = token else {
            before.clear();
            continue;
        };
        let word = word.to_ascii_uppercase();
        let removes = match word.as_str() {
            "PARTITION" => {
                matches!(
                    before.as_str(),
                    "DROP" | "TRUNCATE" | "EXCHANGE" | "CONVERT" | "DISCARD" | "IMPORT" | "TO"
                )
            }
            "TABLESPACE" => matches!(before.as_str(), "DISCARD" | "IMPORT"),
            _ => false,
        };
        if removes {
            return Some(format!("{before} {word}"));
        }
        before = word;
    }
    None
}

fn savepoint(tokens: &mut Tokens<'_>) -> String {
    let name = match tokens.next() {
        Some(Token::Word(word)) if word.eq_ignore_ascii_case("SAVEPOINT") => tokens.next(),
        name => name,
    };
    match name {
        Some(Token::Word(name)) => name.to_ascii_lowercase(),
        Some(Token::Quoted(name)) => name.to_ascii_lowercase(),
        _ => String::new(),
    }
}

/// Every name and every pair of names in the rest. Key words are among them: they are tables nobody has.
fn table_names(mut tokens: Tokens<'_>, database: &str) -> Vec<TableName> {
    let mut names: Vec<TableName> = Vec::new();
    let mut before: Option<String> = None;
    let mut dot = false;
    while let Some(token) = tokens.next() {
        let name = match token {
            Token::Word(word) => word.to_owned(),
            Token::Quoted(name) => name,
            Token::Mark('.') => {
                dot = true;
                continue;
            }
            Token::Mark(_) | Token::Literal => {
                (before, dot) = (None, false);
                continue;
            }
        };
        match (dot, before.take()) {
            (true, Some(database)) => {
                // What stands before the point was taken for a table at first.
                names.pop();
                names.push(TableName::new(database, name.as_str()));
            }
            _ => {
                if !["TABLE", "IF", "EXISTS"].iter().any(|word| name.eq_ignore_ascii_case(word)) {
                    names.push(TableName::new(database, name.as_str()));
                }
            }
        }
        (before, dot) = (Some(name), false);
    }
    names
}

#[derive(Debug, PartialEq)]
enum Token<'a> {
    Word(&'a str),
    Quoted(String),
    Literal,
    Mark(char),
}

/// Splits SQL into tokens; comments are left out, and the text of executable comments is read.
struct Tokens<'a>(&'a str);

impl<'a> Tokens<'a> {
    /// The next token when it is a word, in capitals; otherwise nothing.
    fn word(&mut self) -> String {
        match self.next() {
            Some(Token::Word(word)) => word.to_ascii_uppercase(),
            _ => String::new(),
        }
    }

    fn next(&mut self) -> Option<Token<'a>> {
        self.skip_blanks();
        let text = self.0;
        let first = text.chars().next()?;
        match first {
            '`' => {
                let (name, rest) = quoted(&text[1..], '`', false);
                self.0 = rest;
                Some(Token::Quoted(name))
            }
            '\'' => {
                let (_, rest) = quoted(&text[1..], first, true);
                self.0 = rest;
                Some(Token::Literal)
            }
            // Text, or a name under ANSI_QUOTES.
            '"' => {
                let (name, rest) = quoted(&text[1..], first, true);
                self.0 = rest;
                Some(Token::Quoted(name))
            }
            _ if is_word(first) => {
                let end = text.find(|next| !is_word(next)).unwrap_or(text.len());
                self.0 = &text[end..];
                Some(Token::Word(&text[..end]))
            }
            _ => {
                self.0 = &text[first.len_utf8()..];
                Some(Token::Mark(first))
            }
        }
    }

    fn skip_blanks(&mut self) {
        loop {
            let text = self.0.trim_start();
            self.0 = if let Some(comment) = text.strip_prefix("/*") {
                if let Some(inside) = comment.strip_prefix("!").or_else(|| comment.strip_prefix("M!")) {
                    inside.trim_start_matches(|next: char| next.is_ascii_digit())
                } else {
                    comment.split_once("*/").map_or("", |(_, rest)| rest)
                }
            } else if let Some(rest) = text.strip_prefix("*/") {
                rest
            } else if text.starts_with('#') || text.starts_with("-- ") || text.starts_with("--\n") {
                text.split_once('\n').map_or("", |(_, rest)| rest)
            } else {
                self.0 = text;
                return;
            };
        }
    }
}

/// Text up to its closing mark, which stands twice when it is meant itself.
fn quoted(text: &str, mark: char, backslashes: bool) -> (String, &str) {
    let mut name = String::new();
    let mut chars = text.char_indices().peekable();
    while let Some((at, char)) = chars.next() {
        if char == mark {
            if chars.peek().is_some_and(|(_, next)| *next == mark) {
                chars.next();
                name.push(mark);
                continue;
            }
            return (name, &text[at + 1..]);
        }
        if backslashes && char == '\\' {
            chars.next();
            continue;
        }
        name.push(char);
    }
    (name, "")
}

fn is_word(char: char) -> bool {
    char.is_alphanumeric() || char == '_' || char == '$' || char == '@'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(database: &str, table: &str) -> TableName {
        TableName::new(database, table)
    }

    #[test]
    fn statements_are_told_apart() {
        for (text, meaning) in [
            ("BEGIN", Statement::Begin),
            ("/* app */ commit", Statement::Commit),
            ("ROLLBACK", Statement::Rollback),
            ("ROLLBACK TO `Sp 1`", Statement::RollbackTo("sp 1".into())),
            ("SAVEPOINT a", Statement::Savepoint("a".into())),
            ("XA START X'61',X'',1", Statement::XaStart),
            ("XA COMMIT X'61',X'',1", Statement::Other),
            ("TRUNCATE TABLE `or``ders`", Statement::Truncate(table("shop", "or`ders"))),
            ("truncate shop.t", Statement::Truncate(table("shop", "t"))),
            ("truncate other.t", Statement::Truncate(table("other", "t"))),
            ("/*!40000 TRUNCATE */ t", Statement::Truncate(table("shop", "t"))),
            (
                "DROP TABLE IF EXISTS `a`, b.`c` /* generated by server */",
                Statement::Drop(vec![table("shop", "a"), table("b", "c")]),
            ),
            ("CREATE TABLE `t` (`a` int) START TRANSACTION", Statement::CreateAndFill),
            ("ALTER TABLE t ADD x INT -- BEGIN", Statement::Other),
            ("ALTER TABLE t ADD PARTITION (PARTITION p1 VALUES IN (1))", Statement::Other),
            ("ALTER TABLE t REORGANIZE PARTITION p0 INTO (PARTITION p1 VALUES IN (1))", Statement::Other),
            ("ALTER TABLE t DROP `PARTITION`, COMMENT 'DROP PARTITION'", Statement::Other),
            (
                "alter table t truncate partition p0",
                Statement::Partition(
                    "TRUNCATE PARTITION".into(),
                    ["t", "truncate", "partition", "p0"].map(|name| table("shop", name)).into(),
                ),
            ),
        ] {
            assert_eq!(read(text.as_bytes(), "shop"), meaning, "{text}");
        }
    }

    #[test]
    fn tables_of_changes_are_found() {
        let Statement::Change(verb, tables) =
            read(b"INSERT INTO orders SELECT 'x.y', a FROM crm . `people` p # z", "shop")
        else {
            panic!("it is a change")
        };
        assert_eq!(verb, "INSERT");
        assert!(tables.contains(&table("shop", "orders")));
        assert!(tables.contains(&table("crm", "people")));
        assert!(!tables.contains(&table("x", "y")));
    }
}
