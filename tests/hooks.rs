//! Hooks and stages: each file of `golden/hooks` is a table, stages and changes; its snapshot is what comes out.
//!
//! A file has three parts, divided by lines of `---`: first `table name (column type [null] [key], …)` and modules
//! (`module name`, then its text up to `end`); then the stages as in a script; then the changes, one a line:
//! `insert {…}`, `update {…} -> {…}`, `delete {…}`, `truncate`. A column missing from a row is absent from its image.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;

use lode::hook::{HookKind, compile};
use lode::model::block::Op;
use lode::model::change::Change;
use lode::model::hook::{Hook, HookCode, HookModule};
use lode::model::position::Seq;
use lode::model::row::Row;
use lode::model::schema::{Column, ColumnType, TableSchema};
use lode::model::table::TableName;
use lode::model::value::{Date, DateTime, Time, Timestamp, Value};
use lode::plan::StagePlan;
use lode::run::stages::Stages;
use proptest::prelude::*;

#[test]
fn golden_files() {
    insta::glob!("golden/hooks/*.hook", |path| {
        let text = std::fs::read_to_string(path).expect("the case is readable");
        insta::assert_snapshot!(run_case(&text));
    });
}

#[test]
fn no_stages_pass_the_very_same_bytes() {
    let (schema, row) = sample();
    let mut out = Vec::new();
    let mut stages = Stages::compile(&[], "shop").expect("nothing to compile");
    assert!(stages.is_empty());
    stages.apply(change(&schema, Op::Insert, None, Some(row.clone())), &mut out).expect("nothing fails");
    assert_eq!(out[0].after.as_ref().map(|row| row.image.as_ptr()), Some(row.image.as_ptr()));
}

#[test]
fn an_untouched_row_shares_its_bytes_and_schema() {
    let (schema, row) = sample();
    let mut stages = stages("map", "let x = row.id;");
    let mut out = Vec::new();
    stages.apply(change(&schema, Op::Insert, None, Some(row.clone())), &mut out).expect("the map runs");
    let after = out[0].after.as_ref().expect("an insert has a row");
    assert!(Arc::ptr_eq(&after.schema, &schema));
    assert_eq!(after.image.as_ptr(), row.image.as_ptr());
}

#[test]
fn rows_changed_alike_share_one_schema() {
    let (schema, row) = sample();
    let mut stages = stages(
        "map",
        "if row.id == 7 { row.extra = 1; row.other = 2 } else { row.other = 3; row.extra = 4 }",
    );
    let mut out = Vec::new();
    for _ in 0..3 {
        stages.apply(change(&schema, Op::Insert, None, Some(row.clone())), &mut out).expect("the map runs");
    }
    let schemas: Vec<_> =
        out.iter().filter_map(|change| change.after.as_ref()).map(|row| &row.schema).collect();
    assert!(schemas.windows(2).all(|pair| Arc::ptr_eq(pair[0], pair[1])));
}

#[test]
fn a_broken_image_is_contained() {
    let (schema, row) = sample();
    let broken = Row { schema: Arc::clone(&schema), image: row.image.slice(..row.image.len() / 2) };
    let mut stages = stages("map", "row.note = `${row}`;");
    let mut out = Vec::new();
    let error = stages
        .apply(change(&schema, Op::Insert, None, Some(broken)), &mut out)
        .expect_err("half a row cannot be read");
    assert!(error.to_string().contains("panicked"), "{error}");
    stages.apply(change(&schema, Op::Insert, None, Some(row)), &mut out).expect("the stages still work");
    assert_eq!(out.len(), 1);
}

#[test]
fn places_of_module_errors_are_in_the_module() {
    let text = "fn good(row) { row }\n\nfn bad(row) { row. }\n";
    let error =
        compile(&call_hook("mask", "good", text), HookKind::Map).expect_err("the module does not parse");
    assert_eq!((&*error.file, error.line), ("hooks/mask.rhai", 3));
}

