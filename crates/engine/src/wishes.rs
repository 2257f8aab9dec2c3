//! What an administrator asks of one mailbox: to leave it alone, to follow it again,
//! to look at everything anew.
//!
//! Called by the commands. The wish is written to the store; the node that follows
//! the mailbox hears of it within a second, or heeds it when it starts. No other
//! mailbox is touched.

use postroom_model::{MailboxId, organization::Kind};
use postroom_store::{DbError, Unit, feed::Topic, mailboxes, mailboxes::Mailbox};

use crate::Engine;

/// What is asked of a mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// Nothing is asked of Microsoft for it; what is announced waits, replies too.
    Pause,
    /// It is followed again.
    Resume,
    /// Its folders are read from their beginning, its subscriptions made anew; what is
    /// known stays known, and no mail is taken twice.
    Resync,
}

/// A wish was not written.
#[derive(Debug, thiserror::Error)]
pub enum WishError {
    /// No connected mailbox has this address.
    #[error("no mailbox is connected as {address}; there are: {known}")]
    Unknown {
        /// What was asked for.
        address: String,
        /// The addresses there are, with commas between.
        known: String,
    },
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] DbError),
}

impl Engine {
    /// Writes a wish. Gives false if it was so already.
    ///
    /// # Errors
    /// When there is no such mailbox, or the store fails.
    pub async fn ask_of_mailbox(&self, address: &str, wish: Wish) -> Result<bool, WishError> {
        let all = mailboxes::list(&self.store().db).await?;
        let Some(mailbox) = all.iter().find(|mailbox| mailbox.address.eq_ignore_ascii_case(address)) else {
            let known: Vec<_> = all.iter().map(|mailbox| mailbox.address.as_str()).collect();
            return Err(WishError::Unknown { address: address.to_owned(), known: known.join(", ") });
        };
        Ok(self.write(mailbox, wish).await?)
    }

    async fn write(&self, mailbox: &Mailbox, wish: Wish) -> Result<bool, DbError> {
        let (now, id): (_, MailboxId) = (self.now(), mailbox.id);
        let stmt = match wish {
            Wish::Pause => mailboxes::record_paused(id, now),
            Wish::Resume => mailboxes::record_resumed(id),
            Wish::Resync => mailboxes::record_resync_asked(id, now),
        };
        let mut unit = Unit::new().with(stmt);
        unit.changed(now, Topic::Organization, Kind::Mailbox);
        self.store().commit_guarded(unit).await
    }
}
