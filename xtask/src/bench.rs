//! `cargo xtask bench …`: builds optimised and measures.

use std::ffi::OsString;

use crate::{
    assets,
    cargo::{self, cargo},
    packages,
    postgres::{Server, Use},
};

/// What is measured.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum What {
    /// From a mail's delivery to its queue, against the simulator in another process
    /// (`--json FILE`, `--store`, `--mailboxes`, `--latency-ms` choose rows).
    Ingest {
        /// What the benchmark is told.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<OsString>,
    },
}

/// Runs a benchmark.
pub(crate) fn run(what: What) -> anyhow::Result<()> {
    let What::Ingest { options } = what;
    packages::ensure()?;
    assets::fetch()?;
    let postgres = Server::start(Use::Bench)?;
    cargo::run(
        cargo(&["bench", "--package", "postroom-app", "--bench", "ingest", "--"])
            .args(options)
            .env("POSTROOM_TEST_POSTGRES", postgres.url()),
    )
}
