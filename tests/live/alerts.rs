//! Alerts on live servers: each ready one provoked for real, hooks that misbehave, schedules, and a huge transaction
//! that a hook sets aside. The time of day is the test's, so that no minute is slept through.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use lode::engine::Engine;
use lode::engine::door::Door;
use lode::engine::reply::Reply;
use lode::model::clock::Clock;
use lode::run::alert::{Because, Told};
use lode::run::event::Event;
use lode::run::mine::MineState;
use lode::run::retention::{Policy, Unread};
use lode::run::route::RouteState;
use lode::store::Retention;
use tokio::sync::broadcast::Receiver;

use crate::support::servers::{MariaDb, Server};
use crate::world::{World, eventually, route, settled};
use crate::{parity, servers};
use mysql_async::prelude::Queryable;

/// How long an alert may take to be told once its time has come.
const TOLD_WITHIN: Duration = Duration::from_secs(90);

/// An engine whose clock the test moves, and what it has told.
struct Scene {
    world: World,
    engine: Arc<Engine>,
    ahead_ms: Arc<AtomicI64>,
    events: Receiver<Event>,
    told: Vec<Told>,
    notices: Vec<String>,
    failures: Vec<String>,
}

impl Scene {
    async fn on(server: &Server, ahead_s: i64) -> Scene {
        let world = World::on(server).await;
        let ahead_ms = Arc::new(AtomicI64::new(ahead_s * 1000));
        let ahead = Arc::clone(&ahead_ms);
        let now_ms = move || jiff::Timestamp::now().as_millisecond() + ahead.load(Ordering::Relaxed);
        let engine = Arc::new(world.engine().with_clock(Clock::new(now_ms)));
        let events = engine.events();
        let (told, notices, failures) = Default::default();
        Scene { world, engine, ahead_ms, events, told, notices, failures }
    }

    /// Lets time pass, with a look before and one behind.
    async fn pass(&mut self, seconds: i64) {
        self.look().await;
        self.ahead_ms.fetch_add(seconds * 1000, Ordering::Relaxed);
        self.look().await;
    }

    async fn look(&mut self) {
        self.engine.look().await;
        self.hear();
    }

    fn hear(&mut self) {
        while let Ok(event) = self.events.try_recv() {
            match event {
                Event::Alert(told) => self.told.push(told),
                Event::Notice { text } => self.notices.push(text),
                Event::Hook { name, error } => self.failures.push(format!("{name}: {error}")),
                _ => {}
            }
        }
    }

    fn was_told(&self, name: &str, because: Because) -> Option<&Told> {
        self.told.iter().find(|told| told.name == name && told.because == because)
    }

    /// Looks until an alert was told.
    async fn fires(&mut self, name: &str) -> Told {
        self.is_told(name, Because::Fires).await
    }

