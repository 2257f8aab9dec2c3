//! The faults and habits that can be switched while the simulator runs, for the
//! whole tenant or for one mailbox.
//!
//! The list below is the only one: an entry is a switch, its type is the check,
//! its documentation is what the pages, the API and the handbook say of it.
//! Adding one means adding an entry here and reading it where it acts.

mod board;
mod kinds;

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use thiserror::Error;

pub(crate) use board::Board;
pub use kinds::{Chance, Count, DuplicatePolicy, ErrorShape, Millis, ResyncStatus, RetryAfter, Statuses};

/// What is known of a switch beside its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct SwitchFacts {
    /// Its name.
    pub name: &'static str,
    /// What it takes.
    pub takes: &'static str,
    /// What it does.
    pub about: &'static str,
}

macro_rules! switches {
    ($($(#[doc = $about:literal])+ $field:ident: $kind:ty = $default:expr, $name:literal;)+) => {
        /// All switches with their present values.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct Switches {
            $($(#[doc = $about])+ #[serde(rename = $name)] pub $field: $kind,)+
        }

        impl Default for Switches {
            /// A calm day: no faults, and a second between sending and Sent Items.
            fn default() -> Self {
                Self { $($field: $default,)+ }
            }
        }

        impl Switches {
            /// Every switch, in the order in which people read about them.
            pub const LIST: &[SwitchFacts] = &[$(SwitchFacts {
                name: $name,
                takes: <$kind as kinds::Kind>::TAKES,
                about: concat!($($about),+),
            },)+];
        }
    };
}

switches! {
    /// How long each Graph request takes.
    latency: Millis = Millis::ZERO, "latency_ms";

    /// Notifications that are never delivered.
    notify_loss: Chance = Chance::NEVER, "notify.loss_rate";
    /// Notifications that are delivered twice.
    notify_duplicate: Chance = Chance::NEVER, "notify.duplicate_rate";
    /// How long after the change a notification leaves.
    notify_delay: Millis = Millis::ZERO, "notify.delay_ms";
    /// Up to this much more delay, by fate: later changes overtake earlier ones.
    notify_jitter: Millis = Millis::ZERO, "notify.jitter_ms";
    /// While true, notifications are lost and not made up for later.
    notify_outage: bool = false, "notify.outage";
    /// When more items than this come into a mailbox within a second, none of the further ones is
    /// notified; 0 is no such limit.
    notify_bulk: Count = Count(0), "notify.bulk_suppress";
    /// While true, each new item is told as created and, right after, as updated.
    notify_pair: bool = false, "notify.created_updated_pair";
    /// While true, an endpoint that answers late is served late, and one that answers very late not
    /// at all, as Microsoft documents it.
    notify_health: bool = true, "notify.slow_and_drop";

    /// Handshakes that fail though the endpoint answered well.
    sub_validation: Chance = Chance::NEVER, "sub.validation_flaky";
    /// Longest life of a subscription, in minutes.
    sub_max_minutes: Count = Count(10_070), "sub.max_minutes";
    /// What a duplicate subscription gets.
    sub_duplicate: DuplicatePolicy = DuplicatePolicy::Refuse, "sub.duplicate_policy";
    /// While true, the list of subscriptions shows deleted and expired ones too, and no client state.
    sub_list_stale: bool = false, "sub.list_stale";
    /// Lists of subscriptions that fail.
    sub_list_error: Chance = Chance::NEVER, "sub.list_error";
    /// Requests about subscriptions, of whatever kind, that fail.
    sub_error: Chance = Chance::NEVER, "sub.error_rate";
    /// While true, deleting a subscription answers 404 and it goes on notifying.
    sub_zombie: bool = false, "sub.zombie";
    /// While true, renewals answer 200 and do not move the expiry.
    sub_patch_noop: bool = false, "sub.patch_noop";
    /// Throw it: every living subscription stops notifying, though it still seems alive. Reads back as false.
    sub_silent_death: bool = false, "sub.silent_death";
    /// How long a new subscription is at work before its creation is answered.
    sub_answer_delay: Millis = Millis::ZERO, "sub.answer_delay_ms";
    /// After so many seconds without renewal or reauthorization, `reauthorizationRequired` is sent;
    /// after as many again, nothing is notified until then. 0 is never.
    sub_access: Count = Count(0), "sub.access_lapse_s";
    /// While true, no lifecycle event is ever sent.
    lifecycle_suppress: bool = false, "lifecycle.suppress";
    /// Changes that bring a `missed` event though nothing was missed.
    lifecycle_spurious: Chance = Chance::NEVER, "lifecycle.spurious_rate";

    /// Throw it: every delta and skip token handed out so far is unknown from now on. Reads back as false.
    delta_expire: bool = false, "delta.expire";
    /// Delta requests with a token that is unknown though it was handed out.
    delta_lost: Chance = Chance::NEVER, "delta.expire_rate";
    /// The status of the answer to an unknown token.
    delta_status: ResyncStatus = ResyncStatus::Gone, "delta.expire_status";
    /// Delta pages that tell again what the page before told.
    delta_replay: Chance = Chance::NEVER, "delta.replay";
    /// While true, an updated message has only its id and its read flag in a delta page.
    delta_partial: bool = false, "delta.partial";
    /// Delta pages that are empty and only lead on.
    delta_empty: Chance = Chance::NEVER, "delta.empty_page";
    /// Delta pages with neither a next link nor a delta link.
    delta_no_link: Chance = Chance::NEVER, "delta.no_link";
    /// While true, a `$filter` on a delta whose time is not written with `Z` breaks the links that follow.
    delta_filter: bool = false, "delta.filter_encoding";
    /// Throw it: every folder that a user made is deleted and made again under its name. Reads back as false.
    folder_recreate: bool = false, "folder.recreate";

    /// How long a new item is notified but not yet found by reads.
    replication_lag: Millis = Millis::ZERO, "store.replication_lag_ms";
    /// While true, reads are refused 403 `ErrorQuotaExceeded` and writes 507.
    mailbox_quota: bool = false, "mailbox.quota";
    /// While true, the list of all messages of a mailbox holds a Teams chat copy with the subject `IM`.
    mailbox_im: bool = false, "mailbox.im_items";
    /// While true, mails with the same subject have the same conversation.
    conversation_collide: bool = false, "conversation.collide";
    /// Messages whose `$value` always fails with 500, as some S/MIME ones do; a fixed choice of messages.
    value_broken: Chance = Chance::NEVER, "value.broken_rate";

    /// Requests in ten minutes that an application may send to a mailbox.
    throttle_requests: Count = Count(10_000), "throttle.requests";
    /// Requests that an application may have in flight at a mailbox.
    throttle_concurrency: Count = Count(4), "throttle.concurrency";
    /// Bytes in five minutes that an application may send to a mailbox.
    throttle_upload: Count = Count(150 * 1024 * 1024), "throttle.upload_bytes";
    /// Requests to a mailbox that are refused 429 for no reason.
    throttle: Chance = Chance::NEVER, "throttle.rate";
    /// Seconds that such a refusal asks to wait.
    throttle_wait: Count = Count(1), "throttle.retry_after_s";
    /// How a refusal says how long to wait.
    throttle_retry_after: RetryAfter = RetryAfter::Seconds, "throttle.retry_after";
    /// Requests to a mailbox that fail.
    error: Chance = Chance::NEVER, "error.rate";
    /// The statuses of such failures, each as likely as the others.
    error_statuses: Statuses = Statuses::unavailable(), "error.statuses";
    /// What the body of an error looks like.
    error_shape: ErrorShape = ErrorShape::Full, "error.shape";
    /// Answers that are longer than this many bytes never come: 504 instead; 0 is no such limit.
    gateway_timeout: Count = Count(0), "gateway.timeout_bytes";

    /// While true, the client secrets are expired.
    secret_expire: bool = false, "secret.expire";
    /// How long a new secret or certificate is not known yet.
    secret_lag: Millis = Millis::ZERO, "secret.lag_ms";
    /// How long a change of the consented permissions takes to be in new tokens.
    consent_lag: Millis = Millis::ZERO, "consent.propagation_ms";
    /// How long a change of access policies and RBAC assignments takes to act.
    policy_lag: Millis = Millis::ZERO, "policy.propagation_ms";
    /// Life of access tokens, in seconds; 0 is 60 to 90 minutes by fate.
    token_lifetime: Count = Count(3599), "token.lifetime_s";
    /// Throw it: all tokens so far are refused; a client that declared it can, is told by a claims
    /// challenge. Reads back as false.
    token_revoke: bool = false, "token.revoke";
    /// Token requests that fail with 503.
    sts_error: Chance = Chance::NEVER, "sts.error_rate";
    /// Token requests that are refused 429.
    sts_throttle: Chance = Chance::NEVER, "sts.throttle_rate";
    /// Token requests are all refused with this AADSTS code; 0 is no refusal.
    sts_refuse: Count = Count(0), "sts.refuse";
    /// How many seconds the clock of Entra ID is ahead of everybody else's.
    sts_ahead: Count = Count(0), "sts.ahead_s";
    /// More token requests of a client within five minutes than this are refused as a loop
    /// (AADSTS50196); 0 is no such limit.
    sts_loop: Count = Count(0), "sts.loop_detect";

    /// While true, the sent copy of a draft has another immutable id than the draft.
    send_id_change: bool = false, "send.id_change";
    /// While true, the sent copy of a draft has another Message-ID than the draft.
    send_mid_change: bool = false, "send.mid_change";
    /// Sends that are done while the answer never arrives.
    send_accept_then_timeout: Chance = Chance::NEVER, "send.accept_then_timeout";
    /// How long a sent mail stands in the Outbox.
    send_delay: Millis = Millis::SECOND, "send.delay_ms";
}

/// Sets of switches that belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// No faults.
    Calm,
    /// What users of the real service report.
    Field,
    /// Far worse than reported: for tests.
    Storm,
}

impl Profile {
    /// Every profile.
    pub const ALL: [Self; 3] = [Self::Calm, Self::Field, Self::Storm];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Calm => "calm",
            Self::Field => "field",
            Self::Storm => "storm",
        }
    }

    /// The profile of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|profile| profile.name() == name)
    }

    /// Its switches.
    pub fn switches(self) -> Switches {
        let calm = Switches::default();
        match self {
            Self::Calm => calm,
            Self::Field => Switches {
                notify_loss: Chance::rate_of(0.2),
                notify_duplicate: Chance::rate_of(0.02),
                notify_delay: Millis(500),
                notify_jitter: Millis(5_000),
                notify_bulk: Count(25),
                notify_pair: true,
                sub_validation: Chance::rate_of(0.05),
                sub_list_stale: true,
                lifecycle_suppress: true,
                delta_replay: Chance::rate_of(0.05),
                delta_partial: true,
                delta_empty: Chance::rate_of(0.02),
                replication_lag: Millis(1_000),
                throttle: Chance::rate_of(0.01),
                error: Chance::rate_of(0.005),
                error_statuses: Statuses::weather(),
                send_id_change: true,
                ..calm
            },
            Self::Storm => Switches {
                notify_loss: Chance::rate_of(0.6),
                notify_duplicate: Chance::rate_of(0.3),
                notify_delay: Millis(500),
                notify_jitter: Millis(30_000),
                notify_bulk: Count(5),
                notify_pair: true,
                sub_validation: Chance::rate_of(0.3),
                sub_list_stale: true,
                sub_list_error: Chance::rate_of(0.3),
                sub_duplicate: DuplicatePolicy::Allow,
                lifecycle_suppress: true,
                delta_lost: Chance::rate_of(0.05),
                delta_replay: Chance::rate_of(0.2),
                delta_partial: true,
                delta_empty: Chance::rate_of(0.1),
                delta_no_link: Chance::rate_of(0.02),
                replication_lag: Millis(5_000),
                throttle: Chance::rate_of(0.1),
                throttle_retry_after: RetryAfter::Absent,
                error: Chance::rate_of(0.1),
                error_statuses: Statuses::weather(),
                error_shape: ErrorShape::Bare,
                sts_error: Chance::rate_of(0.2),
                send_id_change: true,
                send_accept_then_timeout: Chance::rate_of(0.1),
                ..calm
            },
        }
    }
}

