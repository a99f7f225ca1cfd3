//! When alerts fire, and who is told: simulated minutes against the core that runs in the engine, too.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;

use lode::check::{Input, SecretsPolicy, System, check};
use lode::engine::kinds::builtin;
use lode::plan::build::build;
use lode::run::alert::{Because, Fact, Kept, Observation, Seen, Told, Watch, Whom, rules};
use proptest::prelude::*;

const HEAD: &str = r#"
connection shop = mysql "mysql://repl@127.0.0.1:3306/shop"
"#;

/// A watch over what a script says.
fn watch(script: &str) -> Watch {
    let mut input = Input::new("/").text("case", format!("{HEAD}{script}"));
    input.secrets = SecretsPolicy::Optional;
    let checked = check(&input, &builtin(), &System);
    let model = checked.into_model().expect("the script of the case is right");
    let mut watch = Watch::default();
    watch.set_rules(rules(&build(&model)));
    watch
}

/// `90s`, `5m`, `2h` in milliseconds.
fn ms(text: &str) -> i64 {
    let (number, unit) = text.split_at(text.find(|c: char| c.is_alphabetic()).expect("a unit"));
    let unit = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        other => panic!("no unit: {other}"),
    };
    number.parse::<i64>().expect("a number") * unit
}

/// `pipeline sales lag=45s error="away"`: the subject with its figures.
fn seen(text: &str) -> Seen {
    let mut words = text.split_whitespace();
    let (kind, name) = (words.next().expect("a kind"), words.next().expect("a name"));
    let mut seen = Seen::of(match (kind, name.split_once('.')) {
        ("pipeline", _) => Whom::Pipeline(name.into()),
        ("mine", _) => Whom::Mine(name.into()),
        ("table", Some((mine, table))) => Whom::Table { mine: mine.into(), table: table.into() },
        other => panic!("no such subject: {other:?}"),
    });
    for (key, value) in words.filter_map(|word| word.split_once('=')) {
        let time = || ms(value) as u64;
        let fact = || match value {
            "no" => Fact::No,
            why => Fact::Yes(why.replace('_', " ")),
        };
        match key {
            "lag" => seen.lag_ms = Some(time()),
            "rps" => seen.rows_per_s = value.parse().ok(),
            "retries" => seen.retries = value.parse().ok(),
            "rows" => seen.transaction_rows = value.parse().ok(),
            "table" => seen.transaction_table = Some(value.into()),
            "store" => seen.store_bytes = value.parse().ok(),
            "horizon" => seen.horizon_ms = Some(if value == "never" { u64::MAX } else { time() }),
            "silent" => seen.silent_ms = Some(time()),
            "skew" => seen.clock_skew_ms = Some(time()),
            "sink" => seen.sink_ms = Some(time()),
            "error" => seen.error = fact(),
            "waiting" => seen.waiting = fact(),
            "gap" => seen.gap = fact(),
            "stopped" => seen.stopped = fact(),
            "full" => seen.store_full = fact(),
            other => panic!("no such figure: {other}"),
        }
    }
    seen
}

fn clock(at_ms: i64) -> String {
    format!("{:02}:{:02}:{:02}", at_ms / 3_600_000, at_ms / 60_000 % 60, at_ms / 1_000 % 60)
}

fn shown(told: &Told) -> String {
    let because = match told.because {
        Because::Fires => "fires",
        Because::Repeats => "still fires",
        Because::Resolved => "resolved",
    };
    let facts = told.facts();
    let facts: Vec<_> = ["value", "threshold", "table"]
        .iter()
        .filter(|name| !facts[**name].is_null())
        .map(|name| format!("{name} {}", facts[*name]))
        .collect();
    format!(
        "{} {because}: {}\n         {} ({})\n",
        clock(told.at_ms),
        told.name,
        told.message,
        facts.join(", ")
    )
}

