//! What must hold after healing, whatever happened.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use aws_lc_rs::digest::{SHA256, digest};
use postroom_app::world::World;
use postroom_model::ledger::{MessageState, Step};
use postroom_store::{messages, messages::Message, trace};

/// A mail that was delivered.
pub(crate) struct Delivered {
    pub(crate) number: usize,
    pub(crate) mailbox: String,
    pub(crate) graph_id: String,
    pub(crate) mime: String,
}

/// What came of a run.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) mails: usize,
    pub(crate) lost: usize,
    pub(crate) doubled: usize,
    pub(crate) violations: u64,
    /// Everything that is wrong, in words, with the story of the mail.
    pub(crate) wrong: Vec<String>,
}

impl Verdict {
    pub(crate) fn holds(&self) -> bool {
        self.lost == 0 && self.doubled == 0 && self.violations == 0 && self.wrong.is_empty()
    }
}

/// Each mail is in the ledger exactly once and routed, with its bytes, its read flag and every step
/// of its story; the mailbox was asked for nothing more than Microsoft allows. A mail may be rebuilt, and
/// marked so, only if something `breaks_bytes`.
pub(crate) async fn judge(
    world: &World,
    delivered: &[Delivered],
    breaks_bytes: bool,
) -> anyhow::Result<Verdict> {
    let mut rows: BTreeMap<String, Vec<Message>> = BTreeMap::new();
    for row in messages::list_after(world.db(), None, 1_000_000).await? {
        rows.entry(row.graph_id.clone()).or_default().push(row);
    }
    let mut verdict = Verdict { mails: delivered.len(), ..Verdict::default() };
    for mail in delivered {
        let mut found = rows.remove(&mail.graph_id).unwrap_or_default();
        let Some(row) = found.pop() else {
            verdict.lost += 1;
            verdict.wrong.push(format!("mail {} to {} is not in the ledger", mail.number, mail.mailbox));
            continue;
        };
        verdict.doubled += found.len();
        let story = trace::list_of_message(world.db(), row.id).await?;
        let mut wrong = Vec::new();
        if row.state != MessageState::Routed {
            wrong.push(format!("stands in {} ({})", row.state, row.reason));
        }
        if row.rebuilt && !breaks_bytes {
            wrong.push("is rebuilt, though its bytes could be had".to_owned());
        }
        if !row.rebuilt && row.sha256.as_deref() != Some(digest(&SHA256, mail.mime.as_bytes()).as_ref()) {
            wrong.push("has other bytes".to_owned());
        }
        if row.touched_at.is_none() {
            wrong.push("is not recorded as marked read".to_owned());
        }
        for step in [Step::Seen, Step::Stored, Step::AfterTaking, Step::Parsed, Step::Threaded] {
            let times = story.iter().filter(|entry| entry.step == step).count();
            if times != 1 {
                wrong.push(format!("has the step {step} {times} times"));
            }
        }
        if !wrong.is_empty() {
            let mut text = format!("mail {} to {} {}\n", mail.number, mail.mailbox, wrong.join(", "));
            for entry in &story {
                let _infallible =
                    writeln!(text, "    {}  {}  {}  {}", entry.at, entry.step, entry.reason, entry.data);
            }
            verdict.wrong.push(text);
        }
    }
    verdict.doubled += rows.values().map(Vec::len).sum::<usize>();
    for (graph_id, _) in rows {
        verdict.wrong.push(format!("the ledger has a mail that nobody delivered: {graph_id}"));
    }
    for address in world.simulator.mailboxes() {
        let unread = world
            .simulator
            .messages(&address)?
            .iter()
            .filter(|mail| mail.folder == "inbox" && !mail.is_read)
            .count();
        if unread > 0 {
            verdict.wrong.push(format!("{unread} mails in {address} are not marked read"));
        }
    }
    let figures = world.simulator.figures();
    verdict.violations = figures.violations;
    if figures.max_in_flight > 4 {
        verdict.wrong.push(format!("{} requests to one mailbox were in flight", figures.max_in_flight));
    }
    Ok(verdict)
}
