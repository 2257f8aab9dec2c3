//! What the simulator saw: every request, counted and logged.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;
use serde::Serialize;

/// Requests kept in the log; older ones are only in the counts.
const LOG_LENGTH: usize = 100_000;

/// Counts since the start or the last reset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Figures {
    /// All requests to Entra ID and Graph.
    pub total: u64,
    /// Those that set things up and do not belong to a mail: tokens, subscriptions, folders.
    pub setup: u64,
    /// By kind, such as `token`, `message.value`, `delta`, `subscription.create`.
    pub by_kind: BTreeMap<&'static str, u64>,
    /// By HTTP status of the answer.
    pub by_status: BTreeMap<u16, u64>,
    /// By mailbox.
    pub by_mailbox: BTreeMap<String, MailboxFigures>,
    /// Most requests that one mailbox had in flight at a time, a refused one included.
    pub max_in_flight: u32,
    /// Requests that began before a wait was over which a refusal had asked for.
    pub violations: u64,
    /// Notifications.
    pub notifications: NotificationFigures,
}

/// Counts of one mailbox.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MailboxFigures {
    /// Requests that named this mailbox.
    pub total: u64,
    /// Most requests in flight at a time.
    pub max_in_flight: u32,
    /// Requests that began before a wait was over which a refusal had asked for.
    pub violations: u64,
}

/// Counts of notifications; the first four count elements, the last two POST requests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct NotificationFigures {
    /// Changes that a living subscription was to hear of.
    pub created: u64,
    /// Accepted by the endpoint with a 2xx.
    pub delivered: u64,
    /// Swallowed by a switch.
    pub suppressed: u64,
    /// Given up after four hours of retries.
    pub lost: u64,
    /// POST requests to endpoints.
    pub posts: u64,
    /// POST requests that were not answered 2xx in time.
    pub failed_posts: u64,
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RequestLog {
    /// When its answer was ready.
    pub time: Timestamp,
    /// Kind, as in [`Figures::by_kind`].
    pub kind: &'static str,
    /// HTTP method.
    pub method: String,
    /// Mailbox, if it named one that exists.
    pub mailbox: Option<String>,
    /// HTTP status of the answer.
    pub status: u16,
    /// Length of the answer's body.
    pub bytes: u64,
}

/// Figures and log together, so that both are reset at once.
#[derive(Default)]
pub(crate) struct Record {
    pub(crate) figures: Figures,
    log: VecDeque<RequestLog>,
}

impl Record {
    pub(crate) fn note(&mut self, request: RequestLog) {
        let figures = &mut self.figures;
        figures.total += 1;
        figures.setup += u64::from(is_setup(request.kind));
        *figures.by_kind.entry(request.kind).or_default() += 1;
        *figures.by_status.entry(request.status).or_default() += 1;
        if let Some(mailbox) = &request.mailbox {
            figures.of_mailbox(mailbox).total += 1;
        }
        if self.log.len() == LOG_LENGTH {
            self.log.pop_front();
        }
        self.log.push_back(request);
    }

    pub(crate) fn log(&self) -> Vec<RequestLog> {
        self.log.iter().cloned().collect()
    }
}

impl Figures {
    /// Notes that the mailbox has this many requests in flight.
    pub(crate) fn note_in_flight(&mut self, mailbox: &str, in_flight: u32) {
        self.max_in_flight = self.max_in_flight.max(in_flight);
        let mailbox = self.of_mailbox(mailbox);
        mailbox.max_in_flight = mailbox.max_in_flight.max(in_flight);
    }

    pub(crate) fn note_violation(&mut self, mailbox: &str) {
        self.violations += 1;
        self.of_mailbox(mailbox).violations += 1;
    }

    fn of_mailbox(&mut self, mailbox: &str) -> &mut MailboxFigures {
        self.by_mailbox.entry(mailbox.to_owned()).or_default()
    }
}

fn is_setup(kind: &str) -> bool {
    let noun = kind.split('.').next().unwrap_or(kind);
    matches!(noun, "token" | "discovery" | "subscription" | "folder" | "user")
}
