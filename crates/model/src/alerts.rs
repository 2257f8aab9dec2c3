//! What an administrator must hear of before mail stops, or because it has: ends that
//! come near, mailboxes that fail or fall silent. Also the expiry calendar.
//!
//! The engine's `watch` gathers the facts each minute, tells what is new and shows what stands.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::{mailbox::MailboxHealth, words::words};

/// Days before an end on which it is told again, the first first.
const TOLD_BEFORE: [i64; 5] = [60, 30, 14, 7, 1];
/// A mailbox whose delta round is this old has fallen silent: each is looked at every five minutes.
const SILENT_AFTER: SignedDuration = SignedDuration::from_mins(15);
/// A mailbox that fails for less may be over it before anybody reads of it.
const FAILING_FOR: SignedDuration = SignedDuration::from_mins(5);
/// Subscriptions are renewed at half their life of a week; one that is so near its end is not.
const SUBSCRIPTION_NEAR: SignedDuration = SignedDuration::from_hours(24);

words! {
    /// What is the matter.
    pub enum AlertKind {
        /// A credential ends soon.
        CredentialEnds = "credential_ends",
        /// A credential has ended.
        CredentialEnded = "credential_ended",
        /// The certificate of our public address ends soon.
        CertificateEnds = "certificate_ends",
        /// The certificate of our public address has ended.
        CertificateEnded = "certificate_ended",
        /// A subscription is near its end and was not renewed.
        SubscriptionEnds = "subscription_ends",
        /// A mailbox can't be read.
        MailboxFailing = "mailbox_failing",
        /// A mailbox was not looked at for long.
        MailboxSilent = "mailbox_silent",
    }
}

/// Something that an administrator must hear of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Alert {
    /// What is the matter.
    pub kind: AlertKind,
    /// With what: a mailbox's address, or integration and credential.
    pub about: String,
    /// When it ends or ended, or since when it is so.
    pub at: Option<Timestamp>,
    /// How many days before at most, for ends that come near: 60, 30, 14, 7 or 1.
    pub days: Option<i64>,
    /// Microsoft's own words, where there are any.
    pub detail: Option<String>,
}

impl Alert {
    /// What makes it the same as one that was told before: each step before an end is told once.
    pub fn key(&self) -> String {
        let end = match self.kind {
            AlertKind::MailboxFailing | AlertKind::MailboxSilent => String::new(),
            _ => self.at.map(|at| at.as_second().to_string()).unwrap_or_default(),
        };
        format!("{}/{}/{end}/{}", self.kind, self.about, self.days.unwrap_or_default())
    }
}

/// What is looked at.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Credentials by name, with their ends.
    pub credentials: Vec<(String, Timestamp)>,
    /// When the certificate of our public address ends.
    pub certificate_ends: Option<Timestamp>,
    /// The mailboxes.
    pub mailboxes: Vec<MailboxFacts>,
}

/// What is looked at in a mailbox.
#[derive(Debug, Clone)]
pub struct MailboxFacts {
    /// Its address.
    pub address: String,
    /// How it is.
    pub health: MailboxHealth,
    /// Since when.
    pub health_at: Option<Timestamp>,
    /// What is wrong, in Microsoft's words.
    pub health_detail: Option<String>,
    /// When it was first connected.
    pub activated_at: Option<Timestamp>,
    /// When a delta round was last finished.
    pub last_delta_at: Option<Timestamp>,
    /// When its subscription ends.
    pub subscription_expires_at: Option<Timestamp>,
}

/// Everything that an administrator must hear of now, in a fixed order.
pub fn alerts(facts: &Facts, now: Timestamp) -> Vec<Alert> {
    let credentials = facts.credentials.iter().filter_map(|(name, at)| {
        near_end(name, *at, now, AlertKind::CredentialEnds, AlertKind::CredentialEnded)
    });
    let certificate = facts
        .certificate_ends
        .and_then(|at| near_end("TLS", at, now, AlertKind::CertificateEnds, AlertKind::CertificateEnded));
    let mailboxes = facts.mailboxes.iter().flat_map(|mailbox| of_mailbox(mailbox, now));
    let mut all: Vec<Alert> = credentials.chain(certificate).chain(mailboxes).collect();
    all.sort();
    all
}