/// Needs the optimised build to say anything: `cargo test --release --test hooks speed -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn speed() {
    let (schema, row) = sample();
    for (kind, code) in [
        ("filter", "row.id > 0 && row.amount > 0"),
        ("map", "row.total = row.id * row.amount;"),
        ("map", "row.note = `#${row.id} ${row.note}`; row.remove(\"seen\");"),
        ("drop", "note, seen"),
    ] {
        let mut stages = if kind == "drop" {
            let names = code.split(", ").map(str::to_owned).collect();
            Stages::compile(&[StagePlan::Drop(names)], "shop").expect("nothing to compile")
        } else {
            stages(kind, code)
        };
        let count = 200_000;
        let mut out = Vec::with_capacity(1);
        let began = std::time::Instant::now();
        for _ in 0..count {
            out.clear();
            stages.apply(change(&schema, Op::Insert, None, Some(row.clone())), &mut out).expect("it runs");
        }
        println!("{kind} {{ {code} }}: {:.0} rows/s", f64::from(count) / began.elapsed().as_secs_f64());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Setting one column leaves the bytes of all others as they are.
    #[test]
    fn untouched_columns_keep_their_bytes(row in any_row()) {
        let mut stages = stages("map", "row.note = \"new\"; row.added = 1;");
        let mut out = Vec::new();
        stages.apply(change(&row.schema, Op::Insert, None, Some(row.clone())), &mut out).expect("the map runs");
        let after = out[0].after.clone().expect("an insert has a row");
        let note = row.schema.column("note").expect("the table has it");
        let cells = |row: &Row| -> Vec<_> { row.view().raw().map(|cell| cell.map(|cell| cell.map(<[u8]>::to_vec))).collect() };
        let (old, new) = (cells(&row), cells(&after));
        for column in (0..old.len()).filter(|column| *column != note) {
            prop_assert_eq!(&old[column], &new[column]);
        }
        prop_assert_eq!(after.view().get_named("note"), Some(Value::Text("new".into())));
        prop_assert_eq!(after.view().get_named("added"), Some(Value::Int(1)));
    }

    /// `row.x = row.x` gives the same bytes under the same schema, for every type.
    #[test]
    fn values_survive_the_way_through_a_hook(row in any_row()) {
        let mut stages = stages("map", "for name in row { row[name] = row[name]; }");
        let mut out = Vec::new();
        stages.apply(change(&row.schema, Op::Insert, None, Some(row.clone())), &mut out).expect("the map runs");
        let after = out[0].after.clone().expect("an insert has a row");
        prop_assert!(Arc::ptr_eq(&after.schema, &row.schema), "{:?}", after.schema);
        prop_assert_eq!(after.image, row.image);
    }
}

fn any_row() -> impl Strategy<Value = Row> {
    let numbers =
        (any::<u64>(), any::<i64>(), -8_388_608..8_388_608_i64, any::<u8>(), any::<f32>(), any::<f64>());
    let texts = ("[0-9]{1,15}", "\\PC{0,12}", prop::collection::vec(any::<u8>(), 0..9), 0..4_u64, 0..3_usize);
    let times = (
        (0..=9999_u16, 0..=12_u8, 0..=28_u8),
        (0..24_u8, 0..60_u8, 0..60_u8, 0..1_000_000_u32),
        prop::option::of(-62_167_219_200_000_000..253_402_300_800_000_000_i64),
        -3_020_399_000_000..3_020_399_000_000_i64,
    );
    (numbers, texts, times, any::<(bool, u64)>()).prop_map(|(numbers, texts, times, (negative, nulls))| {
        let (big, id, medium, tiny, single, double) = numbers;
        let (digits, text, bytes, flags, choice) = texts;
        let ((year, month, day), (hour, minute, second, micros), moment, span) = times;
        let number = format!("{:0>16}", digits);
        let negative = if negative && number.bytes().any(|digit| digit != b'0') { "-" } else { "" };
        let (whole, fraction) = number.split_at(number.len() - 4);
        let whole = match whole.trim_start_matches('0') {
            "" => "0",
            whole => whole,
        };
        let date = Date { year, month, day };
        let labels = vec!["a".to_owned(), "b".to_owned()];
        let single = if single.is_finite() { single } else { 0.1 };
        let double = if double.is_finite() { double } else { 0.1 };
        let int = |bits, unsigned| ColumnType::Int { bits, unsigned };
        let cells: Vec<(&str, ColumnType, Value<'static>)> = vec![
            ("id", int(64, false), Value::Int(id)),
            ("big", int(64, true), Value::UInt(big)),
            ("medium", int(24, false), Value::Int(medium)),
            ("tiny", int(8, true), Value::UInt(tiny.into())),
            ("single", ColumnType::Float, Value::Float(single)),
            ("double", ColumnType::Double, Value::Double(double)),
            (
                "amount",
                ColumnType::Decimal { precision: 20, scale: 4, unsigned: false },
                Value::Decimal(format!("{negative}{whole}.{fraction}").into()),
            ),
            ("bits", ColumnType::Bit { width: 64 }, Value::Bit(big)),
            ("year", ColumnType::Year, Value::Year(2024)),
            ("day", ColumnType::Date, Value::Date(date)),
            (
                "at",
                ColumnType::DateTime { fsp: 6 },
                Value::DateTime(DateTime { date, hour, minute, second, micros, fsp: 6 }),
            ),
            (
                "seen",
                ColumnType::Timestamp { fsp: 6 },
                Value::Timestamp(Timestamp { micros: moment, fsp: 6 }),
            ),
            ("span", ColumnType::Time { fsp: 6 }, Value::Time(Time { micros: span, fsp: 6 })),
            ("note", ColumnType::VarChar { chars: 12 }, Value::Text(text.clone().into())),
            ("blob", ColumnType::VarBinary { bytes: 9 }, Value::Bytes(bytes.into())),
            ("word", ColumnType::Enum { labels: labels.clone() }, Value::Text(["", "a", "b"][choice].into())),
            ("words", ColumnType::Set { labels }, Value::Text(["", "a", "b", "a,b"][flags as usize].into())),
            ("doc", ColumnType::Json, Value::Json(serde_json::json!({ "text": text }).to_string().into())),
        ];
        let columns =
            cells.iter().map(|(name, ty, _)| Column { name: (*name).into(), ty: ty.clone(), nullable: true });
        let schema = TableSchema {
            name: TableName::new("shop", "orders"),
            columns: columns.collect(),
            primary_key: vec![0],
            unique_keys: Vec::new(),
        };
        let values: Vec<_> = cells
            .into_iter()
            .enumerate()
            .map(|(at, (_, _, value))| Some(if at > 0 && nulls >> at & 3 == 0 { Value::Null } else { value }))
            .collect();
        Row::encode(Arc::new(schema), &values).expect("each value has its column's type")
    })
}

