//! What can be said of a connected mailbox: which mails it gives, what happens to
//! them afterwards, and how it feels.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{Timestamp, words::words};

/// What is done to a mail in its mailbox once its bytes are ours. Written as
/// `mark-read`, `nothing`, `category:NAME` or `move:FOLDER`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AfterTaking {
    /// It is marked read.
    MarkRead,
    /// It is left as it is.
    Nothing,
    /// It gets a category, beside those it has.
    Category(String),
    /// It is moved to a folder: a well-known name, or a path such as `Inbox/Done`.
    Move(String),
}

/// It is not a thing to do after taking.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("write mark-read, nothing, category:NAME or move:FOLDER (such as move:Inbox/Done), not \"{0}\"")]
pub struct UnknownAfterTaking(String);

impl fmt::Display for AfterTaking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MarkRead => f.write_str("mark-read"),
            Self::Nothing => f.write_str("nothing"),
            Self::Category(name) => write!(f, "category:{name}"),
            Self::Move(folder) => write!(f, "move:{folder}"),
        }
    }
}

impl FromStr for AfterTaking {
    type Err = UnknownAfterTaking;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown = || UnknownAfterTaking(text.to_owned());
        match text {
            "mark-read" => return Ok(Self::MarkRead),
            "nothing" => return Ok(Self::Nothing),
            _ => {}
        }
        let (what, name) = text.split_once(':').ok_or_else(unknown)?;
        let name = name.trim();
        let segments_named = name.split('/').all(|segment| !segment.trim().is_empty());
        match what {
            "category" if !name.is_empty() => Ok(Self::Category(name.to_owned())),
            "move" if segments_named => Ok(Self::Move(name.to_owned())),
            _ => Err(unknown()),
        }
    }
}

words! {
    /// What becomes of a mail that a person opened in the mailbox before it was taken.
    pub enum Opened {
        /// It is taken like any other.
        Take = "take",
        /// It is left to the person: the ledger says so, and nothing else happens.
        Leave = "leave",
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
        /// Mails come, but nothing announces them: they are looked for each minute.
        Polling = "polling",
        /// It waits because Microsoft asked us to be slower.
        Throttled = "throttled",
        /// Something is wrong; what, stands beside it.
        Failing = "failing",
        /// Somebody paused it.
        Paused = "paused",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_after_taking_reads_back_as_it_is_written() {
        for text in ["mark-read", "nothing", "category:Taken by Postroom", "move:Inbox/済み", "move:archive"]
        {
            assert_eq!(text.parse::<AfterTaking>().map(|what| what.to_string()), Ok(text.to_owned()));
        }
        for text in ["", "read", "category:", "move: ", "move:a//b", "delete:now", "mark_read"] {
            assert!(text.parse::<AfterTaking>().is_err(), "{text}");
        }
    }
}
