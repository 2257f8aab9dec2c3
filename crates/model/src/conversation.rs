//! The states of a conversation and of an offer, and what may follow what.

use crate::words::words;

words! {
    /// Where a conversation stands.
    pub enum ConversationState {
        /// In its queue, for an agent.
        Waiting = "waiting",
        /// Shown to an agent, who has not answered yet.
        Alerting = "alerting",
        /// With an agent. Sending a reply does not end this.
        Connected = "connected",
        /// Wrapped up. A customer's answer opens it again.
        Closed = "closed",
    }
}

impl ConversationState {
    /// What a new mail of the customer makes of it: a closed conversation waits
    /// again, any other stays where it is.
    pub const fn when_customer_writes(self) -> ConversationState {
        match self {
            ConversationState::Closed => ConversationState::Waiting,
            other => other,
        }
    }
}

words! {
    /// How an offer to an agent ended, or that it has not.
    pub enum OfferState {
        /// The agent is being alerted.
        Open = "open",
        /// The agent took it.
        Accepted = "accepted",
        /// The agent refused it.
        Declined = "declined",
        /// The alerting time went by.
        TimedOut = "timed_out",
        /// It was taken back (the agent signed out, the conversation went elsewhere).
        Withdrawn = "withdrawn",
    }
}

words! {
    /// Which way a mail of a conversation went.
    pub enum Direction {
        /// From the customer.
        Inbound = "inbound",
        /// To the customer.
        Outbound = "outbound",
    }
}