/// Why a switch was not set.
#[derive(Debug, Error)]
pub enum SwitchError {
    /// There is no switch of this name; holds the names there are.
    #[error("no switch is called {name:?}; there are: {known}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// Every name, separated by commas.
        known: String,
    },
    /// There is no such mailbox.
    #[error("no mailbox of the tenant has the address {0}")]
    Mailbox(String),
    /// The switch does not take such a value.
    #[error("the switch {name:?} takes {takes}, not this")]
    Value {
        /// Which switch.
        name: String,
        /// What it takes.
        takes: &'static str,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
}

impl Switches {
    /// Those that are thrown: they act once and read back as false.
    pub(crate) const THROWN: [&str; 4] =
        ["delta.expire", "sub.silent_death", "folder.recreate", "token.revoke"];

    /// Sets one switch by name.
    pub(crate) fn set(&mut self, name: &str, value: Value) -> Result<(), SwitchError> {
        let Some(facts) = Self::LIST.iter().find(|facts| facts.name == name) else {
            let known = Self::LIST.iter().map(|facts| facts.name).collect::<Vec<_>>().join(", ");
            return Err(SwitchError::Unknown { name: name.into(), known });
        };
        let mut all = self.to_map();
        all.insert(name.to_owned(), value);
        *self = serde_json::from_value(Value::Object(all)).map_err(|source| SwitchError::Value {
            name: name.into(),
            takes: facts.takes,
            source,
        })?;
        Ok(())
    }