fn sample() -> (Arc<TableSchema>, Row) {
    let columns = "id bigint key, amount decimal(10,2), note varchar(40), seen timestamp(0) null";
    let schema = Arc::new(parse_table(&format!("table shop.orders ({columns})")));
    let row =
        parse_row(&schema, r#"{"id": 7, "amount": "12.50", "note": "hello", "seen": "2024-01-31 12:00:00"}"#);
    (schema, row)
}

fn stages(kind: &str, code: &str) -> Stages {
    let hook = hook(HookCode::Block(code.into()), 1, 1, Vec::new());
    let plan = if kind == "filter" { StagePlan::Filter(hook) } else { StagePlan::Map(hook) };
    Stages::compile(&[plan], "shop").expect("the code compiles")
}

fn call_hook(module: &str, function: &str, text: &str) -> Hook {
    let path = format!("hooks/{module}.rhai").into();
    let modules = vec![HookModule { name: module.into(), path, text: text.into(), allow: None }];
    hook(HookCode::Call { module: module.into(), function: function.into() }, 1, 1, modules)
}

fn hook(code: HookCode, line: u32, column: u32, modules: Vec<HookModule>) -> Hook {
    Hook { code, file: "case.lode".into(), line, column, modules: Arc::new(modules) }
}

fn change(schema: &Arc<TableSchema>, op: Op, before: Option<Row>, after: Option<Row>) -> Change {
    Change { seq: Seq(7), op, table: Arc::clone(schema), before, after, time_ms: 1_706_702_400_000 }
}

fn run_case(text: &str) -> String {
    let parts: Vec<_> = text.split("\n---\n").collect();
    let [head, script, changes] = parts[..] else { panic!("a case has three parts") };
    let (schema, modules) = parse_head(head);
    let first_line = head.lines().count() as u32 + 2;
    let plans = parse_stages(script, first_line, &modules);
    let mut shown = String::new();
    let mut stages = match Stages::compile(&plans, "shop") {
        Ok(stages) => stages,
        Err(error) => {
            let advice =
                error.advice.as_deref().map(|advice| format!("\n  help: {advice}")).unwrap_or_default();
            return format!("does not compile: {error}{advice}\n");
        }
    };
    for line in changes.lines().filter(|line| !line.is_empty()) {
        let (op, rows) = line.split_once(' ').unwrap_or((line, ""));
        let row = |text| Some(parse_row(&schema, text));
        let change = match op {
            "insert" => change(&schema, Op::Insert, None, row(rows)),
            "delete" => change(&schema, Op::Delete, row(rows), None),
            "truncate" => change(&schema, Op::Truncate, None, None),
            "update" => {
                let (before, after) = rows.split_once(" -> ").expect("an update has two rows");
                change(&schema, Op::Update, row(before), row(after))
            }
            other => panic!("no such operation: {other}"),
        };
        let _ = writeln!(shown, "{line}");
        let mut out = Vec::new();
        match stages.apply(change, &mut out) {
            Ok(()) if out.is_empty() => shown.push_str("  nothing\n"),
            Ok(()) => out.iter().for_each(|change| show_change(&mut shown, &schema, change)),
            Err(error) => {
                let _ = writeln!(shown, "  error: {error}");
                if let Some(advice) = error.advice() {
                    let _ = writeln!(shown, "  help: {advice}");
                }
            }
        }
    }
    shown
}

fn show_change(shown: &mut String, source: &Arc<TableSchema>, change: &Change) {
    let _ = write!(shown, "  {}", change.op.as_str());
    for (word, row) in [("before", &change.before), ("after", &change.after)] {
        let Some(row) = row else { continue };
        let _ = write!(shown, "\n    {word}");
        for (index, (column, value)) in row.schema.columns.iter().zip(row.view().values()).enumerate() {
            let known = source.column(&column.name).map(|at| &source.columns[at]);
            let key = if row.schema.primary_key.contains(&(index as u16)) { " key" } else { "" };
            let ty = if known == Some(column) { String::new() } else { format!(": {}", show_type(column)) };
            let value = value.map_or("absent".to_owned(), |value| format!("{value:?}"));
            let _ = write!(shown, "\n      {}{key}{ty} = {value}", column.name);
        }
    }
    shown.push('\n');
}

fn show_type(column: &Column) -> String {
    format!("{:?}{}", column.ty, if column.nullable { " null" } else { "" })
}

fn parse_head(head: &str) -> (Arc<TableSchema>, Vec<HookModule>) {
    let mut lines = head.lines().filter(|line| !line.starts_with('#'));
    let schema = parse_table(lines.next().expect("a case begins with its table"));
    let mut modules = Vec::new();
    while let Some(line) = lines.next() {
        let Some(name) = line.strip_prefix("module ") else { continue };
        let text: Vec<_> = lines.by_ref().take_while(|line| *line != "end").collect();
        let path = format!("hooks/{name}.rhai").into();
        modules.push(HookModule { name: name.into(), path, text: text.join("\n").into(), allow: None });
    }
    (Arc::new(schema), modules)
}

fn parse_table(line: &str) -> TableSchema {
    let (name, columns) =
        line.strip_prefix("table ").and_then(|line| line.split_once(" (")).expect("table name (");
    let (database, table) = name.split_once('.').expect("database.table");
    let mut schema = TableSchema {
        name: TableName::new(database, table),
        columns: Vec::new(),
        primary_key: Vec::new(),
        unique_keys: Vec::new(),
    };
    for column in columns.trim_end_matches(')').split(", ") {
        let mut words = column.split(' ');
        let (name, ty) = (words.next().expect("a name"), words.next().expect("a type"));
        let rest: Vec<_> = words.collect();
        if rest.contains(&"key") {
            schema.primary_key.push(schema.columns.len() as u16);
        }
        let ty = parse_type(ty, rest.contains(&"unsigned"));
        schema.columns.push(Column { name: name.into(), ty, nullable: rest.contains(&"null") });
    }
    schema
}

fn parse_type(text: &str, unsigned: bool) -> ColumnType {
    // The last column's own parenthesis may have been taken for the table's.
    let (name, arguments) = text.trim_end_matches(')').split_once('(').unwrap_or((text, ""));
    let number = |at: usize| arguments.split(',').nth(at).and_then(|word| word.parse().ok()).unwrap_or(0_u32);
    let labels = || arguments.split('|').map(str::to_owned).collect();
    match name {
        "bigint" => ColumnType::Int { bits: 64, unsigned },
        "int" => ColumnType::Int { bits: 32, unsigned },
        "tinyint" => ColumnType::Int { bits: 8, unsigned },
        "decimal" => ColumnType::Decimal { precision: number(0) as u8, scale: number(1) as u8, unsigned },
        "float" => ColumnType::Float,
        "double" => ColumnType::Double,
        "bit" => ColumnType::Bit { width: number(0) as u8 },
        "date" => ColumnType::Date,
        "datetime" => ColumnType::DateTime { fsp: number(0) as u8 },
        "timestamp" => ColumnType::Timestamp { fsp: number(0) as u8 },
        "varchar" => ColumnType::VarChar { chars: number(0) },
        "text" => ColumnType::Text { bytes: 65_535 },
        "blob" => ColumnType::Blob { bytes: 65_535 },
        "enum" => ColumnType::Enum { labels: labels() },
        "set" => ColumnType::Set { labels: labels() },
        "json" => ColumnType::Json,
        other => panic!("no such type: {other}"),
    }
}

fn parse_row(schema: &Arc<TableSchema>, text: &str) -> Row {
    let map: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text).expect("a row is JSON");
    let values: Vec<_> = schema
        .columns
        .iter()
        .map(|column| map.get(&column.name).map(|value| parse_value(&column.ty, value)))
        .collect();
    Row::encode(Arc::clone(schema), &values).unwrap_or_else(|unfit| panic!("column {} of {text}", unfit.0))
}

