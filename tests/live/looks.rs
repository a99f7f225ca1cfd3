//! Looking at what is mined, and asking the servers, while they work.

use std::path::Path;
use std::time::Duration;

use lode::check::model::Subject;
use lode::client::ask::{Ask, AskLimits, CutBy, Mysql};
use lode::engine::Engine;
use lode::engine::door::Door;
use lode::engine::look::{Look, Tail};
use lode::engine::reply::Reply;
use lode::error::Kind;
use tokio::time::timeout;

use crate::servers;
use crate::world::{World, drain, eventually};

/// How long something may take that takes a moment, on a busy machine.
const LONG: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn what_is_followed_comes_when_it_is_mined_also_from_a_mine_made_anew() {
    let world = World::on(servers::mariadb().await).await;
    world.sql("CREATE TABLE meters (id INT PRIMARY KEY, value INT)").await;
    let engine = world.start("pipeline meters = source mysql shop.meters share_mining -> sink null").await;
    let filter = Some(" row.value > 10 ".to_owned());
    let look = Look { of: Some(Subject::Pipeline("meters".to_owned())), filter, ..Look::default() };
    let mut tail = engine.tail(&look).await.expect("it is mined");
    world.sql("INSERT INTO meters VALUES (1, 5), (2, 11)").await;
    assert_eq!(next_ids(&mut tail, 1).await, [2]);

    // Whoever waits is woken, and misses nothing that comes while nobody asks.
    let (ids, ()) = tokio::join!(next_ids(&mut tail, 1), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        world.sql("INSERT INTO meters VALUES (3, 30)").await;
    });
    assert_eq!(ids, [3]);
    world.sql("INSERT INTO meters VALUES (4, 40)").await;

    for line in ["stop shop", "set shop.retention = 5d", "start shop"] {
        let reply = engine.line(line, Path::new("/"), &Door::Program, true).await;
        assert!(matches!(reply, Reply::Done { .. }), "{line}: {reply:?}");
    }
    world.sql("INSERT INTO meters VALUES (5, 50)").await;
    assert_eq!(next_ids(&mut tail, 2).await, [4, 5]);
    let newest = engine.peek(&look, Some(3)).await.expect("it is there");
    assert_eq!(newest.changes.iter().map(|change| &change["after"]["id"]).collect::<Vec<_>>(), [3, 4, 5]);

    // The rest of a pipeline's life ends what follows it.
    engine.apply(world.plan(&engine, "")).await.expect("nothing can be run");
    let error = timeout(LONG, tail.next()).await.expect("it is told").expect_err("there is no mine any more");
    assert_eq!(error.kind(), Kind::Refused, "{error}");
    drain(engine).await;
}

