//! The kinds of requests, what each may cost, and how many were made.
//!
//! `wire` counts, [`Graph::requests`](crate::Graph::requests) reads. Rule kept:
//! a kind is one word with bounded variety, fit for a metric's label.

use std::{
    collections::BTreeMap,
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crate::lane::Right;

macro_rules! operations {
    ($($(#[$meta:meta])* $variant:ident = $word:literal,)*) => {
        /// One kind of request.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Operation { $($(#[$meta])* $variant,)* }

        impl Operation {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The word for this kind, in metrics and logs.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }
    };
}

operations! {
    /// Asking Entra ID for an access token.
    Token = "token",
    /// The MIME bytes of a message.
    MessageBytes = "message_bytes",
    /// A few properties of a message.
    MessageMeta = "message_meta",
    /// A message's content as JSON, where its MIME bytes can't be had.
    MessageContent = "message_content",
    /// A page of a message's attachments.
    ListAttachments = "list_attachments",
    /// The bytes of an attachment.
    AttachmentBytes = "attachment_bytes",
    /// Setting the read flag.
    MarkRead = "mark_read",
    /// Reading and setting the categories.
    Categorize = "categorize",
    /// A message moved to another folder.
    Move = "move",
    /// A folder looked for by its display name.
    FindFolder = "find_folder",
    /// A folder made.
    CreateFolder = "create_folder",
    /// A folder by name or id.
    Folder = "folder",
    /// A page of a folder's changes.
    Delta = "delta",
    /// A page of ids by received date.
    ListIds = "list_ids",
    /// A reply draft made by Graph.
    CreateReply = "create_reply",
    /// A draft made from nothing.
    CreateDraft = "create_draft",
    /// Content put into a draft.
    UpdateDraft = "update_draft",
    /// A draft sent.
    SendDraft = "send_draft",
    /// A message looked for by our marker.
    FindMarked = "find_marked",
    /// Mails looked for by an administrator.
    FindMails = "find_mails",
    /// The kind of a mailbox.
    MailboxSettings = "mailbox_settings",
    /// A message removed.
    DeleteMessage = "delete_message",
    /// An address of our own, asked from outside.
    OwnAddress = "own_address",
    /// A subscription made.
    CreateSubscription = "create_subscription",
    /// A subscription's end moved.
    RenewSubscription = "renew_subscription",
    /// A subscription by id.
    FindSubscription = "find_subscription",
    /// A page of all subscriptions.
    ListSubscriptions = "list_subscriptions",
    /// A subscription removed.
    DeleteSubscription = "delete_subscription",
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Operation {
    /// Whether doing it a second time would do it twice.
    pub(crate) const fn once_only(self) -> bool {
        matches!(self, Self::CreateReply | Self::CreateDraft | Self::SendDraft | Self::CreateSubscription)
    }

    /// Whether it concerns subscriptions, not a mailbox.
    pub(crate) const fn on_subscription(self) -> bool {
        matches!(
            self,
            Self::CreateSubscription
                | Self::RenewSubscription
                | Self::FindSubscription
                | Self::ListSubscriptions
                | Self::DeleteSubscription
        )
    }

    /// What it needs beyond reading. Removing is the doctor's, who asks for everything whatever was refused.
    pub(crate) const fn right(self) -> Option<Right> {
        match self {
            Self::MarkRead
            | Self::Categorize
            | Self::Move
            | Self::CreateFolder
            | Self::CreateReply
            | Self::CreateDraft
            | Self::UpdateDraft => Some(Right::Write),
            Self::SendDraft => Some(Right::Send),
            _ => None,
        }
    }

    /// How long the whole answer may take; of a streamed one, how long it may take to begin.
    /// Exchange makes MIME anew for each request, which takes tens of seconds for a large mail.
    pub(crate) const fn patience(self) -> Duration {
        Duration::from_secs(match self {
            Self::Token => 30,
            Self::MessageBytes | Self::AttachmentBytes => 120,
            _ => 60,
        })
    }
}

/// How many requests were made, of each kind.
#[derive(Default)]
pub(crate) struct Requests([AtomicU64; Operation::ALL.len()]);

impl Requests {
    pub(crate) fn count(&self, operation: Operation) {
        self.0[operation as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn view(&self) -> BTreeMap<&'static str, u64> {
        Operation::ALL.iter().map(|o| (o.as_str(), self.0[*o as usize].load(Ordering::Relaxed))).collect()
    }
}
