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
    /// A verb whose rows are never logged, such as of a partition that is dropped, and the tables that it changes.
    Unlogged(&'static str, Vec<TableName>),
    /// A verb that was logged because a function in it changes rows, nobody knows of which tables.
    Opaque(&'static str),
    Drop(Vec<TableName>),
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
    let mut first = tokens.word();
    // MariaDB's way to set variables for one statement: SET STATEMENT a = 1 FOR …
    while first == "SET" {
        if tokens.word() != "STATEMENT" {
            return Statement::Other;
        }
        while tokens.next().is_some_and(|token| !token.is_word("FOR")) {}
        first = tokens.word();
    }
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
            "COMMIT" => Statement::Commit,
            "ROLLBACK" => Statement::Rollback,
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
        "CREATE" => create(tokens, database),
        "ALTER" => alter(tokens, database),
        "INSERT" => Statement::Change("INSERT", table_names(tokens, database)),
        "UPDATE" => Statement::Change("UPDATE", table_names(tokens, database)),
        "DELETE" => match whole_table(Tokens(tokens.0), database) {
            Some(table) => Statement::Truncate(table),
            None => Statement::Change("DELETE", table_names(tokens, database)),
        },
        "REPLACE" => Statement::Change("REPLACE", table_names(tokens, database)),
        "LOAD" => Statement::Change("LOAD DATA", table_names(tokens, database)),
        "WITH" => Statement::Change("a change", table_names(tokens, database)),
        "SELECT" => Statement::Opaque("SELECT"),
        "DO" => Statement::Opaque("DO"),
        "CALL" => Statement::Opaque("CALL"),
        _ => Statement::Other,
    }
}

/// A server that logs rows writes the SELECT of a CREATE TABLE as rows, and leaves it out of the text.
fn create(mut tokens: Tokens<'_>, database: &str) -> Statement {
    let mut word = tokens.word();
    while matches!(word.as_str(), "OR" | "REPLACE") {
        word = tokens.word();
    }
    if word != "TABLE" {
        return Statement::Other;
    }
    let Some(table) = table_name(&mut tokens, database) else { return Statement::Other };
    let mut last = [String::new(), String::new()];
    let mut filled = false;
    while let Some(token) = tokens.next() {
        let word = match token {
            Token::Word(word) => word.to_ascii_uppercase(),
            _ => String::new(),
        };
        // VALUES is also the word of partitions.
        filled |= word == "SELECT" || last[1] == "VALUES" && !matches!(word.as_str(), "LESS" | "IN");
        last.rotate_left(1);
        last[1] = word;
    }
    if filled {
        Statement::Change("CREATE TABLE", vec![table])
    } else if last == ["START", "TRANSACTION"] {
        Statement::CreateAndFill
    } else {
        Statement::Other
    }
}

/// Rows that come or go with a partition or a tablespace are in no event.
fn alter(mut tokens: Tokens<'_>, database: &str) -> Statement {
    let mut word = tokens.word();
    while matches!(word.as_str(), "ONLINE" | "OFFLINE" | "IGNORE") {
        word = tokens.word();
    }
    if word != "TABLE" {
        return Statement::Other;
    }
    let mut tables: Vec<_> = table_name(&mut tokens, database).into_iter().collect();
    let mut unlogged = None;
    let mut before = String::new();
    while let Some(token) = tokens.next() {
        let word = match token {
            Token::Word(word) => word.to_ascii_uppercase(),
            _ => String::new(),
        };
        let verb = match (before.as_str(), word.as_str()) {
            ("DROP", "PARTITION" | "SUBPARTITION") => Some("DROP PARTITION"),
            ("TRUNCATE", "PARTITION" | "SUBPARTITION") => Some("TRUNCATE PARTITION"),
            ("EXCHANGE", "PARTITION" | "SUBPARTITION") => Some("EXCHANGE PARTITION"),
            ("CONVERT", "PARTITION" | "TABLE") => Some("CONVERT PARTITION"),
            ("DISCARD", "PARTITION" | "TABLESPACE") => Some("DISCARD TABLESPACE"),
            ("IMPORT", "PARTITION" | "TABLESPACE") => Some("IMPORT TABLESPACE"),
            _ => None,
        };
        unlogged = unlogged.or(verb);
        if unlogged.is_some() && word == "TABLE" {
            tables.extend(table_name(&mut tokens, database));
        }
        before = word;
    }
    match unlogged {
        Some(verb) => Statement::Unlogged(verb, tables),
        None => Statement::Other,
    }
}

