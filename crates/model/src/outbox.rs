//! The way of a mail out: the states of an outbox entry and what a retry may do.
//!
//! A mail leaves at most once (design invariant 8). Each state is committed
//! before the request it names is made, so that after a crash the state tells
//! how far the mail can have come; before any repetition our marker is looked up
//! in the mailbox.

use crate::words::words;

words! {
    /// How far a mail on its way out has come.
    pub enum SendState {
        /// Written by the agent, nothing asked of Microsoft yet.
        Queued = "queued",
        /// A draft may exist in the mailbox; its id is not known yet.
        Drafting = "drafting",
        /// The draft's id is stored; it is not complete yet or not sent yet.
        Drafted = "drafted",
        /// The draft is complete and Microsoft was, or is about to be, asked to send it.
        Sending = "sending",
        /// Microsoft took it.
        Sent = "sent",
        /// It may have left; nobody can know. Never sent again by itself.
        Uncertain = "uncertain",
        /// It was refused and did not leave.
        Failed = "failed",
    }
}

impl SendState {
    /// Whether nothing more happens by itself.
    pub const fn is_final(self) -> bool {
        matches!(self, SendState::Sent | SendState::Uncertain | SendState::Failed)
    }
}

/// What a look into Drafts, Outbox and Sent Items for our marker showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MarkerSeen {
    /// A sent item carries it, or one that Exchange has taken and is about to send.
    Taken,
    /// The draft whose id we stored lies in Drafts.
    OwnDraft,
    /// A draft lies in Drafts, but not the one whose id we stored: of a request whose answer was lost.
    OtherDraft,
    /// Nothing carries it.
    Nowhere,
}

/// What to do with an entry whose last request has an unknown outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovery {
    /// It has left: record it.
    RecordSent,
    /// Store this draft's id and go on with it.
    AdoptDraft,
    /// Complete our draft and send it.
    FinishDraft,
    /// Ask again for our draft to be sent, and for nothing else. Sending one draft twice
    /// sends it once: the first send takes it out of Drafts.
    SendAgain,
    /// Nothing was asked to be sent: make a new draft.
    StartAgain,
    /// Look again later: Exchange may still be at work, and Sent Items lags behind by seconds.
    LookAgain,
    /// Give it to a person.
    DeclareUncertain,
}

/// How often a lost draft is looked for before another one is made.
pub const LOOKS_FOR_DRAFT: u32 = 2;
/// How often a sent mail is looked for before nobody can know.
pub const LOOKS_FOR_SENT: u32 = 8;

/// Decides how to go on after a crash or a lost answer, from the committed
/// `state`, from what the mailbox shows, and from how often it was looked at.
///
/// Only the draft whose id was stored when the entry became [`SendState::Sending`] is
/// ever asked to be sent; another one with the marker is left where it lies.
pub fn recover(state: SendState, seen: MarkerSeen, looks: u32) -> Recovery {
    use MarkerSeen::{Nowhere, OtherDraft, OwnDraft, Taken};
    match (state, seen) {
        (_, Taken) => Recovery::RecordSent,
        (SendState::Sending, OwnDraft) => Recovery::SendAgain,
        (SendState::Sending, OtherDraft | Nowhere) if looks < LOOKS_FOR_SENT => Recovery::LookAgain,
        (SendState::Sending, OtherDraft | Nowhere) => Recovery::DeclareUncertain,
        (_, OwnDraft) => Recovery::FinishDraft,
        (_, OtherDraft) => Recovery::AdoptDraft,
        (SendState::Drafting, Nowhere) if looks < LOOKS_FOR_DRAFT => Recovery::LookAgain,
        // A draft that is gone before it was asked to be sent never left.
        (_, Nowhere) => Recovery::StartAgain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEEN: [MarkerSeen; 4] =
        [MarkerSeen::Taken, MarkerSeen::OwnDraft, MarkerSeen::OtherDraft, MarkerSeen::Nowhere];

    #[test]
    fn what_may_have_left_is_never_written_again_by_itself() {
        for looks in 0..2 * LOOKS_FOR_SENT {
            for seen in SEEN {
                let next = recover(SendState::Sending, seen, looks);
                let makes_another =
                    matches!(next, Recovery::StartAgain | Recovery::AdoptDraft | Recovery::FinishDraft);
                assert!(!makes_another, "{seen:?} after {looks} looks: {next:?}");
            }
        }
        let last = recover(SendState::Sending, MarkerSeen::Nowhere, LOOKS_FOR_SENT);
        assert_eq!(last, Recovery::DeclareUncertain);
    }

    #[test]
    fn only_the_draft_that_was_asked_to_be_sent_is_sent_again() {
        assert_eq!(recover(SendState::Sending, MarkerSeen::OwnDraft, 0), Recovery::SendAgain);
        assert_eq!(recover(SendState::Sending, MarkerSeen::OtherDraft, 0), Recovery::LookAgain);
    }

    #[test]
    fn what_exchange_has_taken_has_left_whatever_we_thought() {
        for state in SendState::ALL {
            assert_eq!(recover(*state, MarkerSeen::Taken, 0), Recovery::RecordSent);
        }
    }

    #[test]
    fn a_draft_is_taken_up_again_instead_of_made_twice() {
        assert_eq!(recover(SendState::Drafting, MarkerSeen::OtherDraft, 0), Recovery::AdoptDraft);
        assert_eq!(recover(SendState::Drafting, MarkerSeen::Nowhere, 0), Recovery::LookAgain);
        let late = recover(SendState::Drafting, MarkerSeen::Nowhere, LOOKS_FOR_DRAFT);
        assert_eq!(late, Recovery::StartAgain);
        assert_eq!(recover(SendState::Drafted, MarkerSeen::OwnDraft, 0), Recovery::FinishDraft);
    }
}
