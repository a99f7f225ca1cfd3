//! The library of hooks: each example gives what its table says, the reference is made from the tables, and what is wrong
//! is an error in words.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lode::client::lookup::{Found, Lookup, Wanted};
use lode::error::{Error, Kind, Result};
use lode::hook::act::{ActFacts, ActingHook, Host, Occasion};
use lode::hook::library::{Function, Group, functions, page, reference};
use lode::hook::{Facts, HookError, HookKind, Lookups, compile, compile_with};
use lode::model::block::Op;
use lode::model::connection::{Connection, Endpoint};
use lode::model::hook::{Hook, HookCode};
use lode::model::message::{Mail, Webhook};
use lode::model::row::Row;
use lode::model::schema::{Column, ColumnType, TableSchema};
use lode::model::spec::{Setting, Settings};
use lode::model::table::TableName;
use lode::model::value::Value;

/// Keeps what is logged and answers everything.
#[derive(Default)]
struct Recorder(Mutex<Vec<String>>);

impl Host for Recorder {
    fn notify(&self, text: &str) -> Result<()> {
        self.log(text);
        Ok(())
    }

    fn log(&self, text: &str) {
        self.0.lock().unwrap().push(text.to_owned());
    }

    fn mail(&self, _: &str, mail: &Mail) -> Result<()> {
        self.log(&mail.subject);
        Ok(())
    }

    fn webhook(&self, call: &Webhook) -> Result<()> {
        self.log(&call.url);
        Ok(())
    }

    fn stats(&self, _: &str) -> Result<serde_json::Value> {
        Ok(serde_json::json!({ "rps": 12 }))
    }

    fn command(&self, line: &str) -> Result<String> {
        self.log(line);
        Ok(String::new())
    }
}

fn block(code: &str) -> Hook {
    Hook {
        code: HookCode::Block(code.into()),
        file: "case.lode".into(),
        line: 1,
        column: 1,
        modules: Arc::default(),
    }
}

/// What a block logs, or what went wrong.
fn logged(code: &str) -> std::result::Result<Vec<String>, String> {
    let recorder = Arc::new(Recorder::default());
    let host: Arc<dyn Host> = Arc::clone(&recorder) as _;
    let mut hook =
        ActingHook::compile(&block(code), Occasion::Alert, &["oncall".to_owned(), "pager".to_owned()])
            .map_err(|error| error.to_string())?;
    let facts: ActFacts =
        ActFacts::from_iter([("message".to_owned(), "late".into()), ("name".to_owned(), "lag".into())]);
    hook.run(&facts, &host).map_err(|error| error.to_string())?;
    let logged = recorder.0.lock().unwrap();
    Ok(logged.clone())
}

/// What an expression gives, as text.
fn given(expression: &str) -> String {
    match logged(&format!("let x = {expression}; log(`${{x}}`);")) {
        Ok(logged) => logged.concat(),
        Err(error) => error,
    }
}

fn orders() -> Arc<TableSchema> {
    let column = |name: &str, ty| Column { name: name.into(), ty, nullable: true };
    Arc::new(TableSchema {
        name: TableName::new("shop", "orders"),
        columns: vec![
            column("id", ColumnType::Int { bits: 64, unsigned: false }),
            column("qty", ColumnType::Int { bits: 64, unsigned: false }),
            column("note", ColumnType::Text { bytes: 1000 }),
        ],
        primary_key: vec![0],
        unique_keys: Vec::new(),
    })
}

fn order(schema: &Arc<TableSchema>, id: i64) -> Row {
    let values = [Some(Value::Int(id)), Some(Value::Int(2)), Some(Value::Text("".into()))];
    Row::encode(Arc::clone(schema), &values).unwrap_or_else(|_| panic!("the row fits"))
}

fn of(group: Group) -> impl Iterator<Item = Function> {
    functions().into_iter().filter(move |known| known.group == group)
}

