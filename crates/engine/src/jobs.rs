//! The jobs by name, what each carries, and what an error means for the next try.

use std::time::Duration;

use postroom_graph::{GraphError, GraphErrorKind, ParkReason};
use postroom_model::{Entropy, JobId, MailboxId, MessageId, OutgoingId, Timestamp};
use postroom_store::{
    DbError,
    blobs::BlobError,
    content::ContentError,
    jobs::{Job, Lane, NewJob},
};
use serde::{Deserialize, Serialize};

use crate::connections::ConnectError;

/// One piece of work, with the ids it needs and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Work {
    /// Bring the bytes of a mail home.
    Fetch { mailbox: MailboxId, message: MessageId },
    /// Show in the mailbox that the mail is taken.
    #[serde(alias = "mark_read")]
    AfterTaking { mailbox: MailboxId, message: MessageId },
    /// Read a stored mail and put it in a conversation.
    Process { message: MessageId },
    /// Bring an outbox entry on its way.
    Send { mailbox: MailboxId, outgoing: OutgoingId },
    /// Look at the sent copy for its final Message-ID.
    ConfirmSent { mailbox: MailboxId, outgoing: OutgoingId },
}

impl Work {
    const fn name(self) -> &'static str {
        match self {
            Work::Fetch { .. } => "fetch",
            Work::AfterTaking { .. } => "after_taking",
            Work::Process { .. } => "process",
            Work::Send { .. } => "send",
            Work::ConfirmSent { .. } => "confirm_sent",
        }
    }

    const fn lane(self) -> Lane {
        match self {
            Work::Fetch { mailbox, .. }
            | Work::AfterTaking { mailbox, .. }
            | Work::Send { mailbox, .. }
            | Work::ConfirmSent { mailbox, .. } => Lane::Mailbox(mailbox),
            Work::Process { .. } => Lane::Work,
        }
    }

    /// Design invariant 9: send, new mail, delta, mark-read, backlog.
    const fn priority(self) -> u32 {
        match self {
            Work::Send { .. } => 0,
            Work::Fetch { .. } | Work::Process { .. } => 1,
            Work::AfterTaking { .. } => 3,
            Work::ConfirmSent { .. } => 4,
        }
    }

    /// The job for this work, due at `run_at`.
    pub(crate) fn job_at(self, entropy: &Entropy, now: Timestamp, run_at: Timestamp) -> NewJob {
        let subject = match self {
            Work::Fetch { message, .. } | Work::AfterTaking { message, .. } | Work::Process { message } => {
                message.to_string()
            }
            Work::Send { outgoing, .. } | Work::ConfirmSent { outgoing, .. } => outgoing.to_string(),
        };
        NewJob {
            id: JobId::from_uuid(entropy.uuid(now)),
            lane: self.lane(),
            kind: self.name(),
            key: format!("{}/{subject}", self.name()),
            payload: serde_json::to_string(&self).expect("ids are always JSON"),
            priority: self.priority(),
            run_at,
            created_at: now,
        }
    }

    /// The job for this work, due at once.
    pub(crate) fn job(self, entropy: &Entropy, now: Timestamp) -> NewJob {
        self.job_at(entropy, now, now)
    }

    /// Reads the work back from a claimed job.
    pub(crate) fn of(job: &Job) -> Result<Work, JobError> {
        serde_json::from_str(&job.payload).map_err(JobError::Payload)
    }
}

