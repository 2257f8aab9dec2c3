//! The faults and habits that can be switched while the simulator runs.
//!
//! This struct is the only list: a field is a switch, its serde name is the
//! switch's name, its type is the check. Adding one means adding a field here
//! and reading it where it acts.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use thiserror::Error;

/// A share of events: 0 (none) to 1 (all). In JSON a number, or a boolean for the two ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Value")]
pub struct Share(f64);

impl Share {
    pub(crate) fn rate(self) -> f64 {
        self.0
    }
}

impl TryFrom<Value> for Share {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        let share = match value {
            Value::Bool(all) => f64::from(u8::from(all)),
            Value::Number(number) => number.as_f64().unwrap_or(f64::NAN),
            _ => f64::NAN,
        };
        if (0.0..=1.0).contains(&share) { Ok(Self(share)) } else { Err("a number from 0 to 1".into()) }
    }
}

/// A time in whole milliseconds, 49 days at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Millis(u32);

impl Millis {
    pub(crate) fn duration(self) -> Duration {
        Duration::from_millis(self.0.into())
    }
}

impl From<Duration> for Millis {
    fn from(duration: Duration) -> Self {
        Self(u32::try_from(duration.as_millis()).unwrap_or(u32::MAX))
    }
}

/// What a second subscription with the same resource and change types gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum DuplicatePolicy {
    /// 409 with the id of the first.
    #[default]
    #[serde(rename = "409")]
    Refuse,
    /// It is made, and both notify.
    #[serde(rename = "allow")]
    Allow,
}

/// All switches with their present values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Switches {
    /// How long each Graph request takes.
    #[serde(rename = "latency_ms")]
    pub latency: Millis,
    /// Share of notifications that are never delivered.
    #[serde(rename = "notify.loss_rate")]
    pub notify_loss: Share,
    /// Share of notifications that are delivered twice.
    #[serde(rename = "notify.duplicate_rate")]
    pub notify_duplicate: Share,
    /// How long after the change a notification leaves.
    #[serde(rename = "notify.delay_ms")]
    pub notify_delay: Millis,
    /// While true, notifications are lost and not made up for later.
    #[serde(rename = "notify.outage")]
    pub notify_outage: bool,
    /// How long a new item is notified but not yet found by reads.
    #[serde(rename = "store.replication_lag_ms")]
    pub replication_lag: Millis,
    /// Set to true: every delta and skip token handed out so far is unknown from now on. Reads back as false.
    #[serde(rename = "delta.expire")]
    pub delta_expire: bool,
    /// Share of Graph requests to a mailbox that are answered 429 with `Retry-After: 1`.
    #[serde(rename = "throttle.rate")]
    pub throttle: Share,
    /// Share of Graph requests to a mailbox that are answered 503.
    #[serde(rename = "error.rate")]
    pub error: Share,
    /// Whether the sent copy of a draft has another immutable id than the draft.
    #[serde(rename = "send.id_change")]
    pub send_id_change: bool,
    /// Share of sends that are done while the answer never arrives.
    #[serde(rename = "send.accept_then_timeout")]
    pub send_accept_then_timeout: Share,
    /// How long a sent mail stands in the Outbox.
    #[serde(rename = "send.delay_ms")]
    pub send_delay: Millis,
    /// While true, the client secret is expired.
    #[serde(rename = "secret.expire")]
    pub secret_expire: bool,
    /// Set to true: every living subscription stops notifying, though it still seems alive. Reads back as false.
    #[serde(rename = "sub.silent_death")]
    pub sub_silent_death: bool,
    /// While true, renewals answer 200 and do not move the expiry.
    #[serde(rename = "sub.patch_noop")]
    pub sub_patch_noop: bool,
    /// What a duplicate subscription gets.
    #[serde(rename = "sub.duplicate_policy")]
    pub sub_duplicate: DuplicatePolicy,
}

impl Default for Switches {
    /// A calm day: no faults, and a second between sending and Sent Items.
    fn default() -> Self {
        Self {
            latency: Millis(0),
            notify_loss: Share(0.0),
            notify_duplicate: Share(0.0),
            notify_delay: Millis(0),
            notify_outage: false,
            replication_lag: Millis(0),
            delta_expire: false,
            throttle: Share(0.0),
            error: Share(0.0),
            send_id_change: false,
            send_accept_then_timeout: Share(0.0),
            send_delay: Millis(1000),
            secret_expire: false,
            sub_silent_death: false,
            sub_patch_noop: false,
            sub_duplicate: DuplicatePolicy::Refuse,
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
    /// The switch does not take such a value.
    #[error("the switch {name:?} does not take this value")]
    Value {
        /// Which switch.
        name: String,
        /// What it would take.
        #[source]
        source: serde_json::Error,
    },
}

impl Switches {
    /// Sets one switch by name.
    pub(crate) fn set(&mut self, name: &str, value: Value) -> Result<(), SwitchError> {
        let mut all = self.to_map();
        let Some(slot) = all.get_mut(name) else {
            let known = all.keys().cloned().collect::<Vec<_>>().join(", ");
            return Err(SwitchError::Unknown { name: name.into(), known });
        };
        *slot = value;
        *self = serde_json::from_value(Value::Object(all))
            .map_err(|source| SwitchError::Value { name: name.into(), source })?;
        Ok(())
    }

    fn to_map(&self) -> Map<String, Value> {
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
        assert_eq!(switches.notify_loss, Share(0.25));
        switches.set("send.accept_then_timeout", json!(true)).unwrap();
        assert_eq!(switches.send_accept_then_timeout, Share(1.0));
        switches.set("sub.duplicate_policy", json!("allow")).unwrap();
        assert_eq!(switches.sub_duplicate, DuplicatePolicy::Allow);
        for (name, value) in [
            ("notify.loss_rate", json!(1.5)),
            ("notify.loss_rate", json!("much")),
            ("latency_ms", json!(-1)),
            ("notify.outage", json!(1)),
            ("sub.duplicate_policy", json!("maybe")),
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
}
