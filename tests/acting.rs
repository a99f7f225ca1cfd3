//! Hooks that act: what they see, what they may ask for, and that none of them does more than that.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lode::error::{Error, Kind, Result};
use lode::hook::act::{ActFacts, ActingHook, CALLS_MAX, Host, Occasion};
use lode::hook::{HookError, HookKind, compile};
use lode::model::hook::{Grant, Hook, HookCode, HookModule};
use lode::model::message::{Mail, Webhook};
use serde_json::{Value, json};

/// Writes down what it is asked for.
#[derive(Default)]
struct Recorder(Mutex<Vec<String>>);

impl Recorder {
    fn add(&self, what: String) -> Result<()> {
        self.0.lock().unwrap().push(what);
        Ok(())
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Host for Recorder {
    fn notify(&self, text: &str) -> Result<()> {
        self.add(format!("notify {text}"))
    }

    fn log(&self, text: &str) {
        let _ = self.add(format!("log {text}"));
    }

    fn mail(&self, connection: &str, mail: &Mail) -> Result<()> {
        self.add(format!("mail by {connection} to {:?}: {} / {}", mail.to, mail.subject, mail.text))
    }

    fn webhook(&self, call: &Webhook) -> Result<()> {
        self.add(format!("webhook {} {} {}", call.url, call.body, json!(call.options)))
    }

    fn stats(&self, name: &str) -> Result<Value> {
        match name {
            "sales" => Ok(json!({ "rps": 12.5, "lag_ms": 40 })),
            "broken" => panic!("the host is broken"),
            _ => Err(Error::new(Kind::Refused, format!("there is no pipeline and no mine {name}"))),
        }
    }

    fn command(&self, line: &str) -> Result<String> {
        self.add(line.to_owned()).map(|()| "done".to_owned())
    }
}

fn module(name: &str, text: &str, allow: Option<Vec<Grant>>) -> HookModule {
    HookModule {
        name: name.into(),
        path: PathBuf::from(format!("hooks/{name}.rhai")),
        text: text.into(),
        allow,
    }
}

fn hook(code: HookCode, modules: Vec<HookModule>) -> Hook {
    Hook { code, file: "case.lode".into(), line: 3, column: 9, modules: Arc::new(modules) }
}

fn call(function: &str, text: &str, allow: Option<Vec<Grant>>) -> Hook {
    let code = HookCode::Call { module: "alerts".into(), function: function.into() };
    hook(code, vec![module("alerts", text, allow)])
}

fn block(text: &str) -> Hook {
    hook(HookCode::Block(text.into()), Vec::new())
}

fn facts() -> ActFacts {
    let facts = json!({
        "name": "lag of sales", "metric": "lag", "value": 45_000, "threshold": 30_000, "pipeline": "sales",
        "since": "2026-01-31T08:00:00Z", "message": "sales lags 45s behind", "resolved": false,
    });
    facts.as_object().cloned().expect("an object")
}

fn run(hook: &Hook) -> std::result::Result<Vec<String>, HookError> {
    let recorder = Arc::new(Recorder::default());
    let host: Arc<dyn Host> = Arc::clone(&recorder) as _;
    ActingHook::compile(hook, Occasion::Alert, &["oncall".to_owned()])?.run(&facts(), &host)?;
    Ok(recorder.asked())
}

fn failure(hook: &Hook) -> HookError {
    match run(hook) {
        Ok(asked) => panic!("it should fail, and asked for {asked:?}"),
        Err(error) => error,
    }
}

#[test]
fn a_block_sees_the_facts_as_variables_and_may_do_everything() {
    let asked = run(&block(
        r#" log(`${pipeline}: ${message}`);
            notify("since " + since);
            if value > threshold && table == () && !resolved { mail(oncall, ["a@b.c", "d@e.f"], alert.name, message); }
            webhook("https://pager.example.test/hook", #{ summary: message, n: 1 }, #{ key: "k" });
            log("rows " + stats("sales").rps); "#,
    ));
    assert_eq!(
        asked.unwrap(),
        [
            "log sales: sales lags 45s behind",
            "notify since 2026-01-31T08:00:00Z",
            r#"mail by oncall to ["a@b.c", "d@e.f"]: lag of sales / sales lags 45s behind"#,
            r#"webhook https://pager.example.test/hook {"n":1,"summary":"sales lags 45s behind"} {"key":"k"}"#,
            "log rows 12.5",
        ]
    );
}

#[test]
fn a_function_gets_them_as_a_map_and_knows_the_connections() {
    let text =
        r#"fn page(alert) { mail(oncall, "dba@example.test", `lode: ${alert.name}`, alert.message); }"#;
    let asked = run(&call("page", text, None)).unwrap();
    assert_eq!(
        asked,
        [r#"mail by oncall to ["dba@example.test"]: lode: lag of sales / sales lags 45s behind"#]
    );
    let error = failure(&call("page", "fn page() { }", None));
    assert!(error.to_string().contains("takes 0 arguments, not 1"), "{error}");
}

#[test]
fn control_verbs_become_commands() {
    let asked = run(&block(
        r#" pause("shop.big_table"); resume(["orders", "shop.{a, b}"]); stop("audit/{table}.jsonl"); restart("dw.orders");
            start("sales"); skip("sales"); set("shop", "retention", "5d"); set("shop", "threads", 4);
            rewind("sales", "earliest"); rewind("sales", "2026-01-31T08:00:00Z"); apply(); apply("other.lode");
            mute("lag of sales"); mute("lag", "1h"); unmute("lag"); ack("lag"); "#,
    ));
    let expected = [
        "pause shop.big_table",
        "resume orders shop.{a, b}",
        "stop \"audit/{table}.jsonl\"",
        "restart dw.orders",
        "start sales",
        "skip sales",
        "set shop.retention = 5d",
        "set shop.threads = 4",
        "rewind sales to earliest",
        "rewind sales to \"2026-01-31T08:00:00Z\"",
        "apply",
        "apply \"other.lode\"",
        "mute \"lag of sales\"",
        "mute \"lag\" for 1h",
        "unmute \"lag\"",
        "ack \"lag\"",
    ];
    assert_eq!(asked.unwrap(), expected);
    for smuggled in [
        "pause(\"a\\nstop b\")",
        "pause(\"\")",
        "set(\"shop\", \"a = 1, b\", \"2\")",
        "mute(\"a\", \"1h b\")",
    ] {
        failure(&block(smuggled));
    }
}

#[test]
fn what_a_file_is_not_granted_is_found_before_it_runs_and_when_its_name_is_computed() {
    let text = r#"
fn page(alert) { webhook("https://x.test", #{}); }
fn stop_it(alert) { pause("sales"); }"#;
    let granted = |allow: Vec<Grant>, function: &str| run(&call(function, text, Some(allow)));
    assert_eq!(granted(vec![Grant::Webhook, Grant::Control], "page").unwrap().len(), 1);
    let error = granted(vec![Grant::Webhook], "page").unwrap_err();
    assert_eq!(
        error.to_string(),
        "hooks/alerts.rhai:3:21: `pause` is not allowed to this file: it lacks `control`"
    );
    assert_eq!(
        error.advice.as_deref(),
        Some("grant it where the file is included: allow = [webhook, control]")
    );
    let computed = r#"fn page(alert) { call(Fn("pau" + "se"), "sales"); }"#;
    assert_eq!(run(&call("page", computed, Some(vec![Grant::Control]))).unwrap(), ["pause sales"]);
    let error = failure(&call("page", computed, Some(vec![])));
    assert!(error.message.contains("is not allowed to this file"), "{error}");
    let told = r#"fn page(alert) { notify(alert.message); log("x"); }"#;
    assert_eq!(run(&call("page", told, Some(vec![]))).unwrap().len(), 2);
}

#[test]
fn an_error_of_the_host_has_its_place_and_can_be_caught() {
    let error = failure(&block("let a = 1;\n  stats(\"nothing\");"));
    assert_eq!(error.to_string(), "case.lode:4:3: there is no pipeline and no mine nothing");
    let caught = run(&block(r#" try { stats("nothing"); } catch (e) { log("it is not there"); } "#)).unwrap();
    assert_eq!(caught, ["log it is not there"]);
    let error = failure(&block("misspelt"));
    assert!(error.message.contains("there is no variable `misspelt`"), "{error}");
}

#[test]
fn hooks_that_loop_allocate_recurse_sleep_and_panic_are_contained() {
    let contained = |text: &str| {
        let began = Instant::now();
        let error = failure(&block(text));
        assert!(began.elapsed() < Duration::from_secs(60), "{text}: {:?}", began.elapsed());
        error.message
    };
    let looped = contained("loop { }");
    assert!(looped.contains("operations in one run") || looped.contains("computed longer than"), "{looped}");
    assert!(contained("let a = []; loop { a.push(1); }").contains("a value grew over a limit"));
    assert!(contained("let a = \"x\"; loop { a += a; }").contains("a value grew over a limit"));
    assert!(contained("fn deep(n) { deep(n + 1) } deep(0);").contains("call each other more than"));
    assert!(contained("sleep(1);").contains("`sleep` is not available"));
    assert!(contained("call(Fn(\"sl\" + \"eep\"), 1);").contains("`sleep` is not available"));
    assert!(contained("stats(\"broken\");").contains("the host is broken"));
    assert!(contained("loop { log(\"x\"); }").contains(&format!("more than {CALLS_MAX} times")));
}

#[test]
fn filters_and_maps_cannot_act() {
    let of = |code: HookCode, text: &str, kind| {
        compile(&hook(code, vec![module("m", text, None)]), kind)
            .map(|_| ())
            .map_err(|error| error.to_string())
    };
    let text = "fn act(row) { tell(row); row }\nfn tell(x) { notify(\"x\"); }\nfn pure(row) { row }";
    let function = |name: &str| HookCode::Call { module: "m".into(), function: name.into() };
    let error = of(function("act"), text, HookKind::Map).unwrap_err();
    assert_eq!(error, "hooks/m.rhai:2:14: `notify` is for hooks that act, and not for filters and maps");
    of(function("pure"), text, HookKind::Map).unwrap();
    let error = of(HookCode::Block("mail(1, 2, 3, 4)".into()), text, HookKind::Filter).unwrap_err();
    assert!(error.starts_with("case.lode:3:9: `mail` is for hooks that act"), "{error}");
    of(HookCode::Block("log(2.0) > 0.1 && row.id > 1".into()), text, HookKind::Filter).unwrap();
    of(HookCode::Block("skip()".into()), text, HookKind::Map).unwrap();
}
