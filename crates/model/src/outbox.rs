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
    /// A draft carries it.
    InDrafts,
    /// Neither.
    Nowhere,
}

/// What to do with an entry whose last request has an unknown outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovery {
    /// It has left: record it.
    RecordSent,
    /// Go on with the draft that is there. Sending one draft twice sends it
    /// once: the first send takes it out of Drafts.
    ContinueWithDraft,
    /// Nothing was made yet: start again.
    StartAgain,
    /// Look again later: Sent Items lags behind by seconds.
    LookAgain,
    /// Give it to a person.
    DeclareUncertain,
}

/// Decides how to go on after a crash or a lost answer, from the committed
/// `state`, from what the mailbox shows, and from how often it was looked at.
pub fn recover(state: SendState, seen: MarkerSeen, looks: u32, looks_allowed: u32) -> Recovery {
    match (state, seen) {
        (_, MarkerSeen::Taken) => Recovery::RecordSent,
        (_, MarkerSeen::InDrafts) => Recovery::ContinueWithDraft,
        (SendState::Sending, MarkerSeen::Nowhere) if looks < looks_allowed => Recovery::LookAgain,
        (SendState::Sending, MarkerSeen::Nowhere) => Recovery::DeclareUncertain,
        // A draft that is gone before it was sent never left: only `Sending` can have.
        (_, MarkerSeen::Nowhere) => Recovery::StartAgain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_have_left_is_never_sent_again_by_itself() {
        for looks in 0..10 {
            let next = recover(SendState::Sending, MarkerSeen::Nowhere, looks, 4);
            assert!(matches!(next, Recovery::LookAgain | Recovery::DeclareUncertain), "{next:?}");
        }
        assert_eq!(recover(SendState::Sending, MarkerSeen::Nowhere, 4, 4), Recovery::DeclareUncertain);
    }

    #[test]
    fn what_exchange_has_taken_has_left_whatever_we_thought() {
        for state in SendState::ALL {
            assert_eq!(recover(*state, MarkerSeen::Taken, 0, 4), Recovery::RecordSent);
        }
    }

    #[test]
    fn a_draft_is_taken_up_again_instead_of_made_twice() {
        assert_eq!(recover(SendState::Drafting, MarkerSeen::InDrafts, 0, 4), Recovery::ContinueWithDraft);
        assert_eq!(recover(SendState::Drafting, MarkerSeen::Nowhere, 0, 4), Recovery::StartAgain);
    }
}
