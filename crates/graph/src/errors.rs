//! Why a call did not succeed, in the words that decide what happens next.
//!
//! [`GraphError::kind`] is the whole vocabulary for callers: whether the item,
//! the mailbox or everything is concerned, and until when. Rule kept: no text
//! here holds an address, a token or a mail's content.

use std::time::Duration;

use jiff::Timestamp;

use crate::{
    answer::Answer,
    lane::{ParkReason, Parked},
    requests::Operation,
    token::TokenError,
    transport::TransportError,
};

/// What an error means for the next try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GraphErrorKind {
    /// The item is not there (any more, or yet: replicas lag).
    Gone,
    /// The delta track is forgotten; the folder is to be read from its start.
    SyncStateLost,
    /// Graph asked for patience; nothing was done.
    Throttled {
        /// When to come back.
        until: Timestamp,
    },
    /// Not asked at all: the mailbox's lane rests.
    Parked {
        /// When to come back.
        until: Timestamp,
    },
    /// The token is not accepted, a new one neither.
    Unauthorized,
    /// The application may not act on this mailbox.
    OutOfScope,
    /// There is no such mailbox in Exchange Online.
    MailboxMissing,
    /// Graph or this mailbox does not work at present; not the item's fault.
    Outage,
    /// No word on whether it was done: a time-out, a broken connection or an
    /// error of Graph's own, on a lane that otherwise works.
    Unknown,
    /// The item can't be had this way: Graph refuses its bytes, or has an error of its own with this request
    /// again while it answers others about the same item, and the mailbox has not failed otherwise for five
    /// minutes.
    ItemBroken,
    /// This request will not succeed as it is.
    Refused,
    /// The answer can't be understood.
    Malformed,
    /// Entra ID gives no token.
    Token,
}

/// A call did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum GraphError {
    /// See [`GraphErrorKind::Gone`].
    #[error("the item is not there: {0}")]
    Gone(Box<Answer>),
    /// See [`GraphErrorKind::SyncStateLost`].
    #[error("Graph forgot the folder's delta track, it is read anew: {0}")]
    SyncStateLost(Box<Answer>),
    /// The link at which the delta track goes on leads away from Graph: see [`GraphErrorKind::SyncStateLost`].
    #[error("the folder's delta track can't be followed, it is read anew: {reason}")]
    TrackElsewhere {
        /// What is wrong with the link.
        reason: String,
    },
    /// See [`GraphErrorKind::Throttled`].
    #[error("Graph asks to wait until {until}: {answer}")]
    Throttled {
        /// When to come back.
        until: Timestamp,
        /// What Graph said.
        answer: Box<Answer>,
    },
    /// See [`GraphErrorKind::Parked`].
    #[error("the mailbox is left alone until {until}: {reason}", until = .0.until, reason = .0.reason)]
    Parked(Parked),
    /// See [`GraphErrorKind::Unauthorized`].
    #[error("Graph does not accept the access token, check the application's consent: {0}")]
    Unauthorized(Box<Answer>),
    /// See [`GraphErrorKind::OutOfScope`].
    #[error("the application may not do this, check its permissions and its access policy: {0}")]
    OutOfScope(Box<Answer>),
    /// See [`GraphErrorKind::MailboxMissing`].
    #[error("there is no such mailbox in Exchange Online, check address and licence: {0}")]
    MailboxMissing(Box<Answer>),
    /// See [`GraphErrorKind::Outage`].
    #[error("Graph does not work for this mailbox at present")]
    Outage(#[source] Failure),
    /// See [`GraphErrorKind::Unknown`].
    #[error("Graph did not say whether it was done")]
    Unknown(#[source] Failure),
    /// See [`GraphErrorKind::ItemBroken`].
    #[error("Graph fails at this item, and only at it: {0}")]
    ItemBroken(Box<Answer>),
    /// See [`GraphErrorKind::Refused`].
    #[error("Graph refused: {0}")]
    Refused(Box<Answer>),
    /// See [`GraphErrorKind::Malformed`].
    #[error("the answer to {operation} can't be understood: {reason}")]
    Malformed {
        /// What was asked.
        operation: Operation,
        /// What is wrong with the answer.
        reason: String,
    },
    /// See [`GraphErrorKind::Token`].
    #[error(transparent)]
    Token(#[from] TokenError),
}

/// A request without a considered answer.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The time allowed is over.
    #[error("no complete answer to {operation} within {} s", .patience.as_secs())]
    TimedOut {
        /// What was asked.
        operation: Operation,
        /// The time allowed.
        patience: Duration,
    },
    /// The answer began and then stopped.
    #[error("nothing more of the answer to {operation} came for {} s", .patience.as_secs())]
    Silent {
        /// What was asked.
        operation: Operation,
        /// The time allowed without a byte.
        patience: Duration,
    },
    /// The connection failed.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// Graph, or something before it, answered with an error of its own.
    #[error("{0}")]
    Answered(Box<Answer>),
}

impl GraphError {
    /// Whether no answer came in time, to us or to the gateway before Graph: less may be asked for at once.
    pub fn is_too_slow(&self) -> bool {
        match self {
            Self::Outage(failure) | Self::Unknown(failure) => match failure {
                Failure::TimedOut { .. } | Failure::Silent { .. } => true,
                Failure::Answered(answer) => answer.status == 504,
                Failure::Transport(_) => false,
            },
            _ => false,
        }
    }

    /// Whether Graph lets us read the mailbox, and refused what needs more than that.
    pub fn is_of_one_right(&self) -> bool {
        match self {
            Self::OutOfScope(answer) => answer.operation.right().is_some(),
            Self::Parked(parked) => parked.reason == ParkReason::NotAllowed,
            _ => false,
        }
    }

    /// What the error means for the next try.
    pub fn kind(&self) -> GraphErrorKind {
        match self {
            Self::Gone(_) => GraphErrorKind::Gone,
            Self::SyncStateLost(_) | Self::TrackElsewhere { .. } => GraphErrorKind::SyncStateLost,
            Self::Throttled { until, .. } => GraphErrorKind::Throttled { until: *until },
            Self::Parked(Parked { until, .. }) => GraphErrorKind::Parked { until: *until },
            Self::Unauthorized(_) => GraphErrorKind::Unauthorized,
            Self::OutOfScope(_) => GraphErrorKind::OutOfScope,
            Self::MailboxMissing(_) => GraphErrorKind::MailboxMissing,
            Self::Outage(_) => GraphErrorKind::Outage,
            Self::Unknown(_) => GraphErrorKind::Unknown,
            Self::ItemBroken(_) => GraphErrorKind::ItemBroken,
            Self::Refused(_) => GraphErrorKind::Refused,
            Self::Malformed { .. } => GraphErrorKind::Malformed,
            Self::Token(_) => GraphErrorKind::Token,
        }
    }

    /// What Graph said, if it said anything.
    pub fn answer(&self) -> Option<&Answer> {
        match self {
            Self::Gone(answer)
            | Self::SyncStateLost(answer)
            | Self::Throttled { answer, .. }
            | Self::Unauthorized(answer)
            | Self::OutOfScope(answer)
            | Self::MailboxMissing(answer)
            | Self::ItemBroken(answer)
            | Self::Refused(answer)
            | Self::Outage(Failure::Answered(answer))
            | Self::Unknown(Failure::Answered(answer)) => Some(answer),
            Self::Parked(_)
            | Self::Outage(_)
            | Self::Unknown(_)
            | Self::TrackElsewhere { .. }
            | Self::Malformed { .. }
            | Self::Token(_) => None,
        }
    }
}
