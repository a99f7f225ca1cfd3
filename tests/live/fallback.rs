//! `on_mine_failure = direct` in the real binary, under load: the source in the mine's stead, back to the log, and killed in
//! each of these states.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::Value as Json;

use crate::steering::Load;
use crate::support::servers::Server;
use crate::world::{World, eventually};
use crate::{parity, servers};

const SCRIPT: &str = "
    pipeline exact { on_mine_failure = direct } =
      source mysql shop.ledger share_mining -> [ sink sqlite lite.*, sink mysql copy.* ]
    pipeline counts { on_mine_failure = direct } =
      source mysql shop.counts share_mining -> sink sqlite lite.all_counts { mode = append }
    ";

#[tokio::test(flavor = "multi_thread")]
async fn the_source_is_read_in_the_mines_stead_on_mariadb() {
    the_source_is_read_in_the_mines_stead(servers::mariadb().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_source_is_read_in_the_mines_stead_on_mysql() {
    the_source_is_read_in_the_mines_stead(servers::mysql().await).await;
}

async fn the_source_is_read_in_the_mines_stead(server: &Server) {
    let world = World::on(server).await;
    world
        .sql(
            "CREATE TABLE ledger (id INT PRIMARY KEY, balance INT, note VARCHAR(40));\n\
             CREATE TABLE counts (id INT PRIMARY KEY)",
        )
        .await;
    let script = format!("{}\n{SCRIPT}", world.connections());
    std::fs::write(world.dir.path().join("script.lode"), script).expect("the folder is there");
    let mut lode = Lode::run(&world);
    eventually("both pipelines run", async || {
        lode.routes().iter().filter(|route| route.0 == "running").count() == 3
    })
    .await;
    let load = Load::with(&world, "INSERT INTO counts VALUES ({id})").await;
    let delivered = || world.lite_number("SELECT COUNT(*) FROM all_counts");
    let goes_on = async |what: &str| {
        let committed = load.committed() + 10;
        eventually(&format!("rows arrive {what}"), async || delivered() >= committed).await;
    };
    goes_on("from the log").await;
    for _ in 0..2 {
        lode.tell("stop shop");
        eventually("the source is read", async || lode.routes().iter().all(|route| route.1)).await;
        goes_on("from the source").await;
        lode = lode.kill_and_run(&world);
        goes_on("from the source after a kill").await;
        assert!(lode.routes().iter().all(|route| route.1), "what was stopped stays stopped");

        lode.tell("start shop");
        eventually("the log is read again", async || lode.routes().iter().all(|route| !route.1)).await;
        goes_on("from the log again").await;
        lode = lode.kill_and_run(&world);
        goes_on("from the log after a kill").await;
        // Killed on the way to the source, and on the way back.
        lode.tell("stop shop");
        goes_on("with the mine stopped").await;
        lode.tell("start shop");
        lode = lode.kill_and_run(&world);
        goes_on("with the mine started").await;
    }
    load.stop().await;
    world.sql("INSERT INTO ledger VALUES (1000000, 0, 'last');\nINSERT INTO counts VALUES (1000000)").await;
    let copied = format!("SELECT COUNT(*) FROM {}_copy.ledger WHERE id = 1000000", world.database);
    eventually("the last rows are there", async || {
        world.lite_number("SELECT COUNT(*) FROM all_counts WHERE id = 1000000") == 1
            && world.lite_number("SELECT COUNT(*) FROM ledger WHERE id = 1000000") == 1
            && world.number(&copied).await == 1
    })
    .await;
    drop(lode);
    let rows = world.number("SELECT COUNT(*) FROM counts").await;
    assert_eq!(delivered(), rows, "nothing came twice");
    assert_eq!(world.lite_number("SELECT COUNT(DISTINCT id) FROM all_counts"), rows, "nothing was lost");
    assert_eq!(parity::in_sqlite(&world).await.same(), 1);
    assert_eq!(parity::copied(&world).await.same(), 1);
}

/// The binary as a process of its own.
struct Lode {
    child: Child,
    data: PathBuf,
}

impl Lode {
    fn run(world: &World) -> Lode {
        let data = world.data();
        let mut command = Command::new(env!("CARGO_BIN_EXE_lode"));
        command.arg("run").arg(world.dir.path().join("script.lode")).arg("--data").arg(&data);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("lode starts");
        Lode { child, data }
    }

    /// SIGKILL, and a new process over what it leaves.
    fn kill_and_run(self, world: &World) -> Lode {
        drop(self);
        Lode::run(world)
    }

    fn ctl(&self, line: &str) -> Option<Json> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lode"));
        command.arg("ctl").arg("--data").arg(&self.data).args(["--json", "--yes", line]);
        let output = command.output().expect("lode ctl starts");
        output.status.success().then(|| serde_json::from_slice(&output.stdout).expect("an answer in JSON"))
    }

    /// Says it until it is done: a lode that was just started may not listen yet, and a mine may not have ended yet.
    fn tell(&self, line: &str) {
        for _ in 0..200 {
            if self.ctl(line).is_some() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        panic!("{line}: {:?}", self.ctl("status"));
    }

    /// What each route does, and whether it is ahead of its mine. None before lode listens.
    fn routes(&self) -> Vec<(String, bool)> {
        let Some(status) = self.ctl("status") else { return vec![("unknown".to_owned(), false)] };
        let routes = status["pipelines"].as_array().into_iter().flatten();
        let routes = routes.flat_map(|pipeline| pipeline["routes"].as_array().into_iter().flatten());
        routes
            .map(|route| {
                let state = route["state"].as_str().unwrap_or_default().to_owned();
                (state, route["direct"].as_bool().unwrap_or(false))
            })
            .collect()
    }
}

impl Drop for Lode {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
