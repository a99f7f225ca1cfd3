//! Real threads and real time: what cannot be seen where only one task runs at a time.

use std::time::Duration;

use lode::run::route::RouteState;
use tokio::time::sleep;

use super::world::{World, state, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_last_transaction_before_the_end_is_delivered_to_everybody() {
    for seed in 0..30 {
        let world = World::new(seed);
        world.target("p0").lock().unwrap().mirrors = vec!["t0".into()];
        let life = world.live().await;
        let names: Vec<_> = (0..4).map(|at| format!("p{at}")).collect();
        let pipelines: Vec<_> = names.iter().map(|name| life.pipeline(name, &["t0"])).collect();
        life.start_mine();
        for at in 0..50 {
            world.server.insert("t0", [at]);
            if at % 8 == 0 {
                sleep(Duration::from_micros(200)).await;
            }
        }
        world.server.end();
        until("all have ended", || pipelines.iter().all(|pipeline| pipeline.is_over())).await;
        for (name, pipeline) in names.iter().zip(&pipelines) {
            assert_eq!(state(pipeline), RouteState::Finished);
            assert_eq!(world.target(name).lock().unwrap().applied, (1..=50).collect::<Vec<_>>(), "{name}");
        }
    }
}
