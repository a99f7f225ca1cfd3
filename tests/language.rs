//! The language: goldens of scripts, and properties of parser and printer.
//!
//! To add a case, drop a script into `tests/golden/fmt` or `tests/golden/syntax` and review its snapshot.

use lode::lang::ast::*;
use lode::lang::codes::Code as DiagnosticCode;
use lode::lang::diagnostic::{render, to_json};
use lode::lang::parse::{is_unfinished, parse};
use lode::lang::print::{format, print};
use lode::lang::span::{SourceId, SourceMap, Span};
use proptest::prelude::*;
use std::path::{Path, PathBuf};

/// The scripts that the language was designed on.
fn scripts() -> Vec<(PathBuf, String)> {
    let mut scripts = Vec::new();
    for folder in ["scripts/language", "tests/golden/fmt"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        for entry in std::fs::read_dir(&folder).expect("the folder of scripts is there") {
            let path = entry.expect("the folder can be read").path();
            if path.extension().is_some_and(|extension| extension == "lode") {
                let text = std::fs::read_to_string(&path).expect("the script can be read");
                scripts.push((path, text));
            }
        }
    }
    assert!(scripts.len() > 10, "the scripts were found");
    scripts
}

/// Parses a text that must be right.
fn tree(name: &str, text: &str) -> Script {
    let mut sources = SourceMap::new();
    let id = sources.add(name, text);
    let (script, findings) = parse(id, text);
    assert!(findings.is_empty(), "{}\n{text}", render(&findings, &sources, false));
    script
}

#[test]
fn every_script_prints_and_parses_again_to_the_same_tree() {
    for (path, text) in scripts() {
        let script = tree(&path.to_string_lossy(), &text);
        assert!(!script.statements.is_empty(), "{}", path.display());
        let printed = print(&script);
        assert_eq!(script, tree("printed", &printed), "{}:\n{printed}", path.display());
    }
}

#[test]
fn formatting_twice_changes_nothing_and_keeps_every_comment() {
    for (path, text) in scripts() {
        let once = format(SourceId(0), &text).expect("the script is right");
        let twice = format(SourceId(0), &once).expect("the formatted script is right");
        assert_eq!(once, twice, "{}", path.display());
        let comments = |text: &str| -> Vec<String> {
            tree("comments", text).trivia.comments.into_iter().map(|comment| comment.text).collect()
        };
        assert_eq!(comments(&text), comments(&once), "{}", path.display());
    }
}

#[test]
fn formatted_scripts() {
    insta::glob!("golden/fmt/*.lode", |path| {
        let text = std::fs::read_to_string(path).expect("the script can be read");
        insta::assert_snapshot!(format(SourceId(0), &text).expect("the script is right"));
    });
    insta::glob!("../scripts/language", "*.lode", |path| {
        let text = std::fs::read_to_string(path).expect("the script can be read");
        insta::assert_snapshot!(format(SourceId(0), &text).expect("the script is right"));
    });
}

#[test]
fn syntax_errors() {
    insta::glob!("golden/syntax/*.lode", |path| {
        let text = std::fs::read_to_string(path).expect("the script can be read");
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let mut sources = SourceMap::new();
        let id = sources.add(name.as_str(), text.as_str());
        let (_, findings) = parse(id, &text);
        assert!(
            findings.iter().any(|finding| name.starts_with(finding.code.as_str())),
            "{name}: {findings:#?}"
        );
        assert!(format(id, &text).is_err(), "{name}: fmt refuses what it cannot read");
        insta::assert_snapshot!(render(&findings, &sources, false));
    });
}

#[test]
fn every_syntax_code_has_a_golden_script() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/syntax");
    let names: Vec<String> = std::fs::read_dir(folder)
        .expect("the folder is there")
        .map(|entry| entry.expect("the folder can be read").file_name().to_string_lossy().into_owned())
        .collect();
    for code in DiagnosticCode::ALL.iter().filter(|code| code.as_str().starts_with("E01")) {
        assert!(names.iter().any(|name| name.starts_with(code.as_str())), "no script for {code:?}");
    }
}

