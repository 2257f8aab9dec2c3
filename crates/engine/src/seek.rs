//! "Read in the mailbox, but not in the centre": looks for a mail in the ledger and, when asked
//! to, in the mailboxes themselves, and says why it was not taken.
//!
//! Called by the trace page. Rule kept: a mailbox that can't be asked is named, never left out.

use postroom_graph::{MessageMeta, Sought};
use postroom_model::{
    Timestamp,
    ledger::{NotTaken, Untaken},
    mailbox::MailboxHealth,
};
use postroom_store::{
    DbError, folders,
    mailboxes::Mailbox,
    messages::{self, Filter, Message},
};

use crate::{Engine, in_full, jobs::JobError};

/// As many messages of the ledger are listed.
const LISTED: u32 = 50;
/// As many mailboxes are asked at a time; of more than these one is to be chosen.
const ASKED: usize = 20;

/// A mail that lies in a mailbox and is not in the ledger.
#[derive(Debug, Clone)]
pub struct Sighting {
    /// The mailbox.
    pub mailbox: String,
    /// When it was received.
    pub received_at: Option<Timestamp>,
    /// Its subject.
    pub subject: String,
    /// Whether it is marked read.
    pub is_read: bool,
    /// Why it was not taken.
    pub why: NotTaken,
}

/// What was found.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Messages of the ledger, newest first.
    pub taken: Vec<Message>,
    /// Mails that lie in a mailbox and were not taken.
    pub untaken: Vec<Sighting>,
    /// Mailboxes that could not be asked, and why.
    pub silent: Vec<(String, String)>,
    /// How many mailboxes were not asked, because there are too many.
    pub unasked: usize,
}

impl Engine {
    /// Looks for a mail by Message-ID, sender or a part of its subject: in the ledger, and in the
    /// mailboxes named in `ask`.
    ///
    /// # Errors
    /// When the store can't be read.
    pub async fn seek(&self, text: &str, ask: &[Mailbox]) -> Result<Seen, DbError> {
        let bare = text.trim().trim_start_matches('<').trim_end_matches('>');
        let filter = Filter { state: None, text: Some(bare.to_owned()), before: None };
        let mut seen = Seen {
            taken: messages::list_page(&self.store().db, &filter, LISTED).await?,
            unasked: ask.len().saturating_sub(ASKED),
            ..Seen::default()
        };
        for mailbox in ask.iter().take(ASKED) {
            match self.find_in(mailbox, bare, text.contains('<')).await {
                Ok(found) => {
                    for mail in found {
                        self.place(mailbox, mail, &mut seen).await?;
                    }
                }
                Err(error) => seen.silent.push((mailbox.address.clone(), in_full(&error))),
            }
        }
        Ok(seen)
    }

    async fn find_in(
        &self,
        mailbox: &Mailbox,
        text: &str,
        is_id: bool,
    ) -> Result<Vec<MessageMeta>, JobError> {
        let lane = self.mailbox(mailbox).await?;
        if !text.contains('@') {
            return Ok(lane.find_mails(Sought::Subject(text)).await?);
        }
        let mut found = lane.find_mails(Sought::MessageId(text)).await?;
        if found.is_empty() && !is_id {
            found = lane.find_mails(Sought::Sender(text)).await?;
        }
        Ok(found)
    }

    /// Puts a mail that lies in a mailbox where it belongs.
    async fn place(&self, mailbox: &Mailbox, mail: MessageMeta, seen: &mut Seen) -> Result<(), DbError> {
        let db = &self.store().db;
        if let Some(message) = messages::find_by_graph_id(db, mailbox.id, &mail.id).await? {
            if !seen.taken.iter().any(|taken| taken.id == message.id) {
                seen.taken.push(message);
            }
            return Ok(());
        }
        let watched = folders::list_of_mailbox(db, mailbox.id).await?;
        let takes_from = mailbox.takes_from();
        let untaken = Untaken {
            is_paused: mailbox.paused_at.is_some(),
            is_failing: mailbox.health == MailboxHealth::Failing,
            is_draft: mail.is_draft,
            is_watched: watched.iter().any(|folder| folder.graph_id == mail.parent_folder_id),
            is_older: mail.received_at.zip(takes_from).is_some_and(|(at, from)| at < from),
        };
        seen.untaken.push(Sighting {
            mailbox: mailbox.address.clone(),
            received_at: mail.received_at,
            subject: mail.subject.unwrap_or_default(),
            is_read: mail.is_read,
            why: untaken.why(),
        });
        Ok(())
    }
}
