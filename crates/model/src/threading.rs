//! Whether a mail joins a conversation: by what its headers name, and only if
//! its sender already takes part.
//!
//! Anyone can write anything into In-Reply-To. Joining on the header alone would
//! show one customer's conversation to another, so the sender must have appeared
//! there as From, To or Cc; otherwise a new conversation starts, linked to the
//! one that was named.

use std::collections::BTreeSet;

use crate::{ConversationId, EmailAddress, ledger::Reason};

/// What the decision needs of the mail.
#[derive(Debug, Clone)]
pub struct Incoming {
    /// Who wrote it, if that can be told.
    pub sender: Option<EmailAddress>,
    /// Its own Message-ID.
    pub message_id: Option<String>,
    /// Whether it is the very mail, content and all, that bears its Message-ID already.
    pub is_copy: bool,
    /// Message-IDs it names: In-Reply-To first, then References from the newest.
    pub references: Vec<String>,
}

/// A conversation that holds a mail whose Message-ID the incoming one names.
#[derive(Debug, Clone)]
pub struct Known {
    /// The Message-ID by which it was found.
    pub message_id: String,
    /// The conversation.
    pub conversation: ConversationId,
    /// Everyone who appeared in it as From, To or Cc.
    pub participants: BTreeSet<EmailAddress>,
}

/// Where the mail goes, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Threading {
    /// Into this conversation.
    Join(ConversationId, Reason),
    /// Into a new one, linked to another if it named one that it may not join.
    New {
        /// The conversation it named.
        linked: Option<ConversationId>,
        /// Why it did not join.
        reason: Reason,
    },
}

/// Decides for one mail, given every conversation that its headers lead to.
pub fn decide(incoming: &Incoming, known: &[Known]) -> Threading {
    let may_join = |k: &&Known| may_join(incoming, k);
    let find = |id: &String| known.iter().filter(|k| k.message_id == *id).collect::<Vec<_>>();

    if let Some(namesake) = find_namesake(incoming, known) {
        let reason = if incoming.is_copy { Reason::SameMail } else { Reason::MessageIdReused };
        return Threading::Join(namesake.conversation, reason);
    }
    if let Some(found) = incoming.references.iter().flat_map(find).find(may_join) {
        return Threading::Join(found.conversation, Reason::ThreadJoined);
    }
    let linked = incoming.references.iter().flat_map(find).next().map(|k| k.conversation);
    let reason = match linked {
        Some(_) => Reason::SenderNotInConversation,
        None if incoming.references.is_empty() => Reason::NoReferences,
        None => Reason::UnknownReferences,
    };
    Threading::New { linked, reason }
}

/// The conversation that the mail may join because it holds a mail with the same Message-ID.
pub fn find_namesake<'a>(incoming: &Incoming, known: &'a [Known]) -> Option<&'a Known> {
    let own = incoming.message_id.as_ref()?;
    known.iter().find(|k| k.message_id == *own && may_join(incoming, k))
}

fn may_join(incoming: &Incoming, known: &Known) -> bool {
    incoming.sender.as_ref().is_some_and(|sender| known.participants.contains(sender))
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn conversation(n: u128) -> ConversationId {
        ConversationId::from_uuid(Uuid::from_u128(n))
    }

    fn known(id: &str, n: u128, who: &[&str]) -> Known {
        Known {
            message_id: id.into(),
            conversation: conversation(n),
            participants: who.iter().map(|a| a.parse().unwrap()).collect(),
        }
    }

    fn mail(sender: &str, references: &[&str]) -> Incoming {
        Incoming {
            sender: sender.parse().ok(),
            message_id: Some("new@x".into()),
            is_copy: false,
            references: references.iter().map(|r| (*r).to_owned()).collect(),
        }
    }

    #[test]
    fn a_participant_who_names_a_mail_of_the_conversation_joins_it() {
        let decision = decide(&mail("ann@x.example", &["a@x"]), &[known("a@x", 1, &["ann@x.example"])]);
        assert_eq!(decision, Threading::Join(conversation(1), Reason::ThreadJoined));
    }

    #[test]
    fn a_stranger_never_joins_but_is_linked() {
        let decision = decide(&mail("eve@x.example", &["a@x"]), &[known("a@x", 1, &["ann@x.example"])]);
        let reason = Reason::SenderNotInConversation;
        assert_eq!(decision, Threading::New { linked: Some(conversation(1)), reason });
    }

    #[test]
    fn a_mail_without_a_readable_sender_never_joins() {
        let decision = decide(&mail("", &["a@x"]), &[known("a@x", 1, &["ann@x.example"])]);
        assert!(matches!(decision, Threading::New { .. }));
    }

    #[test]
    fn an_older_reference_is_used_when_the_newest_is_unknown() {
        let decision =
            decide(&mail("ann@x.example", &["lost@x", "a@x"]), &[known("a@x", 1, &["ann@x.example"])]);
        assert_eq!(decision, Threading::Join(conversation(1), Reason::ThreadJoined));
    }

    #[test]
    fn the_copy_in_a_second_mailbox_joins_the_first() {
        let copy = Incoming { is_copy: true, ..mail("ann@x.example", &[]) };
        let decision = decide(&copy, &[known("new@x", 4, &["ann@x.example"])]);
        assert_eq!(decision, Threading::Join(conversation(4), Reason::SameMail));
    }

    #[test]
    fn another_mail_under_the_same_message_id_is_not_passed_over_as_a_copy() {
        let decision = decide(&mail("ann@x.example", &[]), &[known("new@x", 4, &["ann@x.example"])]);
        assert_eq!(decision, Threading::Join(conversation(4), Reason::MessageIdReused));
    }
}