#[test]
fn the_page_of_a_syntax_code_shows_that_code_and_a_cure() {
    for code in DiagnosticCode::ALL.iter().filter(|code| code.as_str().starts_with("E01")) {
        let mut wrong = 0;
        for (is_wrong, text) in fences(code.page()) {
            let (_, findings) = parse(SourceId(0), &text);
            if is_wrong {
                assert!(
                    findings.iter().any(|finding| finding.code == *code),
                    "{code:?}: {findings:#?}\n{text}"
                );
                wrong += 1;
            } else {
                assert!(findings.is_empty(), "{code:?}: {findings:#?}\n{text}");
            }
        }
        assert!(wrong > 0, "{code:?} shows no script that causes it");
    }
}

#[test]
fn every_script_of_the_reference_parses() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("grammar/LANGUAGE.md");
    let reference = std::fs::read_to_string(path).expect("the reference is there");
    let fences = fences(&reference);
    assert!(fences.len() >= 10, "{} scripts were found", fences.len());
    for (_, text) in fences {
        tree("LANGUAGE.md", &text);
    }
}

#[test]
fn findings_as_json_name_file_line_column_and_code() {
    let text = "let a = 1\nconection b = mysql\n";
    let mut sources = SourceMap::new();
    let id = sources.add("a.lode", text);
    let json: serde_json::Value =
        serde_json::from_str(&to_json(&parse(id, text).1, &sources)).expect("this is JSON");
    assert_eq!(json[0]["code"], "E0104");
    assert_eq!(json[0]["severity"], "error");
    assert_eq!(json[0]["file"], "a.lode");
    assert_eq!(json[0]["line"], 2);
    assert_eq!(json[0]["column"], 1);
    assert_eq!(json[0]["end"]["column"], 10);
    assert_eq!(json[0]["suggestion"]["replacement"], "connection");
    assert_eq!(json[0]["help"], "did you mean `connection`?");
}

#[test]
fn errors_of_several_statements_are_found_and_the_others_are_read() {
    let text = "let a = 1\nlet b 2\nlet c = 3\npipeline x = source mysql a.b\nlet d = 4\n";
    let (script, findings) = parse(SourceId(0), text);
    let codes: Vec<&str> = findings.iter().map(|finding| finding.code.as_str()).collect();
    assert_eq!(codes, ["E0101", "E0106"]);
    assert_eq!(script.statements.len(), 3);
}

#[test]
fn a_loop_that_reads_lines_knows_when_to_ask_for_more() {
    for text in [
        "source mysql a.b ->",
        "source mysql a.b",
        "source mysql a.b -> filter { row.x == 1",
        "connection a = mysql \"x\" {",
        "connection a =",
    ] {
        assert!(is_unfinished(text), "{text}");
    }
    for text in ["", "# nothing", "source mysql a.b -> sink null", "conection a = 1", "let a = \"x"] {
        assert!(!is_unfinished(text), "{text}");
    }
}

#[test]
fn places_in_the_tree_are_places_in_the_text() {
    let text = "# č\npipeline p =\n  source mysql shop.{a, b} share_mining # why\n  -> filter { \"}\" != `{` } -> sink null";
    let script = tree("places", text);
    let statement = &script.statements[0];
    assert_eq!(&text[statement.span.range()], text.split_once('\n').expect("two lines").1);
    let Statement::Pipeline(pipeline) = &statement.node else { panic!("a pipeline") };
    assert_eq!(&text[pipeline.sources[0].span.range()], "source mysql shop.{a, b} share_mining");
    let Stage::Filter(Slot::Given(code)) = &pipeline.flow.stages[0].node else { panic!("a filter") };
    assert_eq!(&text[code.span().range()], " \"}\" != `{` ");
}