/// The ids of the next changes, of which there are so many.
async fn next_ids(tail: &mut Tail, count: usize) -> Vec<i64> {
    let mut ids = Vec::new();
    while ids.len() < count {
        let part =
            timeout(LONG, tail.next()).await.expect("changes are told soon").expect("they can be read");
        ids.extend(part.changes.iter().map(|change| change["after"]["id"].as_i64().expect("an id")));
    }
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_are_asked_and_never_changed() {
    for server in [servers::mariadb().await, servers::mysql().await] {
        let world = World::on(server).await;
        world
            .sql(
                "CREATE TABLE t (id BIGINT UNSIGNED PRIMARY KEY, price DECIMAL(6,2), at DATETIME(3), name VARCHAR(20), raw VARBINARY(4));
                 INSERT INTO t VALUES (18446744073709551615, 1.50, '2026-01-31 23:59:59.500', 'naïve', x'00ff'), (1, NULL, NULL, '', '')",
            )
            .await;
        let engine = world
            .start(
                "pipeline t = source mysql shop.t share_mining -> [ sink mysql copy.*, sink sqlite lite.* ]",
            )
            .await;
        let rows = engine.sql("shop", "SELECT * FROM t ORDER BY id DESC", None).await.expect("it is asked");
        assert_eq!(rows.answered.columns, ["id", "price", "at", "name", "raw"]);
        let texts = |row: &[Option<&str>]| row.iter().map(|text| text.map(str::to_owned)).collect::<Vec<_>>();
        assert_eq!(
            rows.answered.rows,
            [
                texts(&[
                    Some("18446744073709551615"),
                    Some("1.50"),
                    Some("2026-01-31 23:59:59.500"),
                    Some("naïve"),
                    Some("0x00ff"),
                ]),
                texts(&[Some("1"), None, None, Some(""), Some("0x")]),
            ]
        );
        let first = engine.sql("shop", "SELECT id FROM t ORDER BY id", Some(1)).await.expect("it is asked");
        assert_eq!(first.answered.rows, [texts(&[Some("1")])]);
        assert_eq!(first.answered.cut_by, Some(CutBy::Rows));
        assert_eq!(first.notes, ["there are more than these 1 rows"]);
        engine.sql("shop", "SHOW TABLES", None).await.expect("it is asked");
        engine.sql("shop", "EXPLAIN SELECT * FROM t", None).await.expect("it is asked");

        // In the database to copy into, the user may do everything.
        let mut target = world.target().await;
        mysql_async::prelude::Queryable::query_drop(
            &mut target,
            "CREATE FUNCTION grow() RETURNS INT DETERMINISTIC MODIFIES SQL DATA BEGIN INSERT INTO grown VALUES (1); RETURN 1; END",
        )
        .await
        .expect("a function");
        mysql_async::prelude::Queryable::query_drop(&mut target, "CREATE TABLE grown (n INT)")
            .await
            .expect("a table");
        for (statement, kind) in [
            ("DELETE FROM grown", Kind::Refused),
            ("SELECT 1; DELETE FROM grown", Kind::Refused),
            ("SELECT * FROM grown FOR UPDATE", Kind::Refused),
            ("SELECT 1 INTO OUTFILE '/tmp/lode'", Kind::Refused),
            ("WITH a AS (SELECT 1) DELETE FROM grown", Kind::Environment),
            ("SELECT grow()", Kind::Environment),
            ("SELECT nonsense FROM grown", Kind::Environment),
        ] {
            let error = engine.sql("copy", statement, None).await.expect_err(statement);
            assert_eq!(error.kind(), kind, "{statement}: {error:?}");
        }
        let grown = engine.sql("copy", "SELECT COUNT(*) FROM grown", None).await.expect("it is asked");
        assert_eq!(grown.answered.rows, [texts(&[Some("0")])]);
        is_ended_in_time(&world, &engine).await;
        drain(engine).await;
    }
}

/// A statement that nobody waits for any more is ended at the server, too.
async fn is_ended_in_time(world: &World, engine: &Engine) {
    let plan = world.plan(engine, "pipeline t = source mysql shop.t share_mining -> sink null");
    let limits = AskLimits { rows: 10, bytes: 1000, time: Duration::from_millis(500) };
    let asked = Mysql.ask(&plan.connections["shop"], "SELECT SLEEP(100)", &limits).await;
    let error = asked.expect_err("it takes too long");
    assert_eq!(error.kind(), Kind::Unavailable, "{error:?}");
    let few = AskLimits { rows: 10, bytes: 10, time: LONG };
    let asked =
        Mysql.ask(&plan.connections["shop"], "SELECT 'longer than that'", &few).await.expect("it is asked");
    assert_eq!((asked.rows.len(), asked.cut_by), (0, Some(CutBy::Bytes)));
    eventually("the statement is ended", async || {
        let statement = format!(
            "SELECT COUNT(*) FROM information_schema.processlist WHERE user = '{}' AND info LIKE '%SLEEP%'",
            world.user
        );
        world.number(&statement).await == 0
    })
    .await;
}
