//! What must hold of every world, whatever happened in it.

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};
use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use postroom_app::world::World;
use postroom_model::ledger::{MessageState, Step};
use postroom_store::{Db, messages, messages::Message, trace};

/// A mail that was delivered to a mailbox.
pub(crate) struct Delivered {
    pub(crate) mailbox: &'static str,
    pub(crate) graph_id: String,
    pub(crate) mime: Bytes,
}

/// Delivers a mail and remembers it.
pub(crate) fn deliver(world: &World, mailbox: &'static str, mime: impl Into<Bytes>) -> Delivered {
    let mime = mime.into();
    let graph_id = world.simulator.deliver(mailbox, mime.clone()).expect("the tenant has this mailbox");
    Delivered { mailbox, graph_id, mime }
}

/// A plain mail.
pub(crate) fn mail(from: &str, to: &str, subject: &str, headers: &str) -> String {
    format!(
        "Received: from mx.customer.example by mx.contoso.example; Mon, 2 Nov 2026 10:00:00 +0900\r\n\
         From: {from}\r\nTo: {to}\r\nSubject: {subject}\r\n{headers}\r\nGood morning.\r\n"
    )
}

/// Delivers a plain mail of a customer.
pub(crate) fn write(world: &World, to: &'static str, subject: &str) -> Delivered {
    deliver(world, to, mail("Ann <ann@customer.example>", to, subject, ""))
}

/// Lets minutes pass.
pub(crate) async fn pause(minutes: u64) {
    tokio::time::sleep(std::time::Duration::from_secs(minutes * 60)).await;
}

/// The whole ledger.
pub(crate) async fn ledger(db: &Db) -> anyhow::Result<Vec<Message>> {
    Ok(messages::list_after(db, None, 100_000).await?)
}

/// Each mail is in the ledger exactly once, routed, with its bytes, read in the mailbox, and no
/// step of its story is missing or doubled.
pub(crate) async fn assert_taken_once(world: &World, delivered: &[Delivered]) -> anyhow::Result<()> {
    let mut rows: BTreeMap<String, Vec<Message>> = BTreeMap::new();
    for row in ledger(world.db()).await? {
        rows.entry(row.graph_id.clone()).or_default().push(row);
    }
    ensure!(rows.len() == delivered.len(), "{} rows for {} mails", rows.len(), delivered.len());
    for mail in delivered {
        let found =
            rows.get(&mail.graph_id).with_context(|| format!("a mail to {} is lost", mail.mailbox))?;
        let [row] = &found[..] else {
            anyhow::bail!("a mail to {} stands {} times", mail.mailbox, found.len())
        };
        ensure!(row.state == MessageState::Routed, "{} stands in {} ({})", row.id, row.state, row.reason);
        let sha256 = digest(&SHA256, &mail.mime);
        ensure!(row.sha256.as_deref() == Some(sha256.as_ref()), "{} has other bytes", row.id);
        ensure!(row.touched_at.is_some(), "{} is not recorded as marked read", row.id);
        let story = trace::list_of_message(world.db(), row.id).await?;
        for step in [Step::Seen, Step::Stored, Step::AfterTaking, Step::Parsed, Step::Threaded] {
            let times = story.iter().filter(|entry| entry.step == step).count();
            ensure!(times == 1, "{}: step {step} stands {times} times in the trace", row.id);
        }
    }
    for address in world.simulator.mailboxes() {
        let inbox =
            world.simulator.messages(&address)?.into_iter().filter(|message| message.folder == "inbox");
        for message in inbox {
            ensure!(message.is_read, "a mail in {address} is not marked read");
        }
    }
    let figures = world.simulator.figures();
    ensure!(figures.max_in_flight <= 4, "{} requests were in flight at a time", figures.max_in_flight);
    ensure!(figures.violations == 0, "{} requests were refused as too many", figures.violations);
    Ok(())
}
