//! Wakes those who wait for a change, in this process at once and in other
//! processes through the engine where it can (LISTEN/NOTIFY).
//!
//! A signal carries no data and may be lost: whoever waits also looks by a
//! timer, so a lost signal costs time and never a mail.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::{CHANNEL, Sql, Stmt, args, jobs::Lane};

/// What there is to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wake {
    /// Jobs of a lane.
    Lane(Lane),
    /// The change feed.
    Feed,
}

impl fmt::Display for Wake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wake::Lane(lane) => lane.fmt(f),
            Wake::Feed => f.write_str("feed"),
        }
    }
}

impl FromStr for Wake {
    type Err = <Lane as FromStr>::Err;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "feed" { Ok(Wake::Feed) } else { text.parse().map(Wake::Lane) }
    }
}

/// One [`Notify`] for each thing that can be waited for. Cheap to clone.
#[derive(Clone, Default)]
pub struct Signals(Arc<Mutex<BTreeMap<Wake, Arc<Notify>>>>);

impl Signals {
    /// What to wait on for `wake`. A signal that comes while nobody waits is kept for the next who does.
    pub fn waiter(&self, wake: Wake) -> Arc<Notify> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(wake).or_default().clone()
    }

    /// Wakes who waits for `wake`.
    pub fn signal(&self, wake: &Wake) {
        self.waiter(*wake).notify_one();
    }
}

/// The statement that carries a signal to other nodes. PostgreSQL only.
pub(crate) fn notify(wake: &Wake) -> Stmt {
    const NOTIFY: Sql = Sql { sqlite: "SELECT $1, $2", postgres: "SELECT pg_notify($1, $2)" };
    Stmt::new(NOTIFY, args![CHANNEL, wake.to_string()])
}
