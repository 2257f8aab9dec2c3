//! The command line: which commands there are, and how each ends.
//!
//! Exit codes: 0 fine, 1 failed, 2 wrong use. An error is one line for people,
//! with its causes behind it.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use postroom_engine::in_full;
use tracing_subscriber::EnvFilter;

use crate::{
    commands,
    config::{self, Config, LogFormat},
    effects,
};

/// Answers customers from Microsoft 365 mailboxes.
#[derive(Debug, Parser)]
#[command(name = "postroom", version, about)]
struct Cli {
    /// The configuration file; without it every setting has its default.
    #[arg(long, short, global = true, env = "POSTROOM_CONFIG")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server.
    Serve,
    /// Run the server with a Microsoft 365 simulator, a sample organisation and sample mails.
    Demo(commands::demo::Options),
    /// Run the Microsoft 365 simulator alone.
    Sim(Box<commands::sim::Options>),
    /// Write the organisation file to the store.
    Apply(commands::apply::Options),
    /// Tell the whole story of a message or conversation.
    Trace(commands::trace::Options),
    /// List every message that was taken in, and where it stands.
    Ledger(commands::ledger::Options),
    /// Show how every mailbox, subscription and credential stands.
    Status(commands::status::Options),
    /// Examine integrations and mailboxes step by step, and say what is wrong and what to do.
    Doctor(commands::doctor::Options),
    /// List, pause, resume or resync connected mailboxes.
    #[command(subcommand)]
    Mailbox(commands::mailbox::Command),
    /// Show the integrations with Microsoft, try, add and remove their credentials.
    #[command(subcommand)]
    Integration(commands::integration::Command),
    /// Give people their passwords.
    #[command(subcommand)]
    User(commands::user::Command),
    /// Print the configuration manual: every setting with its default.
    Config,
}

/// Carries out the command that the process was started with.
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are errors to clap, and no failure.
            let code = if error.use_stderr() { 2 } else { 0 };
            let _closed_pipe = error.print();
            return ExitCode::from(code);
        }
    };
    let config = match config::load(cli.config.as_deref(), &effects::environment) {
        Ok(config) => config,
        Err(error) => return failed(&error.into()),
    };
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        // Somebody installed one already; there is only this one in the program.
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&anyhow::Error::new(error).context("the runtime can't be started")),
    };
    match runtime.block_on(carry_out(cli.command, config)) {
        Ok(code) => code,
        Err(error) => failed(&error),
    }
}

async fn carry_out(command: Command, config: Config) -> anyhow::Result<ExitCode> {
    let quiet = !matches!(command, Command::Serve | Command::Sim(_));
    start_log(&config, quiet)?;
    match command {
        Command::Serve => commands::serve::run(config).await,
        Command::Demo(options) => commands::demo::run(options).await,
        Command::Sim(options) => commands::sim::run(*options).await,
        Command::Apply(options) => commands::apply::run(config, options).await,
        Command::Trace(options) => commands::trace::run(config, options).await,
        Command::Ledger(options) => commands::ledger::run(config, options).await,
        Command::Status(options) => commands::status::run(config, options).await,
        Command::Doctor(options) => commands::doctor::run(config, options).await,
        Command::Mailbox(command) => commands::mailbox::run(config, command).await,
        Command::Integration(command) => commands::integration::run(config, command).await,
        Command::User(command) => commands::user::run(config, command).await,
        Command::Config => {
            print!("{}", include_str!("../config.default.toml"));
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Commands that print facts log only warnings, and to standard error.
fn start_log(config: &Config, quiet: bool) -> anyhow::Result<()> {
    let words = if quiet && config.log.filter == "info" { "warn" } else { &config.log.filter };
    let filter = EnvFilter::try_new(words)
        .map_err(|error| anyhow::anyhow!("[log] filter \"{words}\" can't be understood: {error}"))?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match config.log.format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}

fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("postroom: {}", in_full(error.as_ref()));
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
