//! lode reads a database's change log once, keeps it, and shares it with every pipeline that wants it.
//!
//! A program embeds it through [`engine::Engine`], the same door that the command line uses:
//!
//! ```
//! use std::time::Duration;
//!
//! use lode::check::Input;
//! use lode::engine::Engine;
//! use lode::engine::registry::Registry;
//!
//! const SCRIPT: &str = r#"
//! connection shop = binlog "scripts/binlog" { database = "shop" }
//! share_mining shop { start = earliest }
//! pipeline orders = source binlog shop.orders share_mining -> sink null
//! "#;
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let data = tempfile::tempdir()?;
//! # let data_dir = data.path();
//! let engine = Engine::new(data_dir, Registry::built_in());
//! let mut events = engine.events();
//!
//! // Checking and planning connect nothing; a plan says what would run.
//! let input = Input::new(std::env::current_dir()?).text("orders.lode", SCRIPT);
//! let plan = engine.plan(&engine.load(&input).into_model()?);
//! assert_eq!(plan.pipelines["orders"].routes[0].sink.kind, "null");
//!
//! // What runs is made equal to the plan. Here, the source has an end.
//! engine.apply(plan).await?;
//! engine.settled().await;
//! println!("first of all: {:?}", events.recv().await?);
//!
//! let status = engine.status().await;
//! assert_eq!(status.pipelines[0].routes[0].figures.changes_delivered, 108);
//!
//! // A pipeline goes on where it stopped; everything else goes on meanwhile.
//! engine.start("orders").await?;
//! engine.stop("orders").await?;
//! engine.shutdown(Duration::from_secs(10)).await;
//! # Ok(())
//! # }
//! ```
//!
//! Sources and sinks of the program's own are added to the [`Registry`](engine::registry::Registry), with a
//! [`KindSpec`](model::spec::KindSpec) that scripts are checked against; `examples/embed.rs` shows a sink. The program
//! runs on [tokio](https://docs.rs/tokio), with its multi-threaded runtime, and logs with `tracing`.
//!
//! From the text of a script to what runs:
//!
//! | step | module | gives |
//! |---|---|---|
//! | parse | [`lang`] | a tree, and diagnostics that point into the text |
//! | check | [`check`] | a [model](check::Model): names resolved, settings typed, hooks compiled |
//! | plan | [`plan`] | a [plan](plan::Plan): data, to be shown, compared and carried out |
//! | apply | [`engine`], [`run`] | mines that read sources once into logs, pipelines that read from there |

pub mod check;
pub mod client;
pub mod engine;
pub mod error;
pub mod hook;
pub mod lang;
pub mod model;
pub mod plan;
pub mod run;
pub mod sink;
pub mod source;
pub mod store;
pub mod testing;

/// Compiles the code that README shows.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