#[test]
fn deep_nesting_is_refused_without_a_crash() {
    for (open, close) in [("[", "]"), ("{ a = ", "}"), ("f(", ")")] {
        for depth in [65, 10_000] {
            let text = format!("let a = {}1{}", open.repeat(depth), close.repeat(depth));
            let (_, findings) = parse(SourceId(0), &text);
            assert!(
                findings.iter().any(|finding| finding.code == DiagnosticCode::E0110),
                "{depth} of {open}"
            );
        }
    }
    let text = format!("source mysql a.b -> map {}{} -> sink null", "{".repeat(100_000), "}".repeat(100_000));
    let (_, findings) = parse(SourceId(0), &text);
    assert_eq!(findings[0].code, DiagnosticCode::E0110);
}

#[test]
fn the_largest_scripts_are_read_statement_by_statement_in_linear_time() {
    let count = 1 << 16;
    for text in ["let a = 1 ".repeat(count), "let a = 1\n".repeat(count)] {
        assert_eq!(tree("large", &text).statements.len(), count);
    }
    let (_, findings) = parse(SourceId(0), &" ".repeat((1 << 20) + 1));
    assert_eq!(findings[0].code, DiagnosticCode::E0110);
}

/// The scripts of a page in Markdown; those marked `error` are wrong on purpose.
fn fences(page: &str) -> Vec<(bool, String)> {
    let mut fences = Vec::new();
    let mut rest = page;
    while let Some(at) = rest.find("```lode") {
        let fence = &rest[at + 7..];
        let (mark, body) = fence.split_once('\n').expect("a fence has a first line");
        let (script, after) = body.split_once("```").expect("a fence is closed");
        fences.push((mark.trim() == "error", script.to_owned()));
        rest = after;
    }
    fences
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in any::<String>()) {
        check_any(&text);
    }

    #[test]
    fn no_row_of_lode_words_makes_the_parser_panic(
        words in prop::collection::vec(prop::sample::select(WORDS), 0..40),
    ) {
        check_any(&words.join(" "));
        check_any(&words.concat());
    }

    #[test]
    fn no_mutation_of_a_script_makes_the_parser_panic(
        which in any::<prop::sample::Index>(),
        cut in any::<prop::sample::Index>(),
        length in 0usize..12,
        insert in prop::sample::select(WORDS),
    ) {
        let scripts = scripts();
        let (_, text) = which.get(&scripts);
        let start = text.floor_char_boundary(cut.index(text.len()));
        let end = text.ceil_char_boundary((start + length).min(text.len()));
        check_any(&format!("{}{insert}{}", &text[..start], &text[end..]));
    }

    #[test]
    fn any_tree_prints_and_parses_to_itself(script in any_script()) {
        let printed = print(&script);
        prop_assert_eq!(&script, &tree("printed", &printed), "{}", printed);
        prop_assert_eq!(&printed, &format(SourceId(0), &printed).expect("it parses"));
    }

    #[test]
    fn comments_may_stand_between_any_two_words(
        which in any::<prop::sample::Index>(),
        places in prop::collection::vec(any::<prop::sample::Index>(), 1..6),
    ) {
        let scripts = scripts();
        let (_, text) = which.get(&scripts);
        let plain = tree("plain", text);
        let mut commented = text.clone();
        for place in places {
            let at = commented.floor_char_boundary(place.index(commented.len()));
            let with = format!("{} # here\n{}", &commented[..at], &commented[at..]);
            // Within a word, a text or Rhai code this is no comment, or changes the tree.
            if let (script, findings) = parse(SourceId(0), &with) && findings.is_empty() && script == plain {
                commented = with;
            }
        }
        let once = format(SourceId(0), &commented).expect("comments change nothing");
        let count = |text: &str| text.matches("# here").count();
        prop_assert_eq!(count(&commented), count(&once), "{}\n{}", commented, once);
        prop_assert_eq!(&once, &format(SourceId(0), &once).expect("it parses"), "{}", commented);
        prop_assert_eq!(&plain, &tree("formatted", &once));
    }
}

