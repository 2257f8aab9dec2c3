//! The developer commands, run as `cargo xtask …`.
//!
//! Each command brings what it needs by itself: browser assets from npm, programs
//! from Debian's packages, a private PostgreSQL server. `.ci/run` calls
//! `cargo xtask test` and nothing else.

mod assets;
mod bench;
mod cargo;
mod conformance;
mod demo;
mod packages;
mod postgres;
mod test;

use std::ffi::OsString;
use std::path::Path;

use clap::{Parser, Subcommand};

/// The developer commands of Postroom.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build and run Postroom with its simulator, a sample organisation and sample mails
    /// (--release builds it optimised; `demo --help` tells the other options).
    #[command(disable_help_flag = true)]
    Demo {
        /// What the demo is told.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<OsString>,
    },
    /// Install what the tests need, then run format check, clippy and every test.
    Test,
    /// Format check, clippy and the list of banned dependencies.
    Check,
    /// Fetch the browser assets that the pages embed.
    Assets,
    /// Run Microsoft's official clients against the simulator and print what each can do.
    Conformance {
        /// Only the set that CI has room for.
        #[arg(long)]
        ci: bool,
    },
    /// Feed the simulator's request and OData parsers nonsense, far longer than the tests do.
    Fuzz {
        /// How many cases each search tries.
        #[arg(long, default_value_t = 100_000)]
        cases: u32,
    },
    /// Live through many short lives of the server, each with other faults, in virtual time.
    Chaos {
        /// Seeds, as FIRST..END without the end.
        #[arg(long, default_value = "0..200")]
        seeds: String,
        /// Four days each instead of three quarters of an hour.
        #[arg(long)]
        long: bool,
    },
    /// Measure; builds optimised.
    Bench {
        #[command(subcommand)]
        what: bench::What,
    },
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Demo { options } => demo::run(options),
        Command::Test => test::run(),
        Command::Check => test::check(),
        Command::Assets => assets::fetch(),
        Command::Conformance { ci } => test::conformance(ci),
        Command::Fuzz { cases } => test::fuzz(cases),
        Command::Chaos { seeds, long } => test::chaos(&seeds, long),
        Command::Bench { what } => bench::run(what),
    }
}

/// The folder of the workspace.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace")
}