fn parse_value(ty: &ColumnType, value: &serde_json::Value) -> Value<'static> {
    let text = match value {
        serde_json::Value::Null => return Value::Null,
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let number = |range: std::ops::Range<usize>| text[range].parse::<u16>().expect("digits");
    let date = || Date { year: number(0..4), month: number(5..7) as u8, day: number(8..10) as u8 };
    let datetime = |fsp| {
        let (hour, minute, second) = (number(11..13) as u8, number(14..16) as u8, number(17..19) as u8);
        DateTime { date: date(), hour, minute, second, micros: 0, fsp }
    };
    match ty {
        ColumnType::Int { unsigned: false, .. } => Value::Int(text.parse().expect("an integer")),
        ColumnType::Int { .. } => Value::UInt(text.parse().expect("an integer")),
        ColumnType::Decimal { .. } => Value::Decimal(Cow::Owned(text)),
        ColumnType::Float => Value::Float(text.parse().expect("a float")),
        ColumnType::Double => Value::Double(text.parse().expect("a float")),
        ColumnType::Bit { .. } => Value::Bit(text.parse().expect("bits")),
        ColumnType::Date => Value::Date(date()),
        ColumnType::DateTime { fsp } => Value::DateTime(datetime(*fsp)),
        ColumnType::Timestamp { fsp } => {
            let at: jiff::civil::DateTime = text.parse().expect("a datetime");
            let micros = at.to_zoned(jiff::tz::TimeZone::UTC).expect("UTC").timestamp().as_microsecond();
            Value::Timestamp(Timestamp { micros: Some(micros), fsp: *fsp })
        }
        ColumnType::Blob { .. } => Value::Bytes(Cow::Owned(text.into_bytes())),
        ColumnType::Json => Value::Json(Cow::Owned(text)),
        _ => Value::Text(Cow::Owned(text)),
    }
}

