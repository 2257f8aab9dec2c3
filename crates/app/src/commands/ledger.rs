//! `postroom ledger`: every message that was taken in, and where it stands.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::process::ExitCode;

use postroom_model::mailbox::AfterTaking;
use postroom_store::{mailboxes, mailboxes::Mailbox, messages, messages::Message};
use serde_json::{Value, json};

use crate::config::Config;

/// How to list.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Print one JSON object a line.
    #[arg(long)]
    json: bool,
}

const PIECE: u32 = 500;

/// Prints the ledger, oldest first.
///
/// # Errors
/// When the store can't be read.
pub async fn run(config: Config, options: Options) -> anyhow::Result<ExitCode> {
    let store = super::open(&config).await?;
    let mailboxes: BTreeMap<_, _> =
        mailboxes::list(&store.db).await?.into_iter().map(|mailbox| (mailbox.id, mailbox)).collect();
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut after = None;
    loop {
        let piece = messages::list_after(&store.db, after, PIECE).await?;
        let Some(last) = piece.last() else { break };
        after = Some(last.id);
        for message in &piece {
            let mailbox = mailboxes.get(&message.mailbox);
            let address = mailbox.map_or("", |mailbox| mailbox.address.as_str());
            let written = if options.json {
                writeln!(out, "{}", line(message, mailbox))
            } else {
                writeln!(
                    out,
                    "{}  {:<9} {:<26} {address}  {}",
                    message.arrived_at(),
                    message.state.as_str(),
                    message.reason.as_str(),
                    message.id
                )
            };
            match written {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(ExitCode::SUCCESS),
                written => written?,
            }
        }
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn line(message: &Message, mailbox: Option<&Mailbox>) -> Value {
    // Each mailbox has one way of showing that a mail is taken; another way than the flag sets no flag.
    let marks_read = mailbox.is_some_and(|mailbox| mailbox.after_taking == AfterTaking::MarkRead);
    let hex = |bytes: &Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    json!({
        "message_id": message.id,
        "mailbox": mailbox.map_or("", |mailbox| mailbox.address.as_str()),
        "graph_id": message.graph_id,
        "internet_message_id": message.internet_message_id,
        "rebuilt": message.rebuilt,
        "sha256": message.sha256.as_ref().map(hex),
        "state": message.state,
        "reason": message.reason,
        "conversation_id": message.conversation,
        "received_at": message.arrived_at(),
        "queued_at": message.queued_at,
        "marked_read": message.touched_at.is_some() && marks_read,
    })
}