#[test]
fn every_example_gives_what_its_table_says() {
    for group in [Group::Dates, Group::Numbers, Group::Texts, Group::Masking, Group::Json] {
        for known in of(group) {
            assert_eq!(given(known.example), known.gives, "{}: {}", known.name, known.example);
        }
    }
    for known in of(Group::Acting) {
        let asked = logged(&format!("{};", known.example));
        assert_eq!(asked.as_ref().map(Vec::len), Ok(1), "{}: {asked:?}", known.example);
    }
}

#[test]
fn every_example_of_rows_maps_a_row() {
    let schema = orders();
    let row = order(&schema, 1);
    let facts = Facts { row: &row, before: None, op: Op::Insert, table: &schema, time_ms: 0 };
    for known in of(Group::Rows) {
        let odd: Box<dyn Lookup> = Box::new(Odd { asked: Arc::default(), answer: || Ok(()) });
        let connection = Connection {
            name: "dim".into(),
            kind: "sqlite",
            endpoint: Endpoint::Path("dim.db".into()),
            settings: Settings::default(),
        };
        let lookups = Arc::new(Lookups::new([(Arc::new(connection), odd)]));
        let mut hook = compile_with(&block(known.example), HookKind::Map, Some(lookups))
            .unwrap_or_else(|error| panic!("{}: {error}", known.example));
        let mapped = hook.map(&facts, &mut Vec::new());
        assert!(mapped.is_ok(), "{}: {mapped:?}", known.example);
    }
}

#[test]
fn the_reference_and_the_help_are_made_from_the_tables() {
    let made = reference();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/grammar/HOOKS.md");
    if std::env::var("INSTA_UPDATE").is_ok_and(|update| update == "always") {
        std::fs::write(path, &made).unwrap();
    }
    let there = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        made == there,
        "grammar/HOOKS.md is not what the tables say: INSTA_UPDATE=always cargo test --test library"
    );
    for known in functions() {
        let page = page(known.name).unwrap();
        assert!(page.contains(known.example) && page.contains(known.meaning), "{page}");
        assert!(
            made.contains(&format!("{}(", known.name)) || made.contains(&format!(".{}", known.name)),
            "{}",
            known.name
        );
        assert!(known.meaning.ends_with('.') && !known.example.is_empty(), "{}", known.name);
    }
    assert_eq!(page("no_such_function"), None);
}

#[test]
fn what_cannot_be_computed_is_said_and_quotes_no_value() {
    for (expression, says) in [
        ("parse_date(\"s3cret\", \"%d.%m.%Y\")", "does not have the format `%d.%m.%Y`"),
        ("date(\"2024-01-31\").format(\"%Q%!\")", "is no format"),
        ("date(\"0000-00-00\").format(\"%Y\")", "zero date"),
        ("date(\"2024-01-31\").truncate(\"decade\")", "no such unit"),
        ("datetime(\"2024-01-31 12:00:00\").from_zone(\"Mars/Base\")", "no time zone"),
        ("date(\"9999-12-31\").add_months(1)", "outside of the years 0 to 9999"),
        ("timestamp_ms(9223372036854775807)", "outside of the years 0 to 9999"),
        ("regex_match(\"s3cret\", \"(\")", "no regular expression"),
        ("regex_match(\"x\", \"(a{1000}){1000}\")", "the pattern takes more than"),
        ("base64_decode(\"s3cret!\")", "no Base64"),
        ("json_get(\"{s3cret\", \"/a\")", "no JSON document"),
        ("json_get(\"{}\", \"a\")", "begins with a slash"),
        ("pseudonym(\"s3cret\", \"\")", "the key is empty"),
        ("decimal(\"1\").floor(-1)", "rounded to 0 to"),
    ] {
        let said = given(expression);
        assert!(said.contains(says), "{expression}: {said}");
        assert!(!said.contains("s3cret"), "{expression}: {said}");
    }
}