    pub(crate) fn to_map(&self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(map)) => map,
            _ => unreachable!("a struct of numbers and booleans serialises to an object"),
        }
    }
}

impl fmt::Display for Switches {
    /// One `name = value` a line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_map().iter().try_for_each(|(name, value)| writeln!(f, "{name} = {value}"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_switch_takes_only_its_own_kind_of_value() {
        let mut switches = Switches::default();
        switches.set("notify.loss_rate", json!(0.25)).unwrap();
        assert_eq!(switches.notify_loss, Chance::rate_of(0.25));
        switches.set("send.accept_then_timeout", json!(true)).unwrap();
        assert_eq!(switches.send_accept_then_timeout, Chance::rate_of(1.0));
        switches.set("error.rate", json!({ "at": [2, 5] })).unwrap();
        switches.set("sub.duplicate_policy", json!("allow")).unwrap();
        assert_eq!(switches.sub_duplicate, DuplicatePolicy::Allow);
        for (name, value) in [
            ("notify.loss_rate", json!(1.5)),
            ("notify.loss_rate", json!("much")),
            ("notify.loss_rate", json!({ "at": [0] })),
            ("latency_ms", json!(-1)),
            ("notify.outage", json!(1)),
            ("sub.duplicate_policy", json!("maybe")),
            ("error.statuses", json!([])),
            ("error.statuses", json!([200])),
        ] {
            let before = switches.clone();
            assert!(matches!(switches.set(name, value), Err(SwitchError::Value { .. })), "{name}");
            assert_eq!(switches, before);
        }
    }

    #[test]
    fn an_unknown_switch_is_answered_with_the_names_there_are() {
        let error = Switches::default().set("notify.loss", json!(1)).unwrap_err().to_string();
        assert!(error.contains("notify.loss_rate") && error.contains("delta.expire"), "{error}");
    }

    #[test]
    fn the_list_names_every_switch_once() {
        let mut listed: Vec<_> = Switches::LIST.iter().map(|facts| facts.name.to_owned()).collect();
        listed.sort();
        let mut there: Vec<_> = Switches::default().to_map().into_iter().map(|(name, _)| name).collect();
        there.sort();
        assert_eq!(listed, there);
        assert!(Switches::LIST.iter().all(|facts| facts.about.trim().ends_with('.')));
    }
}
