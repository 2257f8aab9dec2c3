//! The ledger: where one message stands, and the story of how it came there.
//!
//! Every message that arrives in a watched folder is in the ledger exactly once
//! and always in one of these states, with a reason (design invariant 1).

use crate::words::words;

words! {
    /// Where a message stands.
    pub enum MessageState {
        /// Announced or found; its bytes are not ours yet.
        Seen = "seen",
        /// Its bytes are sealed and durable.
        Stored = "stored",
        /// It could not go its way and waits for a person or a change; the reason says for what.
        Held = "held",
        /// It is in a conversation.
        Routed = "routed",
        /// It left the mailbox before we could read it.
        Gone = "gone",
        /// It is not a customer's mail (a draft, our own probe).
        Ignored = "ignored",
        /// A person decided that it goes nowhere.
        Discarded = "discarded",
    }
}

impl MessageState {
    /// The states that may follow this one.
    pub const fn next(self) -> &'static [MessageState] {
        use MessageState::{Discarded, Gone, Held, Ignored, Routed, Seen, Stored};
        match self {
            Seen => &[Stored, Held, Gone, Ignored],
            Stored => &[Routed, Held, Ignored],
            Held => &[Stored, Routed, Gone, Ignored, Discarded],
            // The delta query or the sweep may show it again.
            Gone => &[Seen],
            Routed | Ignored | Discarded => &[],
        }
    }

    /// Whether nothing follows by itself.
    pub const fn is_final(self) -> bool {
        matches!(
            self,
            MessageState::Routed | MessageState::Gone | MessageState::Ignored | MessageState::Discarded
        )
    }
}

words! {
    /// Why a message stands where it stands, or why a step went as it did.
    pub enum Reason {
        /// Microsoft announced it.
        Notified = "notified",
        /// The delta query found it.
        FoundByDelta = "found_by_delta",
        /// The sweep over received dates found it.
        FoundBySweep = "found_by_sweep",
        /// Its bytes came as Graph's `$value` gave them.
        BytesAsGiven = "bytes_as_given",
        /// Graph could not give its bytes; they were put together from its properties and attachments.
        Rebuilt = "rebuilt",
        /// It joined a conversation that its headers name and its sender takes part in.
        ThreadJoined = "thread_joined",
        /// The same mail is in the conversation already (another mailbox got a copy, or it was delivered twice).
        SameMail = "same_mail",
        /// It bears the Message-ID of another mail of the conversation and says something else.
        MessageIdReused = "message_id_reused",
        /// It names no earlier mail.
        NoReferences = "no_references",
        /// It names earlier mails, but none that we know.
        UnknownReferences = "unknown_references",
        /// It names a mail of a conversation in which its sender never appeared.
        SenderNotInConversation = "sender_not_in_conversation",
        /// A route's address was among its recipients.
        RouteByRecipient = "route_by_recipient",
        /// A route's address was in a delivery header.
        RouteByDelivery = "route_by_delivery",
        /// No address of ours was named; the mailbox's own route took it.
        RouteByMailbox = "route_by_mailbox",
        /// No route is declared for any address it came to.
        NoRoute = "no_route",
        /// It is a draft.
        Draft = "draft",
        /// The doctor made it to see it announced.
        Probe = "probe",
        /// It arrived before the time from which mails of its mailbox are taken; somebody moved it here.
        Older = "older",
        /// It is no longer in the mailbox.
        NotInMailbox = "not_in_mailbox",
        /// It failed by itself too often.
        TooManyTries = "too_many_tries",
        /// Its stored bytes can't be opened.
        CannotOpen = "cannot_open",
        /// A person opened it in the mailbox first, and the mailbox is set to leave such mails to them.
        OpenedByPerson = "opened_by_person",
        /// The mailbox is set to leave mails untouched.
        LeftUntouched = "left_untouched",
        /// Done as asked.
        Done = "done",
        /// A person did it.
        ByPerson = "by_person",
        /// Nobody answered in the alerting time.
        AlertingTimedOut = "alerting_timed_out",
        /// The customer wrote again.
        CustomerWrote = "customer_wrote",
        /// Our own marker was found in Sent Items.
        FoundInSentItems = "found_in_sent_items",
        /// Whether it left can't be known.
        OutcomeUnknown = "outcome_unknown",
        /// Microsoft refused it.
        Refused = "refused",
        /// It was tried again after something outside failed.
        Retried = "retried",
        /// A machine wrote it (out of office, delivery report, list).
        Automatic = "automatic",
    }
}