/// What must hold for every text: no panic, findings that can be rendered, and a round trip when there are none.
fn check_any(text: &str) {
    let mut sources = SourceMap::new();
    let id = sources.add("any", text);
    let (script, findings) = parse(id, text);
    render(&findings, &sources, false);
    to_json(&findings, &sources);
    is_unfinished(text);
    if findings.is_empty() {
        let printed = print(&script);
        assert_eq!(script, tree("printed", &printed), "{text:?}\n{printed}");
        assert_eq!(Ok(&printed), format(id, &printed).as_ref(), "{text:?}");
    }
}

const WORDS: &[&str] = &[
    "source",
    "mysql",
    "shop.orders",
    "->",
    "sink",
    "null",
    "[",
    "]",
    "{",
    "}",
    ",",
    "=",
    "a",
    "on",
    "lag",
    ">",
    "30s",
    "for",
    "of",
    "do",
    "...",
    "\"x\"",
    "\"",
    "`",
    "'",
    "#",
    "\n",
    "# c\n",
    "filter",
    "keep",
    "map",
    "m::f",
    "share_mining",
    "via",
    "embedded",
    "let",
    "$a",
    "(",
    ")",
    "env(\"A\")",
    "test",
    "given",
    "expect",
    "nothing",
    "pause",
    "set",
    "pipeline",
    "connection",
    "every",
    "at",
    "include",
    "/*",
    "*/",
    "//",
    "${",
    "\\",
    "\t",
    "č",
];

fn at<T>(node: T) -> Spanned<T> {
    Spanned::new(node, Span::default())
}

fn any_name() -> impl Strategy<Value = Name> {
    "[a-z][a-z0-9_]{0,6}_x".prop_map(at)
}

fn any_text() -> impl Strategy<Value = Spanned<String>> {
    any::<String>().prop_map(at)
}

fn slot<T: std::fmt::Debug + Clone>(given: impl Strategy<Value = T>) -> impl Strategy<Value = Slot<T>> {
    prop_oneof![9 => given.prop_map(Slot::Given), 1 => Just(Slot::Hole(at(())))]
}

fn any_table() -> impl Strategy<Value = Name> {
    prop_oneof!["[a-z0-9_*]{1,8}", "[ -~]{1,8}"].prop_map(at)
}

fn any_tables() -> impl Strategy<Value = TableRef> {
    (any_name(), prop::collection::vec(slot(any_table()), 1..4))
        .prop_map(|(connection, tables)| TableRef { connection, tables })
}

fn any_number() -> impl Strategy<Value = Number> {
    (any::<i32>(), prop::sample::select(&["", "ms", "s", "MiB", "%"][..]))
        .prop_map(|(digits, unit)| Number { digits: digits.to_string(), unit: unit.to_owned() })
}

fn any_duration() -> impl Strategy<Value = Spanned<Number>> {
    any::<u16>().prop_map(|count| at(Number { digits: count.to_string(), unit: "s".to_owned() }))
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any_number().prop_map(Value::Number),
        any::<String>().prop_map(Value::Text),
        "[a-z_]{1,8}".prop_map(Value::Word),
        "[a-z_]{1,8}".prop_map(Value::Variable),
        any_tables().prop_map(Value::Tables),
        Just(Value::Hole),
    ];
    leaf.prop_recursive(3, 20, 4, |inner| {
        let values = prop::collection::vec(inner.clone().prop_map(at), 0..4);
        let settings = prop::collection::vec((any_table(), inner), 0..4).prop_map(|pairs| {
            pairs.into_iter().map(|(key, value)| Setting { key, value: at(value) }).collect()
        });
        prop_oneof![
            values.clone().prop_map(Value::List),
            (any_name(), values).prop_map(|(function, arguments)| Value::Call(Call { function, arguments })),
            settings.prop_map(Value::Block),
        ]
    })
}

fn any_settings() -> impl Strategy<Value = Settings> {
    prop::option::of(any_block()).prop_map(Option::unwrap_or_default)
}