fn near_end(about: &str, at: Timestamp, now: Timestamp, ends: AlertKind, ended: AlertKind) -> Option<Alert> {
    let alert = |kind, days| Alert { kind, about: about.to_owned(), at: Some(at), days, detail: None };
    if at <= now {
        return Some(alert(ended, None));
    }
    let left = at.duration_since(now);
    let step = TOLD_BEFORE.into_iter().rev().find(|days| left <= SignedDuration::from_hours(24 * days))?;
    Some(alert(ends, Some(step)))
}

fn of_mailbox(mailbox: &MailboxFacts, now: Timestamp) -> Vec<Alert> {
    // Somebody wants it left alone.
    if mailbox.health == MailboxHealth::Paused {
        return Vec::new();
    }
    let alert = |kind, at, detail| Alert { kind, about: mailbox.address.clone(), at, days: None, detail };
    let mut all = Vec::new();
    let is_failing = mailbox.health == MailboxHealth::Failing;
    if is_failing && mailbox.health_at.is_some_and(|at| at + FAILING_FOR <= now) {
        all.push(alert(AlertKind::MailboxFailing, mailbox.health_at, mailbox.health_detail.clone()));
    }
    let looked_at = mailbox.last_delta_at.or(mailbox.activated_at);
    if looked_at.is_some_and(|at| at + SILENT_AFTER <= now) {
        all.push(alert(AlertKind::MailboxSilent, looked_at, mailbox.health_detail.clone()));
    }
    if let Some(ends) = mailbox.subscription_expires_at
        && ends <= now + SUBSCRIPTION_NEAR
        && !is_failing
    {
        all.push(alert(AlertKind::SubscriptionEnds, Some(ends), None));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + hours * 3600).unwrap()
    }

    fn of_credential(left: i64) -> Vec<Alert> {
        let facts = Facts { credentials: vec![("c".into(), at(left))], ..Facts::default() };
        alerts(&facts, at(0))
    }

    #[test]
    fn an_end_is_told_at_60_30_14_7_and_1_days_and_when_it_is_there() {
        let mut told: Vec<(AlertKind, Option<i64>)> = Vec::new();
        for left in (-48..=24 * 100).rev() {
            for alert in of_credential(left) {
                told.push((alert.kind, alert.days));
            }
        }
        told.dedup();
        let expected: Vec<_> = TOLD_BEFORE
            .into_iter()
            .map(|days| (AlertKind::CredentialEnds, Some(days)))
            .chain([(AlertKind::CredentialEnded, None)])
            .collect();
        assert_eq!(told, expected);
        assert!(of_credential(24 * 60 + 1).is_empty());
    }

    #[test]
    fn each_step_is_another_alert_and_another_end_too() {
        let key = |left: i64| of_credential(left)[0].key();
        assert_eq!(key(24 * 40), key(24 * 40));
        assert_ne!(key(24 * 40), key(24 * 10));
        assert_ne!(key(24 * 40), key(24 * 41));
    }

    #[test]
    fn a_mailbox_that_fails_or_falls_silent_is_told_and_a_paused_one_is_not() {
        let mailbox = MailboxFacts {
            address: "a@b.example".into(),
            health: MailboxHealth::Healthy,
            health_at: Some(at(-1)),
            health_detail: None,
            activated_at: Some(at(-100)),
            last_delta_at: Some(at(0)),
            subscription_expires_at: Some(at(100)),
        };
        let kinds = |mailbox: MailboxFacts| -> Vec<AlertKind> {
            let facts = Facts { mailboxes: vec![mailbox], ..Facts::default() };
            alerts(&facts, at(0)).into_iter().map(|alert| alert.kind).collect()
        };
        assert_eq!(kinds(mailbox.clone()), []);
        let silent = MailboxFacts { last_delta_at: Some(at(-1)), ..mailbox.clone() };
        assert_eq!(kinds(silent.clone()), [AlertKind::MailboxSilent]);
        assert_eq!(kinds(MailboxFacts { health: MailboxHealth::Paused, ..silent }), []);
        let failing = MailboxFacts { health: MailboxHealth::Failing, ..mailbox.clone() };
        assert_eq!(kinds(failing.clone()), [AlertKind::MailboxFailing]);
        assert_eq!(kinds(MailboxFacts { health_at: Some(at(0)), ..failing }), []);
        let ending = MailboxFacts { subscription_expires_at: Some(at(20)), ..mailbox };
        assert_eq!(kinds(ending), [AlertKind::SubscriptionEnds]);
    }
}