words! {
    /// One step in the life of a message or conversation, as a trace tells it.
    pub enum Step {
        /// The ledger row was made.
        Seen = "seen",
        /// The bytes were stored, sealed.
        Stored = "stored",
        /// The mailbox was told (read flag, category, move).
        AfterTaking = "after_taking",
        /// The mail was read: who, when, which parts, what was odd about it.
        Parsed = "parsed",
        /// A route was chosen among the candidates.
        RouteChosen = "route_chosen",
        /// It was put in a conversation.
        Threaded = "threaded",
        /// The conversation entered its queue.
        Queued = "queued",
        /// An agent was alerted.
        Alerted = "alerted",
        /// The agent accepted.
        Accepted = "accepted",
        /// The conversation went back to its queue.
        Returned = "returned",
        /// A reply was put in the outbox.
        ReplyQueued = "reply_queued",
        /// The reply's draft stands in the mailbox.
        DraftCreated = "draft_created",
        /// The reply left.
        Sent = "sent",
        /// The reply's copy in Sent Items was seen.
        SentConfirmed = "sent_confirmed",
        /// The reply did not leave, or nobody can know.
        SendFailed = "send_failed",
        /// The agent wrapped up.
        WrappedUp = "wrapped_up",
        /// It can't go on by itself.
        Held = "held",
        /// It was let go on.
        Released = "released",
        /// It left the ledger's care for good.
        Ended = "ended",
    }
}

words! {
    /// Why a mail that lies in a mailbox is not in the ledger.
    pub enum NotTaken {
        /// Somebody paused its mailbox.
        Paused = "paused",
        /// It is a draft.
        Draft = "draft",
        /// It lies in a folder that is not watched.
        OtherFolder = "other_folder",
        /// It arrived before the time from which mails are taken.
        Older = "older",
        /// The mailbox can't be read at present.
        Failing = "failing",
        /// Nothing is in its way: the next look finds it.
        OnItsWay = "on_its_way",
    }
}

/// What is known of a mail that is not in the ledger, and of its mailbox.
#[derive(Debug, Clone, Copy)]
pub struct Untaken {
    /// Somebody paused the mailbox.
    pub is_paused: bool,
    /// The mailbox can't be read.
    pub is_failing: bool,
    /// It is a draft.
    pub is_draft: bool,
    /// Its folder is watched.
    pub is_watched: bool,
    /// It arrived before the time from which mails are taken.
    pub is_older: bool,
}

impl Untaken {
    /// The reason that holds first: the others would hold still if it were gone.
    pub fn why(self) -> NotTaken {
        match self {
            Self { is_draft: true, .. } => NotTaken::Draft,
            Self { is_watched: false, .. } => NotTaken::OtherFolder,
            Self { is_older: true, .. } => NotTaken::Older,
            Self { is_paused: true, .. } => NotTaken::Paused,
            Self { is_failing: true, .. } => NotTaken::Failing,
            _ => NotTaken::OnItsWay,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_but_the_final_ones_leads_to_an_end() {
        for state in MessageState::ALL {
            let mut reached = vec![*state];
            let mut grown = true;
            while grown {
                let more: Vec<_> =
                    reached.iter().flat_map(|s| s.next()).filter(|s| !reached.contains(s)).copied().collect();
                grown = !more.is_empty();
                reached.extend(more);
            }
            assert!(reached.iter().any(|s| s.is_final()), "{state} can't end");
        }
    }

    #[test]
    fn a_message_is_never_routed_before_its_bytes_are_stored() {
        assert!(!MessageState::Seen.next().contains(&MessageState::Routed));
    }

    #[test]
    fn words_read_back() {
        for reason in Reason::ALL {
            assert_eq!(reason.as_str().parse(), Ok(*reason));
        }
        assert!("nonsense".parse::<Step>().is_err());
    }
}