/// The table of a DELETE that says nothing about its rows, as servers log one for each MEMORY table after a restart.
fn whole_table(mut tokens: Tokens<'_>, database: &str) -> Option<TableName> {
    if tokens.word() != "FROM" {
        return None;
    }
    let table = table_name(&mut tokens, database)?;
    tokens.next().is_none().then_some(table)
}

/// The table that a statement names next.
fn table_name(tokens: &mut Tokens<'_>, database: &str) -> Option<TableName> {
    let mut token = tokens.next()?;
    while ["IF", "NOT", "EXISTS"].iter().any(|word| token.is_word(word)) {
        token = tokens.next()?;
    }
    let first = token.into_name()?;
    let mut ahead = Tokens(tokens.0);
    if ahead.next() != Some(Token::Mark('.')) {
        return Some(TableName::new(database, first));
    }
    let second = ahead.next()?.into_name()?;
    tokens.0 = ahead.0;
    Some(TableName::new(first, second))
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

impl Token<'_> {
    fn is_word(&self, expected: &str) -> bool {
        matches!(self, Token::Word(word) if word.eq_ignore_ascii_case(expected))
    }

    fn into_name(self) -> Option<String> {
        match self {
            Token::Word(word) => Some(word.to_owned()),
            Token::Quoted(name) => Some(name),
            Token::Literal | Token::Mark(_) => None,
        }
    }
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
            ("XA COMMIT X'61',X'',1", Statement::Commit),
            ("XA ROLLBACK X'61',X'',1", Statement::Rollback),
            ("TRUNCATE TABLE `or``ders`", Statement::Truncate(table("shop", "or`ders"))),
            ("truncate shop.t", Statement::Truncate(table("shop", "t"))),
            ("truncate other.t", Statement::Truncate(table("other", "t"))),
            ("/*!40000 TRUNCATE */ t", Statement::Truncate(table("shop", "t"))),
            (
                "DROP TABLE IF EXISTS `a`, b.`c` /* generated by server */",
                Statement::Drop(vec![table("shop", "a"), table("b", "c")]),
            ),
            ("CREATE TABLE `t` (`a` int) START TRANSACTION", Statement::CreateAndFill),
            ("CREATE PROCEDURE p() START TRANSACTION", Statement::Other),
            (
                "CREATE TABLE t (a INT) PARTITION BY RANGE (a) (PARTITION p VALUES LESS THAN (3))",
                Statement::Other,
            ),
            ("ALTER TABLE t ADD x INT -- BEGIN", Statement::Other),
            ("ALTER TABLE t COMMENT 'DROP PARTITION p', CONVERT TO CHARACTER SET utf8mb4", Statement::Other),
            ("ALTER TABLE t REORGANIZE PARTITION a, b INTO (PARTITION c VALUES IN (1))", Statement::Other),
            ("SET STATEMENT max_statement_time=1 FOR TRUNCATE t", Statement::Truncate(table("shop", "t"))),
            ("SET PASSWORD FOR u = 'x'", Statement::Other),
            ("DELETE FROM `shop`.`m`", Statement::Truncate(table("shop", "m"))),
            ("DELETE FROM m /* generated by server */", Statement::Truncate(table("shop", "m"))),
            ("SELECT `shop`.`f`(1)", Statement::Opaque("SELECT")),
        ] {
            assert_eq!(read(text.as_bytes(), "shop"), meaning, "{text}");
        }
    }

    #[test]
    fn rows_that_no_event_has_are_noticed() {
        for (text, verb, tables) in [
            ("ALTER TABLE t DROP PARTITION p0", "DROP PARTITION", vec![table("shop", "t")]),
            (
                "alter table if exists b . `t` truncate partition all",
                "TRUNCATE PARTITION",
                vec![table("b", "t")],
            ),
            (
                "ALTER TABLE t EXCHANGE PARTITION p WITH TABLE b.u WITHOUT VALIDATION",
                "EXCHANGE PARTITION",
                vec![table("shop", "t"), table("b", "u")],
            ),
            ("ALTER TABLE t IMPORT TABLESPACE", "IMPORT TABLESPACE", vec![table("shop", "t")]),
        ] {
            assert_eq!(read(text.as_bytes(), "shop"), Statement::Unlogged(verb, tables), "{text}");
        }
        for text in [
            "CREATE TABLE t SELECT 1 AS a",
            "CREATE OR REPLACE TABLE IF NOT EXISTS t (a INT) AS WITH x AS (SELECT 1) SELECT * FROM x",
            "CREATE TABLE t AS VALUES ROW(1)",
        ] {
            let filled = Statement::Change("CREATE TABLE", vec![table("shop", "t")]);
            assert_eq!(read(text.as_bytes(), "shop"), filled, "{text}");
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