#[test]
fn edges() {
    for (expression, expected) in [
        // The hour that is there twice, and the one that is not there.
        ("datetime(\"2024-10-27 02:30:00\").from_zone(\"Europe/Prague\")", "2024-10-27 00:30:00"),
        ("datetime(\"2024-03-31 02:30:00\").from_zone(\"Europe/Prague\")", "2024-03-31 01:30:00"),
        ("timestamp(\"1969-12-31 23:59:59.5\").to_zone(\"Asia/Shanghai\")", "1970-01-01 07:59:59.5"),
        ("date(\"2024-03-31\").add_months(-1)", "2024-02-29"),
        ("date(\"2024-01-01\").truncate(\"week\")", "2024-01-01"),
        ("date(\"2023-12-31\").truncate(\"week\")", "2023-12-25"),
        ("timestamp(\"2024-05-31 12:34:56.789\").truncate(\"minute\")", "2024-05-31 12:34:00"),
        ("decimal(\"-2.5\").floor()", "-3"),
        ("decimal(\"-2.5\").ceiling()", "-2"),
        ("decimal(\"2.50\").floor(1)", "2.5"),
        ("decimal(\"-2.999\").truncate(0)", "-2"),
        ("regex_find(\"abc\", `\\d`) == ()", "true"),
        ("regex_captures(\"abc\", `(?<n>\\d)`) == ()", "true"),
        ("regex_replace(\"a1b22\", `\\d+`, \"\")", "ab"),
        ("mask(\"abc\", 9)", "**c"),
        ("mask(\"\", 3)", ""),
        ("mask(\"žluťoučký\", 2)", "*******ký"),
        ("mask_email(\"nobody\")", "******"),
        ("mask_email(\"@example.test\")", "***@example.test"),
        ("mask_card(\"1234\")", "****"),
        ("json_get(`{\"a\": 0.10}`, \"/a\")", "0.10"),
        ("json_get(`{\"a\": 1}`, \"/b\") == ()", "true"),
        (
            "pseudonym(\"a\", \"k\") == pseudonym(\"a\", \"k\") && pseudonym(\"a\", \"k\") != pseudonym(\"a\", \"l\")",
            "true",
        ),
        ("normalize_space(\" \")", ""),
    ] {
        assert_eq!(given(expression), expected, "{expression}");
    }
}

#[test]
fn a_text_cannot_be_blown_up_by_a_replacement() {
    let said = given("{ let t = \"a\"; t.pad(100000, 'a'); regex_replace(t, \"a\", t) }");
    assert!(said.contains("MiB"), "{said}");
}

/// A table whose rows are `name = key`, of odd keys alone, that counts how often it is asked.
struct Odd {
    asked: Arc<AtomicU32>,
    answer: fn() -> Result<()>,
}

impl Lookup for Odd {
    fn find(&mut self, wanted: &Wanted) -> Result<Option<Found>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        (self.answer)()?;
        let Value::Int(key) = wanted.key else { panic!("{wanted:?}") };
        Ok((key % 2 == 1).then(|| vec![("name".to_owned(), Value::Text(format!("n{key}").into()))]))
    }
}

