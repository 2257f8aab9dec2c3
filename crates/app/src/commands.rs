//! One file for each command of the binary.

pub mod apply;
pub mod demo;
pub mod doctor;
pub mod integration;
pub mod ledger;
pub mod mailbox;
pub mod serve;
pub mod sim;
pub mod status;
pub mod trace;
pub mod user;

use postroom_engine::Engine;
use postroom_store::Store;

use crate::{config::Config, effects, system};

/// Opens the store for a command that works beside a running server.
async fn open(config: &Config) -> anyhow::Result<Store> {
    Ok(system::open_store(config, &effects::system_entropy()).await?)
}

/// An engine that runs nothing: for commands that ask or change one thing.
async fn open_engine(config: &Config) -> anyhow::Result<Engine> {
    let store = open(config).await?;
    Ok(system::engine(store, system::Around::network(config)?).0)
}
