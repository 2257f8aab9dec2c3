//! `postroom mailbox list | pause | resume | resync`: one mailbox at a time, the others
//! untouched.

use std::process::ExitCode;

use postroom_engine::{Engine, wishes::Wish};
use serde_json::json;

use crate::config::Config;

/// What to do with mailboxes.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List the connected mailboxes and how each is.
    List {
        /// Print one JSON object a line.
        #[arg(long)]
        json: bool,
    },
    /// Leave a mailbox alone: nothing is asked of Microsoft for it, what is announced waits, replies too.
    Pause(Address),
    /// Follow a paused mailbox again; nothing that arrived meanwhile is missed.
    Resume(Address),
    /// Read a mailbox's folders from their beginning and make its subscriptions anew; no mail is taken twice.
    Resync(Address),
}

/// Which mailbox.
#[derive(Debug, clap::Args)]
pub struct Address {
    /// The mailbox's address.
    address: String,
}

/// Carries out the command on the store; a running server heeds it within a second.
///
/// # Errors
/// When there is no such mailbox, or the store can't be used.
pub async fn run(config: Config, command: Command) -> anyhow::Result<ExitCode> {
    let engine = super::open_engine(&config).await?;
    let (Address { address }, wish) = match command {
        Command::List { json } => {
            print!("{}", list(&engine, json).await?);
            return Ok(ExitCode::SUCCESS);
        }
        Command::Pause(address) => (address, Wish::Pause),
        Command::Resume(address) => (address, Wish::Resume),
        Command::Resync(address) => (address, Wish::Resync),
    };
    let changed = engine.ask_of_mailbox(&address, wish).await?;
    let said = match (wish, changed) {
        (Wish::Pause, true) => "is paused: what arrives waits in the mailbox, replies wait here",
        (Wish::Pause, false) => "was paused already",
        (Wish::Resume, true) => "is followed again, from where it was left",
        (Wish::Resume, false) => "was not paused",
        (Wish::Resync, _) => "is read anew from its beginning; what is known stays known",
    };
    println!("{address} {said}");
    Ok(ExitCode::SUCCESS)
}

async fn list(engine: &Engine, as_json: bool) -> anyhow::Result<String> {
    let mut out = String::new();
    for one in engine.figures().await?.mailboxes {
        let (mailbox, open) = (&one.mailbox, one.open_jobs);
        let line = if as_json {
            json!({
                "mailbox_id": mailbox.id,
                "address": mailbox.address,
                "health": mailbox.health.as_str(),
                "health_detail": mailbox.health_detail,
                "health_since": mailbox.health_at,
                "paused_since": mailbox.paused_at,
                "last_notification_at": one.last_notification_at,
                "last_delta_at": one.last_delta_at,
                "subscription_expires_at": one.subscription_expires_at,
                "open_jobs": open,
            })
            .to_string()
        } else {
            let looked = one.last_delta_at.map_or_else(|| "never".to_owned(), |at| at.to_string());
            let detail =
                mailbox.health_detail.as_deref().map_or_else(String::new, |text| format!("  ({text})"));
            format!(
                "{:<10} {}  looked {looked}, {open} open{detail}",
                mailbox.health.as_str(),
                mailbox.address
            )
        };
        out.push_str(&line);
        out.push('\n');
    }
    Ok(out)
}
