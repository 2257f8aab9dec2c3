//! Identifiers of every noun: sortable (UUID version 7), typed, and printed with
//! the noun's prefix, so that an id in a log tells what it is.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

/// An id was written in a form that is not `prefix_` and 32 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" is not an id of the form {prefix}_ followed by 32 hexadecimal digits")]
pub struct BadId {
    /// What was given.
    pub text: String,
    /// The prefix that was expected.
    pub prefix: &'static str,
}

macro_rules! ids {
    ($($(#[$meta:meta])* $name:ident, $prefix:literal;)*) => {
        $(
            $(#[$meta])*
            #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
            pub struct $name(Uuid);

            impl $name {
                /// What stands before the underscore when this id is printed.
                pub const PREFIX: &'static str = $prefix;

                /// Wraps a UUID that was made by [`crate::Entropy::uuid`] or read back from the store.
                pub const fn from_uuid(uuid: Uuid) -> Self {
                    Self(uuid)
                }

                /// The UUID inside, as the store keeps it.
                pub const fn uuid(self) -> Uuid {
                    self.0
                }
            }

            impl fmt::Display for $name {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    write!(f, "{}_{}", $prefix, self.0.simple())
                }
            }

            impl fmt::Debug for $name {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    fmt::Display::fmt(self, f)
                }
            }

            impl FromStr for $name {
                type Err = BadId;

                fn from_str(text: &str) -> Result<Self, BadId> {
                    text.strip_prefix($prefix)
                        .and_then(|rest| rest.strip_prefix('_'))
                        .filter(|hex| hex.len() == 32)
                        .and_then(|hex| Uuid::try_parse(hex).ok())
                        .map(Self)
                        .ok_or_else(|| BadId { text: text.to_owned(), prefix: $prefix })
                }
            }

            impl Serialize for $name {
                fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                    serializer.collect_str(self)
                }
            }

            impl<'de> Deserialize<'de> for $name {
                fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                    let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                    text.parse().map_err(serde::de::Error::custom)
                }
            }
        )*

        /// Calls the given macro with the list of all id types, for code that must
        /// be written once for each of them (the store's value mapping).
        #[macro_export]
        macro_rules! each_id {
            ($callback:ident) => { $callback! { $($name)* } };
        }
    };
}

ids! {
    /// Credentials and settings for one Microsoft tenant.
    IntegrationId, "int";
    /// A connected mailbox.
    MailboxId, "mbx";
    /// A watched folder of a mailbox.
    FolderId, "fld";
    /// A change-notification subscription of one folder, as we keep it.
    SubscriptionId, "sub";
    /// An inbound domain.
    DomainId, "dom";
    /// An inbound route: one of our addresses and where its mail goes.
    RouteId, "rte";
    /// A queue.
    QueueId, "que";
    /// A skill.
    SkillId, "skl";
    /// A person who signs in: agent, supervisor or administrator.
    UserId, "usr";
    /// One message of the ledger, taken in from a mailbox.
    MessageId, "msg";
    /// A conversation with one outside party.
    ConversationId, "cnv";
    /// A conversation shown to one agent, waiting for an answer.
    OfferId, "ofr";
    /// A mail on its way out.
    OutgoingId, "out";
    /// A browser session.
    SessionId, "ses";
    /// One running process of Postroom.
    NodeId, "nod";
    /// A job.
    JobId, "job";
    /// A sealed object.
    BlobId, "blb";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_what_it_printed_and_refuses_another_noun() {
        let id = MessageId::from_uuid(Uuid::from_u128(7));
        assert_eq!(id.to_string(), "msg_00000000000000000000000000000007");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!(id.to_string().parse::<QueueId>().is_err());
        assert!("msg_7".parse::<MessageId>().is_err());
    }
}