/// Why a job did not do its work this time.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// Microsoft Graph did not do what was asked.
    #[error("Microsoft Graph: {0}")]
    Graph(#[from] GraphError),
    /// The store did not.
    #[error("the store failed")]
    Store(#[from] DbError),
    /// Sealed content could not be written or opened.
    #[error("sealed content failed")]
    Content(#[from] ContentError),
    /// The job's own words can't be read: it was written by another version.
    #[error("the job can't be read; it was written by another version of Postroom")]
    Payload(#[source] serde_json::Error),
    /// The integration can't be connected as it is set.
    #[error("the integration can't be connected")]
    Connect(#[from] ConnectError),
    /// The mailbox is not connected (removed, or its integration is gone).
    #[error("the mailbox is no longer connected")]
    NotConnected,
    /// The mailbox has no such folder.
    #[error(
        "the mailbox has no folder \"{0}\"; make it in the mailbox, or name another in the organisation file \
         (a well-known name such as inbox, or a path such as Inbox/Orders)"
    )]
    NoFolder(String),
    /// Microsoft says that there is a subscription already, and does not let us remove it.
    #[error(
        "a subscription stands in the way that can't be removed; it ends by itself within seven days, and mails \
         are looked for each minute meanwhile"
    )]
    SubscriptionInTheWay,
    /// The work broke off with a panic, which is a fault of ours.
    #[error("Postroom broke over it; please report this with the log of that moment")]
    Panicked,
    /// It was begun again and again and never came to an end.
    #[error(
        "it was begun again and again and never came to an end; look into the log for why the process stopped"
    )]
    Interrupted,
    /// A look that showed nothing; repeated after this long, as often as the work itself allows.
    #[error("nothing was found; it is looked for again")]
    LookAgain(Duration),
    /// The thing is not there yet; looked for again after this long.
    #[error("not there yet")]
    NotYet(Duration),
}

/// When a job is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Retry {
    /// Never: it ends with what `give_up` writes.
    Never,
    /// After its turn in the row of growing waits; the try counts.
    Later,
    /// After exactly this long; the try counts.
    After(Duration),
    /// The whole lane waits until then; the try does not count.
    Park(Option<Timestamp>),
    /// This item alone waits; the try does not count.
    Wait(Duration),
    /// This item alone waits until then; the try does not count.
    Until(Timestamp),
    /// At once: somebody was faster, and the present state is to be read again.
    Again,
}

impl JobError {
    /// What this error means for the next try. Only an item's own errors count
    /// towards *needs attention*; what concerns the mailbox or everything parks
    /// the lane.
    pub(crate) fn retry(&self) -> Retry {
        match self {
            // Whatever needs only to read the mailbox goes on.
            JobError::Graph(GraphError::Parked(parked)) if parked.reason == ParkReason::NotAllowed => {
                Retry::Until(parked.until)
            }
            JobError::Graph(error) if error.is_of_one_right() => Retry::Wait(REFUSED_WAIT),
            JobError::Graph(error) => match error.kind() {
                GraphErrorKind::Throttled { until } | GraphErrorKind::Parked { until } => {
                    Retry::Park(Some(until))
                }
                GraphErrorKind::Unauthorized
                | GraphErrorKind::OutOfScope
                | GraphErrorKind::MailboxMissing
                | GraphErrorKind::Token
                | GraphErrorKind::Outage => Retry::Park(None),
                GraphErrorKind::Refused => Retry::Never,
                GraphErrorKind::Gone
                | GraphErrorKind::SyncStateLost
                | GraphErrorKind::Unknown
                | GraphErrorKind::ItemBroken
                | GraphErrorKind::Malformed => Retry::Later,
            },
            JobError::Store(error) | JobError::Content(ContentError::Db(error)) => of_store(error),
            JobError::Content(ContentError::Blob(
                BlobError::Open(_) | BlobError::List(_) | BlobError::Object { .. },
            ))
            | JobError::Connect(_) => Retry::Park(None),
            // One mail that can't be read holds up no other.
            JobError::Content(ContentError::Blob(BlobError::Unreadable { .. }))
            | JobError::Panicked
            | JobError::SubscriptionInTheWay
            | JobError::NoFolder(_) => Retry::Later,
            JobError::Content(_) | JobError::NotConnected | JobError::Interrupted => Retry::Never,
            // Another version of Postroom can read it.
            JobError::Payload(_) => Retry::Wait(UNREADABLE_WAIT),
            JobError::LookAgain(wait) => Retry::Wait(*wait),
            JobError::NotYet(wait) => Retry::After(*wait),
        }
    }
}