fn any_block() -> impl Strategy<Value = Settings> {
    prop::collection::vec((any_table(), any_value()), 0..4).prop_map(|pairs| {
        Settings(Some(at(pairs.into_iter().map(|(key, value)| Setting { key, value: at(value) }).collect())))
    })
}

fn any_code() -> impl Strategy<Value = Code> {
    let block = prop::sample::select(
        &["", " row.x > 0 ", "\n  let a = #{ b: '}' };\n", " `${ \"{\" } }` ", "/* } /* } */ */"][..],
    );
    prop_oneof![
        block.prop_map(|text| Code::Block(at(text.to_owned()))),
        (any_name(), any_name()).prop_map(|(module, function)| Code::Hook(HookPath { module, function })),
    ]
}

fn any_via() -> impl Strategy<Value = Option<Slot<Via>>> {
    prop::option::of(slot(
        (any_name(), prop::option::of(any_name())).prop_map(|(store, log)| Via { store, log }),
    ))
}

fn any_source() -> impl Strategy<Value = Spanned<Source>> {
    (any_name(), slot(any_tables().prop_map(at)), prop::option::of(any_via()), any_settings()).prop_map(
        |(kind, tables, mining, settings)| {
            at(Source {
                kind: Slot::Given(kind),
                tables,
                mining: mining.map(|via| at(Mining { via })),
                settings,
            })
        },
    )
}

fn any_flow() -> impl Strategy<Value = Spanned<Flow>> {
    let stage = || {
        prop::collection::vec(
            prop_oneof![
                slot(any_code()).prop_map(Stage::Filter),
                slot(any_code()).prop_map(Stage::Map),
                prop::collection::vec(slot(any_name()), 1..4).prop_map(Stage::Keep),
                prop::collection::vec(slot(any_name()), 1..4).prop_map(Stage::Drop),
            ]
            .prop_map(at),
            0..3,
        )
    };
    let target = prop_oneof![
        any_tables().prop_map(|tables| Target::Table(at(tables))),
        any_text().prop_map(Target::Path),
    ];
    let sink = (slot(any_name()), prop::option::of(slot(target)), any_settings())
        .prop_map(|(kind, target, settings)| FlowEnd::Sink(at(Sink { kind, target, settings })));
    let flow = (stage(), sink).prop_map(|(stages, end)| at(Flow { stages, end }));
    flow.prop_recursive(2, 8, 3, move |inner| {
        (stage(), prop::collection::vec(inner, 1..4))
            .prop_map(|(stages, branches)| at(Flow { stages, end: FlowEnd::Branches(branches) }))
    })
}

fn any_command(verbs: &'static [Verb]) -> impl Strategy<Value = Command> {
    // Looking at changes is for people, and stands in no script.
    let verbs: Vec<Verb> = verbs.iter().copied().filter(|verb| *verb != Verb::Peek).collect();
    let argument = prop_oneof![
        any_name().prop_map(|name| Argument::Word(name.node)),
        any_tables().prop_map(Argument::Tables),
        any::<String>().prop_map(Argument::Text),
        any_number().prop_map(Argument::Number),
        any_name().prop_map(|function| Argument::Call(Call { function, arguments: Vec::new() })),
        Just(Argument::Hole),
    ];
    (prop::sample::select(verbs), prop::collection::vec(argument.prop_map(at), 0..3), any_settings())
        .prop_map(|(verb, arguments, settings)| Command { verb: at(verb), arguments, settings })
}

fn any_action() -> impl Strategy<Value = Slot<Action>> {
    slot(prop_oneof![
        any_code().prop_map(Action::Code),
        any_command(Verb::ALL).prop_map(|command| Action::Command(at(command))),
    ])
}