/// Maps a row whose `id` is each of `keys` by `row.note = …`, and counts what the table is asked.
fn look_up(
    code: &str,
    keys: &[i64],
    settings: &[(&'static str, Setting)],
    answer: fn() -> Result<()>,
) -> (Vec<std::result::Result<String, HookError>>, u32) {
    let asked = Arc::new(AtomicU32::new(0));
    let connection = Arc::new(Connection {
        name: "dim".into(),
        kind: "sqlite",
        endpoint: Endpoint::Path("dim.db".into()),
        settings: Settings(settings.iter().cloned().collect()),
    });
    let odd: Box<dyn Lookup> = Box::new(Odd { asked: Arc::clone(&asked), answer });
    let lookups = Arc::new(Lookups::new([(connection, odd)]));
    let mut hook = compile_with(&block(code), HookKind::Map, Some(lookups)).expect("it compiles");
    let schema = orders();
    let mapped = keys.iter().map(|key| {
        let row = order(&schema, *key);
        let facts = Facts { row: &row, before: None, op: Op::Insert, table: &schema, time_ms: 0 };
        let mapped = hook.map(&facts, &mut Vec::new())?.expect("no row is skipped");
        match mapped.view().get(2) {
            Some(Value::Text(text)) => Ok(text.into_owned()),
            other => Ok(format!("{other:?}")),
        }
    });
    (mapped.collect(), asked.load(Ordering::Relaxed))
}

const NOTE: &str = "let found = lookup(\"dim.customers\", row.id); row.note = if found == () { \"none\" } else { found.name };";

#[test]
fn a_row_is_asked_for_once_until_it_is_too_old_or_too_many_came_since() {
    let texts = |outcome: Vec<std::result::Result<String, HookError>>| -> Vec<String> {
        outcome.into_iter().map(|text| text.expect("the map runs")).collect()
    };
    let (notes, asked) = look_up(NOTE, &[1, 2, 1, 2, 1], &[], || Ok(()));
    assert_eq!(
        (texts(notes), asked),
        (vec!["n1".into(), "none".into(), "n1".into(), "none".into(), "n1".into()], 2)
    );
    let none = [("lookup_ttl", Setting::Duration(Duration::ZERO))];
    assert_eq!(look_up(NOTE, &[1, 1, 1], &none, || Ok(())).1, 3);
    let two = [("lookup_rows", Setting::Integer(2))];
    assert_eq!(look_up(NOTE, &[1, 2, 3, 1, 3, 1], &two, || Ok(())).1, 4);
    let small = [("lookup_size", Setting::Size(1))];
    assert_eq!(look_up(NOTE, &[1, 1], &small, || Ok(())).1, 2);
}

#[test]
fn a_lookup_that_fails_for_the_row_can_be_caught_and_one_for_the_server_cannot() {
    let caught = format!("try {{ {NOTE} }} catch {{ row.note = \"caught\"; }}");
    let data = || Err(Error::new(Kind::Data, "several rows have this key"));
    let (notes, _) = look_up(&caught, &[1], &[], data);
    assert_eq!(notes[0].as_deref(), Ok("caught"));
    let (notes, _) = look_up(NOTE, &[1], &[], data);
    assert_eq!(notes[0].as_ref().unwrap_err().kind, Kind::Data);
    let away = || Err(Error::new(Kind::Unavailable, "the server is away").advice("wait"));
    let (notes, asked) = look_up(&caught, &[1, 1], &[], away);
    for note in notes {
        let error = note.unwrap_err();
        assert_eq!((error.kind, error.advice.as_deref()), (Kind::Unavailable, Some("wait")), "{error}");
    }
    assert_eq!(asked, 2, "a failure is not remembered");
    let slow = || {
        std::thread::sleep(Duration::from_millis(1200));
        Ok(())
    };
    let (notes, _) = look_up(&format!("{NOTE} let x = 0; while x < 5000 {{ x += 1; }}"), &[1], &[], slow);
    assert_eq!(notes[0].as_deref(), Ok("n1"), "waiting is not the hook's own time");
}

#[test]
fn keys_that_no_row_can_have_are_told_from_null() {
    let note = |key: &str| {
        let code = format!(
            "row.note = if lookup(\"dim.customers\", {key}) == () {{ \"none\" }} else {{ \"some\" }};"
        );
        look_up(&code, &[1], &[], || Ok(())).0.remove(0).map_err(|error| error.message)
    };
    assert_eq!(note("()"), Ok("none".into()));
    assert_eq!(note("decimal(\"3\")"), Ok("some".into()));
    assert!(note("1.5").unwrap_err().contains("no row is looked up by a FLOAT"));
    assert!(note("#{}").unwrap_err().contains("no row is looked up by a map"));
    for wrong in ["lookup(row.note, 1)", "lookup(\"customers\", 1)", "lookup(\".x\", 1)"] {
        let error = compile(&block(&format!("row.note = {wrong};")), HookKind::Map).unwrap_err();
        assert!(error.message.contains("names connection and table"), "{wrong}: {error}");
    }
    let error =
        look_up("row.note = lookup(\"mid.customers\", 1);", &[1], &[], || Ok(())).0.remove(0).unwrap_err();
    assert!(error.message.contains("there are no lookups in `mid` here"), "{error}");
}