fn parse_stages(script: &str, first_line: u32, modules: &[HookModule]) -> Vec<StagePlan> {
    let mut plans = Vec::new();
    let mut lines = (first_line..).zip(script.lines());
    while let Some((line, text)) = lines.next() {
        let (word, rest) = text.split_once(' ').expect("a stage and what it does");
        let names = || rest.split(", ").map(str::to_owned).collect();
        let code = |lines: &mut dyn Iterator<Item = (u32, &str)>| {
            let Some(block) = rest.strip_prefix('{') else {
                let (module, function) = rest.split_once("::").expect("module::function");
                let column = word.len() as u32 + 2;
                let code = HookCode::Call { module: module.into(), function: function.into() };
                return hook(code, line, column, modules.to_vec());
            };
            let mut block = block.to_owned();
            if !block.ends_with('}') {
                for (_, text) in lines.take_while(|(_, text)| *text != "}") {
                    block = format!("{block}\n{text}");
                }
            } else {
                block.pop();
            }
            hook(HookCode::Block(block.into()), line, word.len() as u32 + 3, modules.to_vec())
        };
        plans.push(match word {
            "filter" => StagePlan::Filter(code(&mut lines)),
            "map" => StagePlan::Map(code(&mut lines)),
            "keep" => StagePlan::Keep(names()),
            "drop" => StagePlan::Drop(names()),
            other => panic!("no such stage: {other}"),
        });
    }
    plans
}