/// A store that can't be reached concerns everything; a statement that it refuses, this item.
fn of_store(error: &DbError) -> Retry {
    match error {
        DbError::Lost => Retry::Again,
        DbError::Unavailable(_) | DbError::Busy(_) | DbError::Uncertain(_) => Retry::Park(None),
        DbError::Unique { .. }
        | DbError::Inconsistent { .. }
        | DbError::Refused { .. }
        | DbError::Config { .. }
        | DbError::Migration(_) => Retry::Later,
    }
}

/// How long a job waits whose right was refused; what Graph is asked meanwhile is kept down by the lane.
const REFUSED_WAIT: Duration = Duration::from_secs(60);
/// How long a job of another version waits for one that can read it.
const UNREADABLE_WAIT: Duration = Duration::from_secs(600);

/// A job that was begun so often and never ended is not begun again: it may be what ends the process, or
/// nothing will ever heal it.
pub(crate) const BEGINNINGS: u32 = 25;

/// How many tries of its own an item has: with [`backoff`] about an hour.
pub(crate) const TRIES: u32 = 8;

/// How long to wait after the `attempts`th try failed, without jitter.
pub(crate) fn backoff(attempts: u32) -> Duration {
    const WAITS: [u64; 8] = [2, 10, 30, 60, 180, 480, 1200, 1800];
    let index = usize::try_from(attempts.saturating_sub(1)).unwrap_or(usize::MAX).min(WAITS.len() - 1);
    Duration::from_secs(WAITS[index])
}

/// An error with everything behind it, for people.
pub fn in_full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let more = cause.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use postroom_model::Clock;

    fn entropy() -> Entropy {
        let mut n = 0_u8;
        Entropy::new(move |buffer| {
            n = n.wrapping_add(1);
            buffer.fill(n);
        })
    }

    #[test]
    fn an_item_is_tried_for_about_an_hour_before_it_needs_attention() {
        let total: Duration = (1..TRIES).map(backoff).sum();
        assert!((Duration::from_secs(30 * 60)..Duration::from_secs(75 * 60)).contains(&total), "{total:?}");
    }

    #[test]
    fn only_what_concerns_everything_parks_the_lane() {
        let refused = || DbError::Inconsistent { detail: "x".into() };
        let missing = ContentError::Blob(BlobError::Missing(postroom_model::BlobId::from_uuid(uuid_of(1))));
        assert_eq!(JobError::Store(refused()).retry(), Retry::Later);
        assert_eq!(JobError::Content(ContentError::Db(refused())).retry(), Retry::Later);
        assert_eq!(JobError::Content(missing).retry(), Retry::Never);
        assert_eq!(
            JobError::Store(DbError::Unavailable(std::sync::Arc::new(std::fmt::Error))).retry(),
            Retry::Park(None)
        );
        assert_eq!(JobError::Panicked.retry(), Retry::Later);
    }

    #[test]
    fn a_job_carries_its_work_and_is_the_same_job_when_made_twice() {
        let now = Timestamp::UNIX_EPOCH;
        let _clock = Clock::new(move || now);
        let work = Work::Process { message: MessageId::from_uuid(uuid_of(3)) };
        let (one, two) = (work.job(&entropy(), now), work.job(&entropy(), now));
        assert_eq!(one.key, two.key);
        let claimed = Job {
            id: one.id,
            kind: one.kind.into(),
            payload: one.payload,
            attempts: 1,
            priority: 1,
            run_at: now,
        };
        assert_eq!(Work::of(&claimed).unwrap(), work);
    }

    fn uuid_of(n: u8) -> uuid::Uuid {
        uuid::Uuid::from_bytes([n; 16])
    }
}
