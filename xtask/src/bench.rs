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
    /// The simulator alone: its start, simple requests a second on one core, memory (`--json FILE`).
    Simulator {
        /// What the benchmark is told.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<OsString>,
    },
}

/// Runs a benchmark.
pub(crate) fn run(what: What) -> anyhow::Result<()> {
    assets::fetch()?;
    let bench = |name: &str| cargo(&["bench", "--package", "postroom-app", "--bench", name, "--"]);
    match what {
        What::Ingest { options } => {
            packages::ensure()?;
            let postgres = Server::start(Use::Bench)?;
            cargo::run(bench("ingest").args(options).env("POSTROOM_TEST_POSTGRES", postgres.url()))
        }
        What::Simulator { options } => cargo::run(bench("simulator").args(options)),
    }
}
