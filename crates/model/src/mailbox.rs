//! What can be said of a connected mailbox: which mails it gives, what happens to
//! them afterwards, and how it feels.

use serde::{Deserialize, Serialize};

use crate::{Timestamp, words::words};

words! {
    /// What is done to a mail in its mailbox once its bytes are ours.
    pub enum AfterTaking {
        /// It is marked read.
        MarkRead = "mark-read",
        /// It is left as it is.
        Nothing = "nothing",
    }
}

/// From when on mails are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TakeFrom {
    /// From the moment the mailbox was first connected.
    Activation,
    /// From this date on.
    Date(Timestamp),
}

words! {
    /// One word for how a mailbox is.
    pub enum MailboxHealth {
        /// Not connected yet.
        Connecting = "connecting",
        /// Mails come.
        Healthy = "healthy",
        /// It waits because Microsoft asked us to be slower.
        Throttled = "throttled",
        /// Something is wrong; what, stands beside it.
        Failing = "failing",
        /// Somebody paused it.
        Paused = "paused",
    }
}