/// A script, `---`, and lines such as `0s-10m/30s pipeline sales lag=45s; mine shop rps=3`, `2m mute lag for 1h`,
/// `3m restart`. From one line to the next, what was seen last is seen again every second.
#[test]
fn tables_of_times_and_values() {
    insta::glob!("golden/alerts/*.txt", |path| {
        let text = fs::read_to_string(path).unwrap();
        let (script, lines) = text.split_once("\n---\n").expect("a script and what happens");
        let mut watch = watch(&script.replace("\n#", "\n# "));
        let mut out: String =
            watch.rules().iter().map(|rule| format!("watches {}\n", rule.id)).collect::<String>() + "\n";
        let (mut now_ms, mut known) = (0, Vec::new());
        for line in lines.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (time, what) = line.split_once(' ').expect("a time");
            let until_ms = ms(time);
            while now_ms < until_ms {
                let observation = Observation { at_ms: now_ms, seen: known.clone() };
                watch.look(&observation).iter().for_each(|told| out += &shown(told));
                now_ms += 1_000;
            }
            let _ = writeln!(out, "{} > {what}", clock(now_ms));
            match what.split_once(' ').unwrap_or((what, "")) {
                ("mute", name) => match name.split_once(" for ") {
                    Some((name, time)) => watch.mute(name, Some(now_ms + ms(time))),
                    None => watch.mute(name, None),
                },
                ("unmute", name) => assert!(watch.unmute(name), "{line}"),
                ("ack", name) => assert!(!watch.ack(name).is_empty(), "{line}"),
                ("restart", _) => {
                    let kept = serde_json::to_string(watch.kept()).unwrap();
                    let rules = watch.rules().to_vec();
                    watch = Watch::new(serde_json::from_str(&kept).unwrap());
                    watch.set_rules(rules);
                }
                ("nothing", _) => known = Vec::new(),
                _ => known = what.split(';').map(seen).collect(),
            }
        }
        insta::assert_snapshot!(out);
    });
}

proptest! {
    /// However a figure jumps: what is told alternates, nothing is told twice within `repeat`, and a restart at any moment
    /// changes none of it.
    #[test]
    fn nobody_is_told_twice_within_repeat(
        values in prop::collection::vec((1i64..90, prop::option::of(0u64..60)), 1..200),
        restart_at in 0usize..200,
        acked_at in 0usize..200,
    ) {
        let mut watch = watch("pipeline sales = source mysql shop.orders share_mining -> sink null\non lag > 30s for 20s of sales { repeat = 2m } do { log(message) }");
        let rules = watch.rules().to_vec();
        let (mut at_ms, mut last_ms, mut fires) = (0, None::<i64>, false);
        for (index, (seconds, lag)) in values.into_iter().enumerate() {
            at_ms += seconds * 1_000;
            let mut seen = Seen::of(Whom::Pipeline("sales".into()));
            seen.lag_ms = lag.map(|lag| lag * 1_000);
            if index == restart_at {
                let kept: Kept = serde_json::from_str(&serde_json::to_string(watch.kept()).unwrap()).unwrap();
                prop_assert_eq!(&kept, watch.kept());
                watch = Watch::new(kept);
                watch.set_rules(rules.clone());
            }
            if index == acked_at {
                watch.ack("lag");
            }
            let told = watch.look(&Observation { at_ms, seen: vec![seen] });
            prop_assert!(told.len() <= 1);
            for told in told {
                match told.because {
                    Because::Resolved => prop_assert!(fires),
                    Because::Fires => prop_assert!(!fires),
                    Because::Repeats => prop_assert!(fires),
                }
                fires = told.because != Because::Resolved;
                if fires {
                    prop_assert!(lag > Some(30));
                    prop_assert!(last_ms.is_none_or(|last_ms| at_ms - last_ms >= 120_000));
                    last_ms = Some(at_ms);
                }
                prop_assert_eq!(told.facts()["resolved"].clone(), serde_json::json!(!fires));
            }
        }
    }
}

#[test]
fn every_ready_alert_is_watched_where_it_is_asked_for() {
    let script = "share_mining shop { alerts = standard }
        pipeline a { alerts = standard } = source mysql shop.orders share_mining -> sink null
        pipeline b = source mysql shop.orders share_mining -> sink null";
    let mut by_subject: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for rule in watch(script).rules() {
        let (_, of) = rule.id.split_once(" of ").expect("a ready alert has a subject");
        by_subject.entry(of.to_owned()).or_default().push(rule.metric.as_str().to_owned());
    }
    let mine = ["error", "lag", "retries", "silent", "stopped", "store_full", "gap", "clock_skew"];
    let pipeline = ["error", "lag", "retries", "sink_latency", "waiting", "horizon", "gap"];
    assert_eq!(by_subject["shop"], mine);
    assert_eq!(by_subject["a"], pipeline);
    assert_eq!(by_subject.len(), 2);
}