    async fn is_told(&mut self, name: &str, because: Because) -> Told {
        let began = Instant::now();
        loop {
            self.look().await;
            if let Some(told) = self.was_told(name, because) {
                return told.clone();
            }
            assert!(
                began.elapsed() < TOLD_WITHIN,
                "{name} was not told ({because:?}): {:#?}\n{:#?}",
                self.told,
                self.engine.alerts()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Looks until it is told that an alert is over; time passes meanwhile.
    async fn is_over(&mut self, name: &str) -> Told {
        let began = Instant::now();
        while self.was_told(name, Because::Resolved).is_none() {
            assert!(began.elapsed() < TOLD_WITHIN, "{name} is not over: {:#?}", self.engine.alerts());
            self.pass(6).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.is_told(name, Because::Resolved).await
    }

    async fn command(&self, line: &str) -> String {
        match self.engine.line(line, self.world.dir.path(), &Door::Program, true).await {
            Reply::Done { done } => done.join("; "),
            other => panic!("{line}: {other:?}"),
        }
    }

    async fn refused(&self, line: &str) -> String {
        match self.engine.line(line, self.world.dir.path(), &Door::Program, true).await {
            Reply::Failed { error, .. } => error,
            other => panic!("{line}: {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_ready_alert_is_told_and_is_over_again() {
    // Its binlogs are purged, and it is frozen.
    let server = MariaDb::start(&[]).await;
    let closed =
        std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port");
    // Its clock begins half an hour late.
    let mut scene = Scene::on(&server, -1800).await;
    let (user, database) = (scene.world.user.clone(), scene.world.database.clone());
    scene
        .world
        .sql("CREATE TABLE orders (id INT PRIMARY KEY);\nCREATE TABLE items (id INT PRIMARY KEY, pad VARBINARY(3000))")
        .await;
    let mut lock = scene.world.target().await;
    lock.query_drop("CREATE TABLE items (id INT PRIMARY KEY, pad VARBINARY(3000))").await.unwrap();
    let port = closed.port();
    let script = format!(
        "connection away = mysql \"mysql://{user}@127.0.0.1:{port}/{database}_copy\" {{ password = file(\"password\") }}
        share_mining shop {{ alerts = standard, retention = 5h, unread = drop }}
        pipeline bad  {{ alerts = standard }} = source mysql shop.orders share_mining
            -> filter {{ row.nothing > 1 }} -> sink null
        pipeline slow {{ alerts = standard }} = source mysql shop.items share_mining -> sink mysql copy.*
        pipeline away {{ alerts = standard }} = source mysql shop.items share_mining -> sink mysql away.*
        pipeline late {{ alerts = standard }} = source mysql shop.items share_mining -> sink null
        pipeline calm {{ alerts = standard }} = source mysql shop.items share_mining -> sink null
        on alert do {{ notify(`heard ${{name}} ${{resolved}}`) }}"
    );
    scene.world.apply_only(&scene.engine, &script).await.unwrap();
    settled(&scene.engine, "all but one run", |status| {
        status.mines.iter().all(|mine| mine.state == MineState::Running)
            && ["bad", "slow", "late", "calm"]
                .iter()
                .all(|name| route(status, name).state == RouteState::Running)
    })
    .await;

    let told = scene.fires("clock_skew of shop").await;
    assert!(told.message.contains("away from this machine's"), "{}", told.message);
    assert_eq!(told.facts()["mine"], "shop");

    scene.world.sql("INSERT INTO orders VALUES (1)").await;
    let told = scene.fires("error of bad").await;
    assert!(
        told.message.contains("pipeline bad failed: ") && told.message.contains("nothing"),
        "{}",
        told.message
    );

    // A sink that takes its time, for a change of an hour ago.
    lock.query_drop("LOCK TABLES items WRITE").await.unwrap();
    scene.world.sql("SET TIMESTAMP = UNIX_TIMESTAMP() - 3600;\nINSERT INTO items VALUES (1, 'old')").await;
    scene.world.sql("INSERT INTO items VALUES (2, 'new')").await;
    tokio::time::sleep(Duration::from_millis(5_500)).await;
    scene.pass(61).await;
    let told = scene.fires("sink_latency of slow").await;
    assert!(told.value.as_ref().and_then(|ms| ms.as_u64()) >= Some(5_000), "{told:?}");
    scene.pass(301).await;
    let told = scene.fires("lag of slow").await;
    assert!(told.message.contains("1h") || told.message.contains("59m"), "{}", told.message);

    scene.engine.pause("late").await.unwrap();
    scene.pass(61).await;
    scene.fires("horizon of late").await;

    scene.command("stop shop").await;
    let told = scene.fires("stopped of shop").await;
    assert!(
        ["bad", "slow", "late", "calm"].iter().all(|name| told.message.contains(name)),
        "{}",
        told.message
    );
    scene.pass(61).await;
    let told = scene.fires("waiting of calm").await;
    assert!(told.message.contains("mine shop stopped"), "{}", told.message);
    // The clocks agree from now on.
    scene.ahead_ms.store(0, Ordering::Relaxed);
    scene.command("start shop").await;
    for name in ["stopped of shop", "clock_skew of shop", "waiting of calm"] {
        scene.is_over(name).await;
    }
    scene.ahead_ms.store(0, Ordering::Relaxed);

    let before = scene.engine.status().await.mines[0].stored_bytes.max(1);
    let held = |most| Policy {
        keep: Retention { age: Some(Duration::from_secs(5 * 3600)), size: None },
        unread: Unread::Stop,
        hold_bytes_max: most,
    };
    scene.engine.set_retention("shop", held(Some(before))).await.unwrap();
    scene.world.sql("INSERT INTO items VALUES (3, RANDOM_BYTES(3000))").await;
    let told = scene.fires("store_full of shop").await;
    assert!(told.message.contains("hold_size"), "{}", told.message);
    scene.engine.set_retention("shop", held(None)).await.unwrap();
    scene.is_over("store_full of shop").await;

    server.freeze();
    eventually("the mine notices", async || scene.engine.status().await.mines[0].state != MineState::Running)
        .await;
    scene.pass(61).await;
    scene.fires("silent of shop").await;
    scene.pass(301).await;
    scene.fires("lag of shop").await;
    server.thaw();
    lock.query_drop("UNLOCK TABLES").await.unwrap();
    for name in ["silent of shop", "lag of shop", "sink_latency of slow", "lag of slow"] {
        scene.is_over(name).await;
    }

    // By now the pipeline whose target is away was tried ten times.
    let told = scene.fires("retries of away").await;
    assert!(told.message.contains("times since it last succeeded: "), "{}", told.message);

    scene.command("skip bad").await;
    scene.is_over("error of bad").await;
    scene.engine.resume("late").await.unwrap();
    scene.is_over("horizon of late").await;

    // The place that the mine needs next is gone.
    scene.command("stop shop").await;
    scene.world.sql("INSERT INTO items VALUES (4, 'gone');\nFLUSH BINARY LOGS").await;
    let newest: Vec<_> =
        server.query("SHOW BINARY LOGS").await.iter().filter_map(|row| row[0].clone()).collect();
    let newest = newest.last().expect("a file").clone();
    scene.world.sql(&format!("PURGE BINARY LOGS TO '{newest}'")).await;
    scene.command("start shop").await;
    scene.fires("error of shop").await;
    let told = scene.fires("gap of shop").await;
    assert!(told.message.contains("history of mine shop is missing"), "{}", told.message);

    // Each was told to the hook of `on alert`, too, and the first thing that a hook did was not its last.
    scene.engine.finish_hooks(Duration::from_secs(30)).await;
    scene.hear();
    let ready: BTreeSet<String> = scene.told.iter().map(|told| told.metric.clone()).collect();
    let all = lode::run::alert::READY.iter().map(|ready| ready.metric.as_str().to_owned()).collect();
    assert_eq!(ready, all);
    for told in &scene.told {
        let heard = format!("heard {} {}", told.name, told.because == Because::Resolved);
        assert!(scene.notices.contains(&heard), "{heard} is not among {:?}", scene.notices);
    }
    assert!(scene.failures.is_empty(), "{:?}", scene.failures);
    scene.engine.shutdown(Duration::from_secs(10)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hooks_that_misbehave_are_reported_and_harm_nobody() {
    let mut scene = Scene::on(servers::mariadb().await, 0).await;
    scene.world.sql("CREATE TABLE t (id INT PRIMARY KEY)").await;
    let script = "
        pipeline copy = source mysql shop.t share_mining -> sink sqlite lite.*
        on rps >= 0 of copy { repeat = 0s } do { loop { } }
        on lag < 1000h of copy { repeat = 0s } do { let a = []; loop { a.push(1); } }
        on retries >= 0 of copy { repeat = 0s } do { fn deep(n) { deep(n + 1) } deep(0); }
        on sink_latency < 1h of copy { repeat = 0s } do { call(Fn(\"sl\" + \"eep\"), 1000000); }
        on store_size >= 0B of shop { repeat = 0s } do { throw \"by purpose\" }
        on clock_skew < 1h of shop { repeat = 0s } do { stats(\"nobody\") }
        on silent < 1h of shop { repeat = 0s } do { pause(\"nobody\") }
        on big_transaction < 1 of shop { repeat = 0s } do pause copy";
    scene.world.apply(&scene.engine, script).await.unwrap();
    scene.world.sql("INSERT INTO t VALUES (1)").await;
    settled(&scene.engine, "it is delivered", |status| {
        route(status, "copy").figures.changes_delivered == 1 && route(status, "copy").lag_ms == Some(0)
    })
    .await;
    scene.look().await;
    // Rows go on while the hooks run.
    scene.world.sql("INSERT INTO t VALUES (2)").await;
    scene.engine.finish_hooks(Duration::from_secs(60)).await;
    scene.hear();
    scene.failures.sort();
    let expected = [
        ("clock_skew of shop", "there is no pipeline and no mine nobody"),
        // It runs into the limit of its size, or on a busy machine into that of its time.
        ("lag of copy", "hook"),
        ("retries of copy", "call each other more than"),
        ("rps of copy", "in one run"),
        ("silent of shop", "there is no pipeline and no mine named `nobody`"),
        ("sink_latency of copy", "`sleep` is not available"),
        ("store_size of shop", "by purpose"),
    ];
    assert_eq!(scene.failures.len(), expected.len(), "{:#?}", scene.failures);
    for (failure, (name, why)) in scene.failures.iter().zip(expected) {
        assert!(failure.starts_with(name) && failure.contains(why), "{failure} is not {name}: {why}");
    }
    let shown = scene.engine.alerts();
    assert_eq!(shown.hooks.iter().filter(|run| run.error.is_some()).count(), expected.len());
    assert_eq!(
        shown.hooks.iter().filter(|run| run.error.is_none()).count(),
        1,
        "the command was carried out"
    );
    // What a hook does is in the audit list; it was the command that paused the pipeline, and nothing failed.
    let Reply::Audit { entries } =
        scene.engine.line("audit", scene.world.dir.path(), &Door::Program, false).await
    else {
        panic!("the audit list");
    };
    assert!(
        entries.iter().any(|entry| entry.door == Door::Hook && entry.command == "pause copy" && entry.done)
    );
    scene.command("resume copy").await;
    settled(&scene.engine, "all is delivered", |status| {
        matches!(route(status, "copy").state, RouteState::Running) && route(status, "copy").lag_ms == Some(0)
    })
    .await;
    assert_eq!(scene.world.lite_number("SELECT COUNT(*) FROM t"), 2);
    scene.engine.shutdown(Duration::from_secs(10)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mutes_acks_and_what_fires_hold_over_a_restart() {
    let mut scene = Scene::on(servers::mariadb().await, 0).await;
    scene.world.sql("CREATE TABLE t (id INT PRIMARY KEY)").await;
    let script = "
        pipeline a = source mysql shop.t share_mining -> filter { row.nothing } -> sink null
        pipeline b = source mysql shop.t share_mining -> sink sqlite lite.*
        on error of a do { notify(message) }
        on stopped { repeat = 1m } do { notify(message) }";
    scene.world.apply(&scene.engine, script).await.unwrap();
    scene.world.sql("INSERT INTO t VALUES (1)").await;
    scene.fires("error of a").await;
    assert_eq!(scene.command("ack error").await, "error of a tells no more until it is resolved");
    assert!(
        scene.command("mute stopped of b for 1h").await.starts_with("stopped of b tells nobody, until 2")
    );
    assert!(scene.refused("mute lag").await.contains("there is no alert lag"));
    assert!(scene.refused("unmute b").await.contains("b is not muted"));
    assert!(scene.refused("ack stopped of b").await.contains("does not fire"));
    scene.command("stop b").await;
    scene.pass(400).await;
    assert!(scene.told.iter().all(|told| told.name == "error of a" && told.because == Because::Fires));
    scene.engine.shutdown(Duration::from_secs(10)).await;

    let ahead_ms = scene.ahead_ms.load(Ordering::Relaxed);
    let now_ms = move || jiff::Timestamp::now().as_millisecond() + ahead_ms;
    // The log is open for as long as the engine lives.
    drop(scene.engine);
    let engine = Arc::new(scene.world.engine().with_clock(Clock::new(now_ms)));
    let mut events = engine.events();
    scene.world.apply_only(&engine, script).await.unwrap();
    let failed =
        |status: &lode::engine::status::Status| matches!(route(status, "a").state, RouteState::Failed { .. });
    settled(&engine, "it fails again", failed).await;
    engine.look().await;
    let shown = engine.alerts();
    let firing: Vec<_> =
        shown.firing.iter().map(|one| (one.last.name.as_str(), one.told, one.acked)).collect();
    assert_eq!(firing, [("error of a", true, true), ("stopped of b", false, false)]);
    assert_eq!(shown.mutes.len(), 1);
    assert_eq!(shown.history.len(), 1);
    assert!(std::iter::from_fn(|| events.try_recv().ok()).all(|event| !matches!(event, Event::Alert(_))));
    assert_eq!(
        engine.line("unmute stopped of b", scene.world.dir.path(), &Door::Program, true).await.as_done(),
        "stopped of b tells again"
    );
    engine.look().await;
    let told: Vec<_> = std::iter::from_fn(|| events.try_recv().ok())
        .filter_map(|event| match event {
            Event::Alert(told) => Some(told.name),
            _ => None,
        })
        .collect();
    assert_eq!(told, ["stopped of b"]);
    engine.shutdown(Duration::from_secs(10)).await;
}

/// The words of an answer that something is done.
trait AsDone {
    fn as_done(&self) -> String;
}

impl AsDone for Reply {
    fn as_done(&self) -> String {
        match self {
            Reply::Done { done } => done.join("; "),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn schedules_happen_at_their_times_and_only_then() {
    let mut scene = Scene::on(servers::mariadb().await, 0).await;
    scene.world.sql("CREATE TABLE t (id INT PRIMARY KEY)").await;
    // The clock stands at 01:59:30 of a day, by the zone of the engine's clock, which is UTC.
    let now = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC);
    let two =
        now.tomorrow().unwrap().with().hour(2).minute(0).second(0).subsec_nanosecond(0).build().unwrap();
    let to_two_s = two.timestamp().as_second() - now.timestamp().as_second();
    scene.ahead_ms.store((to_two_s - 30) * 1000, Ordering::Relaxed);
    let script = "
        pipeline copy = source mysql shop.t share_mining -> sink sqlite lite.*
        every 1h do { notify(`${name}: ${stats(\"copy\").rps >= 0}`) }
        at \"0 2 * * *\" do pause copy
        at \"0 4 * * *\" do resume copy";
    scene.world.apply(&scene.engine, script).await.unwrap();
    scene.look().await;
    scene.engine.finish_hooks(Duration::from_secs(10)).await;
    scene.hear();
    assert!(scene.notices.is_empty(), "{:?}", scene.notices);
    scene.pass(40).await;
    scene.engine.finish_hooks(Duration::from_secs(10)).await;
    let halted = scene.engine.status().await.pipelines[0].halt;
    assert!(halted.is_some(), "it is paused at two");
    scene.pass(3600).await;
    scene.engine.finish_hooks(Duration::from_secs(10)).await;
    scene.hear();
    assert_eq!(scene.notices, ["every 1h: true"]);
    // Nobody looks for some hours: what was to happen at four is not made up for.
    scene.pass(3600 * 6).await;
    scene.engine.finish_hooks(Duration::from_secs(10)).await;
    assert!(scene.engine.status().await.pipelines[0].halt.is_some());
    let Reply::Audit { entries } =
        scene.engine.line("audit", scene.world.dir.path(), &Door::Program, false).await
    else {
        panic!("the audit list");
    };
    let by_schedule: Vec<_> = entries.iter().filter(|entry| entry.door == Door::Schedule).collect();
    assert_eq!(by_schedule.iter().map(|entry| entry.command.as_str()).collect::<Vec<_>>(), ["pause copy"]);
    scene.engine.shutdown(Duration::from_secs(10)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_sets_a_table_aside_while_a_huge_transaction_fills_it() {
    let rows: u64 =
        std::env::var("LODE_HUGE_ROWS").ok().and_then(|text| text.parse().ok()).unwrap_or(200_000);
    let scene = Scene::on(servers::mariadb().await, 0).await;
    let world = &scene.world;
    world
        .sql("CREATE TABLE big (id INT PRIMARY KEY AUTO_INCREMENT, pad VARCHAR(200));\nCREATE TABLE small (id INT PRIMARY KEY)")
        .await;
    let hooks = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/hooks/quarantine.rhai");
    let script = format!(
        "include \"{hooks}\" {{ allow = [control] }}
        pipeline copy = source mysql shop.{{big, small}} share_mining -> sink sqlite lite.*
        on big_transaction > {} of shop {{ repeat = 0s }} do quarantine::table",
        rows / 2
    );
    world.apply(&scene.engine, &script).await.unwrap();
    let mut events = scene.engine.events();
    scene.engine.watch();
    world.sql("INSERT INTO small VALUES (1)").await;
    world.sql(&crate::huge::transaction(rows)).await;
    world.sql("INSERT INTO small VALUES (2)").await;
    let mut notices = Vec::new();
    eventually("the table is paused and resumed", async || {
        while let Ok(event) = events.try_recv() {
            match event {
                Event::Notice { text } => notices.push(text),
                Event::Hook { name, error } => panic!("{name}: {error}"),
                _ => {}
            }
        }
        notices.len() == 2
    })
    .await;
    assert!(notices[0].starts_with("shop.big waits: a transaction of mine shop has "), "{notices:?}");
    assert_eq!(notices[1], "shop.big is read again");
    settled(&scene.engine, "all is delivered", |status| {
        status.mines[0].paused.is_empty()
            && status.mines[0].counts.tables.iter().map(|table| table.changes).sum::<u64>() == rows + 2
            && route(status, "copy").lag_ms == Some(0)
    })
    .await;
    let Reply::Audit { entries } = scene.engine.line("audit", world.dir.path(), &Door::Program, false).await
    else {
        panic!("the audit list");
    };
    let commands: Vec<_> = entries.iter().map(|entry| (entry.door.clone(), entry.command.as_str())).collect();
    assert_eq!(commands, [(Door::Hook, "pause shop.big"), (Door::Hook, "resume shop.big")]);
    // Nothing is lost, and nothing is there twice.
    scene.engine.shutdown(Duration::from_secs(60)).await;
    assert_eq!(world.lite_number("SELECT COUNT(*) FROM big"), rows as i64);
    assert_eq!(parity::in_sqlite(world).await.same(), 2);
}
