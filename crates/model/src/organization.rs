//! The organisation as its file declares it: plain values, named by what people
//! call them (an address, a name) and never by an id.
//!
//! The binary reads one from the file, the store reads one from its tables, and
//! [`plan()`] says what leads from the second to the first. Rule kept: two
//! organisations that mean the same are equal.

mod merge;
mod plan;
mod uses;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::SignedDuration;

use crate::{
    EmailAddress, Timestamp,
    credential::Proof,
    mailbox::{AfterTaking, Opened, TakeFrom},
    user::Role,
    words::words,
};

pub use plan::{Action, Plan, Step, list_unnamed, plan};
pub use uses::{Refusal, Use, Uses};

words! {
    /// The kinds of things of which an organisation consists, in the order in which one needs another.
    pub enum Kind {
        /// The organisation itself.
        Organization = "organization",
        /// A skill.
        Skill = "skill",
        /// A person who signs in.
        User = "user",
        /// A queue.
        Queue = "queue",
        /// Credentials and settings for one Microsoft tenant.
        Integration = "integration",
        /// An inbound domain.
        Domain = "domain",
        /// A connected mailbox.
        Mailbox = "mailbox",
        /// An inbound route.
        Route = "route",
    }
}

words! {
    /// What an integration connects to.
    pub enum IntegrationKind {
        /// Microsoft 365 through Microsoft Graph.
        MicrosoftGraph = "microsoft-graph",
    }
}

words! {
    /// What a domain is for.
    pub enum DomainKind {
        /// Its mail comes in.
        Inbound = "inbound",
    }
}

/// A thing of the organisation: its kind and what people call it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub struct Named {
    /// Its kind.
    pub kind: Kind,
    /// Its name, or its address.
    pub name: String,
}

impl Named {
    /// The thing of this kind and name.
    pub fn new(kind: Kind, name: impl Into<String>) -> Self {
        Self { kind, name: name.into() }
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// Everything that the organisation file declares. Lists stand in declared order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Organization {
    /// What it is called; empty where nothing was ever applied.
    pub name: String,
    /// Its languages, the default first (BCP 47, lower case).
    pub languages: Vec<String>,
    /// Skills that can be asked for.
    pub skills: Vec<Skill>,
    /// Everybody who signs in.
    pub users: Vec<User>,
    /// Where conversations wait.
    pub queues: Vec<Queue>,
    /// How Microsoft tenants are reached.
    pub integrations: Vec<Integration>,
    /// The domains whose mail comes in.
    pub domains: Vec<Domain>,
    /// The mailboxes that are connected.
    pub mailboxes: Vec<Mailbox>,
    /// Where mail goes; the first match wins.
    pub routes: Vec<Route>,
}

/// A skill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skill {
    /// Its name.
    pub name: String,
}

/// A person who signs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The address with which they sign in.
    pub email: EmailAddress,
    /// Their name.
    pub name: String,
    /// What they may do.
    pub roles: BTreeSet<Role>,
    /// What they are good at, from 0 to 5.
    pub skills: BTreeMap<String, u8>,
    /// What they speak, from 0 to 5.
    pub languages: BTreeMap<String, u8>,
    /// How many mail conversations they may have at once.
    pub capacity: u32,
}

/// A queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    /// Its name.
    pub name: String,
    /// How long an agent is alerted.
    pub alerting_timeout: SignedDuration,
    /// Who serves it.
    pub members: BTreeSet<EmailAddress>,
    /// With which codes its conversations end, in the order in which they are offered.
    pub wrap_up_codes: Vec<String>,
}

/// Credentials and settings for one Microsoft tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Integration {
    /// Its name.
    pub name: String,
    /// What it connects to.
    pub kind: IntegrationKind,
    /// Where tokens come from.
    pub token_endpoint: String,
    /// The application.
    pub client_id: String,
    /// Microsoft's cloud, as one word.
    pub cloud: String,
    /// Where Graph is, if not where the cloud says; without a version.
    pub graph_url: Option<String>,
    /// How much is asked of each mailbox.
    pub limits: Limits,
    /// Mailboxes that the application must not reach.
    pub scope_probe: Vec<EmailAddress>,
    /// What it signs in with, the preferred first.
    pub credentials: Vec<Credential>,
}

/// How much is asked of a mailbox. The defaults are Microsoft's limits
/// (<https://learn.microsoft.com/en-us/graph/throttling-limits>).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Requests at one time.
    pub concurrency: u32,
    /// Requests in ten minutes.
    pub requests: u32,
    /// Bytes sent to Microsoft in five minutes.
    pub upload_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { concurrency: 4, requests: 10_000, upload_bytes: 150 * 1024 * 1024 }
    }
}

/// A credential of an integration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// Its name.
    pub name: String,
    /// What it proves itself with.
    pub proof: Proof,
    /// From when it is good, if that is known.
    pub starts_at: Option<Timestamp>,
    /// When it ends, if that is known.
    pub expires_at: Option<Timestamp>,
}

/// An inbound domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Domain {
    /// Its name, in lower case.
    pub name: String,
    /// What it is for.
    pub kind: DomainKind,
    /// The integration that reaches its mailboxes.
    pub integration: String,
}

/// A connected mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mailbox {
    /// Its address.
    pub address: EmailAddress,
    /// The integration through which it is reached.
    pub integration: String,
    /// The folders whose mail is taken.
    pub folders: BTreeSet<String>,
    /// From when on mails are taken.
    pub take_from: TakeFrom,
    /// What is done to a mail in the mailbox once it is stored.
    pub after_taking: AfterTaking,
    /// What becomes of a mail that a person opened before it was taken.
    pub opened: Opened,
}

/// An inbound route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The address it answers for.
    pub address: EmailAddress,
    /// Where its mail waits.
    pub queue: String,
    /// Skills that an agent must have for it.
    pub skills: BTreeSet<String>,
    /// Language that an agent must speak for it (BCP 47, lower case).
    pub language: Option<String>,
    /// Higher is served first; 0 is normal.
    pub priority: i32,
    /// The display name under which it answers.
    pub from_name: Option<String>,
}

/// One kind of thing that is planned alike: found by its key, compared field by field.
trait Item: Clone {
    const KIND: Kind;

    fn key(&self) -> &str;

    /// The fields in which `self` differs from `before`.
    fn differences(&self, before: &Self) -> Vec<&'static str>;

    fn named(&self) -> Named {
        Named::new(Self::KIND, self.key())
    }
}

macro_rules! items {
    ($($type:ident by $key:ident: $($field:ident),*;)*) => {
        $(
            impl Item for $type {
                const KIND: Kind = Kind::$type;

                fn key(&self) -> &str {
                    self.$key.as_str()
                }

                fn differences(&self, before: &Self) -> Vec<&'static str> {
                    let fields: &[(&'static str, bool)] =
                        &[$((stringify!($field), self.$field != before.$field)),*];
                    fields.iter().filter(|(_, differs)| *differs).map(|(name, _)| *name).collect()
                }
            }
        )*
    };
}

items! {
    Skill by name: name;
    User by email: name, roles, skills, languages, capacity;
    Queue by name: alerting_timeout, members, wrap_up_codes;
    Integration by name: kind, token_endpoint, client_id, cloud, graph_url, limits, scope_probe, credentials;
    Domain by name: kind, integration;
    Mailbox by address: integration, folders, take_from, after_taking, opened;
    Route by address: queue, skills, language, priority, from_name;
}

#[cfg(test)]
mod tests;