fn any_fact() -> impl Strategy<Value = Fact> {
    let op =
        prop::sample::select(&["insert", "update", "delete", "upsert"][..]).prop_map(|op| at(op.to_owned()));
    let value = prop_oneof![any_number().prop_map(Value::Number), any::<String>().prop_map(Value::Text)];
    let target = slot(prop_oneof![
        any_tables().prop_map(|tables| Target::Table(at(tables))),
        any_text().prop_map(Target::Path)
    ]);
    let subject = prop_oneof![
        any_name().prop_map(Subject::Name),
        any_tables().prop_map(|tables| Subject::Tables(at(tables))),
    ];
    let hold = prop::option::of(any_duration());
    prop_oneof![
        (op, target, any::<bool>(), any_block()).prop_map(|(op, target, only, row)| Fact::Change {
            op,
            target,
            only,
            row
        }),
        (any_name(), prop::option::of(value.prop_map(at)), hold, prop::option::of(slot(subject)))
            .prop_map(|(metric, value, hold, of)| Fact::Metric { metric, value, hold, of }),
        (any_name(), any_name(), any_settings()).prop_map(|(module, function, facts)| {
            Fact::Hook { path: HookPath { module, function }, facts }
        }),
        (any_name(), any_block()).prop_map(|(name, parts)| Fact::Effect { name, parts }),
        any_command(Verb::ALL).prop_map(|command| Fact::Command(at(command))),
        any::<bool>().prop_map(|more| Fact::Nothing { more }),
    ]
}

fn any_statement() -> impl Strategy<Value = Statement> {
    let sources = || prop::collection::vec(any_source(), 1..3);
    let limit = (prop::sample::select(&Comparison::ALL[..]), any_number()).prop_map(|(comparison, value)| {
        Limit { comparison: at(comparison), value: at(Value::Number(value)) }
    });
    let subject = prop_oneof![
        any_name().prop_map(Subject::Name),
        any_tables().prop_map(|tables| Subject::Tables(at(tables))),
    ];
    let when = prop_oneof![slot(any_duration()).prop_map(When::Every), slot(any_text()).prop_map(When::At)];
    let step = (any::<bool>(), any_fact())
        .prop_map(|(given, fact)| at(if given { Step::Given(fact) } else { Step::Expect(fact) }));
    prop_oneof![
        (any_text(), any_settings())
            .prop_map(|(path, settings)| Statement::Include(Include { path, settings })),
        (any_name(), any_value()).prop_map(|(name, value)| Statement::Let(Let { name, value: at(value) })),
        (any_name(), slot(any_name()), prop::option::of(slot(any_text())), any_settings()).prop_map(
            |(name, kind, endpoint, settings)| {
                Statement::Connection(Connection { name, kind, endpoint, settings })
            }
        ),
        (slot(any_name()), any_via(), any_settings()).prop_map(|(connection, via, settings)| {
            Statement::ShareMining(ShareMining { connection, via, settings })
        }),
        (any_name(), any_settings(), sources(), any_flow()).prop_map(|(name, settings, sources, flow)| {
            Statement::Pipeline(Pipeline { name: Some(name), settings, sources, flow })
        }),
        (sources(), any_flow()).prop_map(|(sources, flow)| {
            Statement::Pipeline(Pipeline { name: None, settings: Settings::default(), sources, flow })
        }),
        (
            slot(any_name()),
            prop::option::of(limit),
            prop::option::of(any_duration()),
            prop::option::of(slot(subject)),
            any_settings(),
            any_action()
        )
            .prop_map(|(metric, limit, hold, of, settings, action)| {
                Statement::Alert(Alert { metric, limit, hold, of, settings, action })
            }),
        (when, any_action()).prop_map(|(when, action)| Statement::Schedule(Schedule { when, action })),
        (any_text(), slot(any_name()), prop::collection::vec(step, 0..4))
            .prop_map(|(name, of, steps)| Statement::Test(Test { name, of, steps })),
        any_command(Verb::RESERVED).prop_map(Statement::Command),
    ]
}

fn any_script() -> impl Strategy<Value = Script> {
    prop::collection::vec(any_statement().prop_map(at), 0..5)
        .prop_map(|statements| Script { statements, trivia: Trivia::default() })
}
