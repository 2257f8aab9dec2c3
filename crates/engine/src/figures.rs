//! How everything stands at a moment: for `postroom status`, the pages and the metrics.
//!
//! Reads only. What the lanes say is known on the node that holds the mailbox alone.

use std::{collections::BTreeMap, sync::PoisonError};

use jiff::SignedDuration;
use postroom_graph::LaneView;
use postroom_model::Timestamp;
use postroom_store::{
    DbError,
    credentials::{self, Expiry},
    folders, jobs, leases,
    mailboxes::{self, Mailbox},
    messages::{self, StateCount},
    subscriptions,
};
use prometheus_client::metrics::histogram::Histogram;

use crate::Engine;

/// "Lately" is this long.
const LATELY: SignedDuration = SignedDuration::from_hours(24);

/// How everything stands.
#[derive(Debug, Clone)]
pub struct Figures {
    /// When it was looked.
    pub at: Timestamp,
    /// Every mailbox, by address.
    pub mailboxes: Vec<MailboxFigures>,
    /// Every credential whose end is known, the next to end first.
    pub credentials: Vec<Expiry>,
    /// How many messages stand in each state.
    pub states: Vec<StateCount>,
    /// Requests to Microsoft since the start of this process, by kind.
    pub requests: BTreeMap<&'static str, u64>,
}

/// How a mailbox stands.
#[derive(Debug, Clone)]
pub struct MailboxFigures {
    /// The mailbox.
    pub mailbox: Mailbox,
    /// When Microsoft last announced something.
    pub last_notification_at: Option<Timestamp>,
    /// When a delta round was last finished.
    pub last_delta_at: Option<Timestamp>,
    /// When we last heard of a mail.
    pub last_mail_at: Option<Timestamp>,
    /// When its subscription ends.
    pub subscription_expires_at: Option<Timestamp>,
    /// Mails that were there before it was connected, and are left alone.
    pub older: i64,
    /// Jobs that are open in its lane: its backlog.
    pub open_jobs: i64,
    /// Mails of the last 24 hours.
    pub mails: i64,
    /// Those of them that only the delta query found.
    pub unannounced: i64,
    /// Its lane, if this process holds it.
    pub lane: Option<LaneView>,
}

/// Upper bounds of [`Engine::arrival_to_queue`], in seconds.
pub(crate) const BOUNDS: [f64; 12] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0];

impl Engine {
    /// Looks how everything stands.
    ///
    /// # Errors
    /// When the store can't be read.
    pub async fn figures(&self) -> Result<Figures, DbError> {
        let (db, at) = (&self.store().db, self.now());
        let folders = folders::list(db).await?;
        let subscriptions = subscriptions::list(db).await?;
        let mut open: BTreeMap<String, i64> = BTreeMap::new();
        for (lane, _, count) in jobs::list_counts(db).await? {
            *open.entry(lane).or_default() += count;
        }
        let mut all = Vec::new();
        for mailbox in mailboxes::list(db).await? {
            let own: Vec<_> = folders.iter().filter(|folder| folder.mailbox == mailbox.id).collect();
            let (mut last_mail_at, mut mails, mut unannounced) = (None, 0, 0);
            for folder in &own {
                let lately = messages::find_lately(db, folder.id, at - LATELY).await?;
                last_mail_at = last_mail_at.max(lately.last_seen_at);
                mails += lately.mails;
                unannounced += lately.unannounced;
            }
            let ends = subscriptions.iter().filter(|subscription| subscription.mailbox == mailbox.id);
            all.push(MailboxFigures {
                last_notification_at: own.iter().filter_map(|folder| folder.last_notification_at).max(),
                last_delta_at: own.iter().filter_map(|folder| folder.last_delta_at).max(),
                last_mail_at,
                subscription_expires_at: ends.filter_map(|subscription| subscription.expires_at).max(),
                older: own.iter().map(|folder| folder.older_count).sum(),
                open_jobs: open
                    .get(&jobs::Lane::Mailbox(mailbox.id).to_string())
                    .copied()
                    .unwrap_or_default(),
                mails,
                unannounced,
                lane: self.lane_of(&mailbox),
                mailbox,
            });
        }
        Ok(Figures {
            at,
            mailboxes: all,
            credentials: credentials::list_expiries(db).await?,
            states: messages::list_state_counts(db).await?,
            requests: self.requests(),
        })
    }

    /// Seconds from a mail's arrival, which Graph tells in whole seconds, to its queue, since the start.
    pub fn arrival_to_queue(&self) -> Histogram {
        self.0.arrival_to_queue.clone()
    }

    /// Whether this process does its work: the store answers, and its leases are its own.
    ///
    /// # Errors
    /// When the store can't be read.
    pub async fn is_ready(&self) -> Result<bool, DbError> {
        let now = self.now();
        let held = leases::list_of(&self.store().db, self.node(), now).await?;
        Ok(held.contains(&leases::name_of_node(self.node())) && self.holds_its_leases(now))
    }

    fn lane_of(&self, mailbox: &Mailbox) -> Option<LaneView> {
        let connections = self.0.connections.lock().unwrap_or_else(PoisonError::into_inner);
        let graph = connections.get(&mailbox.integration)?.graph();
        Some(graph.mailbox(&mailbox.address).lane())
    }

    fn requests(&self) -> BTreeMap<&'static str, u64> {
        let connections = self.0.connections.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sum = BTreeMap::new();
        for (kind, count) in connections.values().flat_map(|connection| connection.graph().requests()) {
            *sum.entry(kind).or_default() += count;
        }
        sum
    }
}
