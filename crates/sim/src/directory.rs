//! The directory of the tenant: applications with their credentials, what was
//! consented to, and which mailboxes an application may use.
//!
//! Changed through the administration methods of the simulator, read by Entra ID
//! (credentials, roles) and by Graph (the decision about a mailbox). Source:
//! <https://learn.microsoft.com/en-us/graph/auth-limit-mailbox-access> and
//! <https://learn.microsoft.com/en-us/exchange/permissions-exo/application-rbac>.

mod certificate;
mod lagging;

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

pub use certificate::CertificateFault;
pub(crate) use certificate::{AppCertificate, PublicKey};
pub(crate) use lagging::Lagging;

use crate::clock::later;
use crate::config::Config;
use crate::random::Random;

/// Application permissions that mail programs use, with the ids of their roles:
/// <https://learn.microsoft.com/en-us/graph/permissions-reference>.
pub(crate) const ROLES: [&str; 7] = [
    "Mail.ReadBasic.All",
    "Mail.Read",
    "Mail.ReadWrite",
    "Mail.Send",
    "MailboxSettings.Read",
    "User.ReadBasic.All",
    "User.Read.All",
];

/// What an application without further ado is consented to.
pub(crate) const USUAL_ROLES: [&str; 4] =
    ["Mail.ReadWrite", "Mail.Send", "MailboxSettings.Read", "User.Read.All"];

/// How long a new secret lives: <https://learn.microsoft.com/en-us/graph/api/application-addpassword>.
const SECRET_LIFE: SignedDuration = SignedDuration::from_hours(2 * 365 * 24);

/// What a request needs leave for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Permission {
    ReadBasic,
    Read,
    ReadWrite,
    Send,
    ReadSettings,
    ReadUsers,
}

impl Permission {
    /// The roles of which each one is enough.
    fn roles(self) -> &'static [&'static str] {
        match self {
            Self::ReadBasic => &["Mail.ReadBasic.All", "Mail.ReadBasic", "Mail.Read", "Mail.ReadWrite"],
            Self::Read => &["Mail.Read", "Mail.ReadWrite"],
            Self::ReadWrite => &["Mail.ReadWrite"],
            Self::Send => &["Mail.Send"],
            Self::ReadSettings => &["MailboxSettings.Read", "MailboxSettings.ReadWrite"],
            Self::ReadUsers => &["User.ReadBasic.All", "User.Read.All"],
        }
    }

    fn is_in(self, roles: &BTreeSet<String>) -> bool {
        self.roles().iter().any(|role| roles.contains(*role))
    }

    /// Whether an RBAC role such as `Application Mail.ReadWrite` covers it.
    fn is_covered_by(self, role: &str) -> bool {
        match role.strip_prefix("Application ").unwrap_or(role) {
            "Mail Full Access" | "Exchange Full Access" => self != Self::ReadUsers,
            role => self.roles().contains(&role),
        }
    }
}

/// What an access policy does with the mailboxes it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum AccessRight {
    /// The application may use these and no others.
    RestrictAccess,
    /// The application may not use these.
    DenyAccess,
}

/// An application access policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// What it does.
    pub access_right: AccessRight,
    /// Primary addresses of the members of its scope group.
    pub mailboxes: Vec<String>,
}

/// An RBAC role of an application in Exchange Online.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Assignment {
    /// The role, such as `Application Mail.ReadWrite`.
    pub role: String,
    /// Primary addresses of the mailboxes in its management scope.
    pub mailboxes: Vec<String>,
}

/// Whether an application may do something with a mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Granted,
    /// Neither consent nor RBAC.
    Denied,
    /// Consented to, but an access policy is in the way.
    Blocked,
}

/// The decision: what Entra ID granted, narrowed by access policies, and what RBAC adds.
pub(crate) fn decide(
    roles: &BTreeSet<String>,
    policies: &[Policy],
    assignments: &[Assignment],
    mailbox: &str,
    needed: Permission,
) -> Access {
    let names = |mailboxes: &[String]| mailboxes.iter().any(|name| name.eq_ignore_ascii_case(mailbox));
    let by_rbac = assignments
        .iter()
        .any(|assignment| needed.is_covered_by(&assignment.role) && names(&assignment.mailboxes));
    let matching = |right: AccessRight| {
        policies.iter().any(|policy| policy.access_right == right && names(&policy.mailboxes))
    };
    let is_restricted = policies.iter().any(|policy| policy.access_right == AccessRight::RestrictAccess);
    let is_blocked =
        matching(AccessRight::DenyAccess) || (is_restricted && !matching(AccessRight::RestrictAccess));
    match (by_rbac, needed.is_in(roles), is_blocked) {
        (true, _, _) | (_, true, false) => Access::Granted,
        (false, true, true) => Access::Blocked,
        (false, false, _) => Access::Denied,
    }
}

/// A client secret.
#[derive(Clone, Debug)]
pub(crate) struct Secret {
    pub(crate) key_id: Uuid,
    pub(crate) name: String,
    pub(crate) value: String,
    pub(crate) starts: Timestamp,
    pub(crate) ends: Timestamp,
    /// Entra ID knows it from this moment on.
    pub(crate) known_from: Timestamp,
}

/// An identity provider outside whose assertions count as the application's:
/// <https://learn.microsoft.com/en-us/entra/workload-id/workload-identity-federation>.
#[derive(Clone, Debug)]
pub(crate) struct Federation {
    pub(crate) key_id: Uuid,
    pub(crate) issuer: String,
    pub(crate) subject: String,
    pub(crate) audience: String,
    pub(crate) key: PublicKey,
}

/// An application with its service principal in the tenant.
#[derive(Clone, Debug)]
pub(crate) struct Application {
    pub(crate) client_id: Uuid,
    pub(crate) name: String,
    /// Object id of the registration.
    pub(crate) object_id: Uuid,
    /// Object id of the service principal, the `oid` of its tokens.
    pub(crate) principal_id: Uuid,
    pub(crate) is_enabled: bool,
    pub(crate) secrets: Vec<Secret>,
    pub(crate) certificates: Vec<AppCertificate>,
    pub(crate) federations: Vec<Federation>,
    pub(crate) roles: Lagging<BTreeSet<String>>,
    /// Where people are sent back to after they signed in.
    pub(crate) redirects: BTreeSet<String>,
    pub(crate) policies: Lagging<Vec<Policy>>,
    pub(crate) assignments: Lagging<Vec<Assignment>>,
}

impl Application {
    /// An application with the usual roles and no credential.
    pub(crate) fn new(client_id: Uuid, name: String, random: &mut Random) -> Self {
        Self {
            client_id,
            name,
            object_id: random.guid(),
            principal_id: random.guid(),
            is_enabled: true,
            secrets: Vec::new(),
            certificates: Vec::new(),
            federations: Vec::new(),
            roles: Lagging::new(USUAL_ROLES.map(str::to_owned).into()),
            redirects: BTreeSet::new(),
            policies: Lagging::new(Vec::new()),
            assignments: Lagging::new(Vec::new()),
        }
    }

    /// The application that a configuration names.
    pub(crate) fn sample(config: &Config, now: Timestamp, random: &mut Random) -> Self {
        let client_id = Uuid::parse_str(&config.client_id).unwrap_or_default();
        let mut application = Self::new(client_id, "Sample application".into(), random);
        let key_id = random.guid();
        application.add_secret(key_id, "sample".into(), config.client_secret.clone(), now, None);
        application
    }

    pub(crate) fn add_secret(
        &mut self,
        key_id: Uuid,
        name: String,
        value: String,
        now: Timestamp,
        ends: Option<Timestamp>,
    ) {
        let ends = ends.unwrap_or_else(|| later(now, SECRET_LIFE.unsigned_abs()));
        self.secrets.push(Secret { key_id, name, value, starts: now, ends, known_from: now });
    }

    /// The decision about a mailbox at a moment, with the roles of a token.
    pub(crate) fn decide(
        &self,
        roles: &BTreeSet<String>,
        mailbox: &str,
        needed: Permission,
        now: Timestamp,
    ) -> Access {
        decide(roles, self.policies.at(now), self.assignments.at(now), mailbox, needed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roles(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn policy(access_right: AccessRight, mailbox: &str) -> Policy {
        Policy { access_right, mailboxes: vec![mailbox.into()] }
    }

    #[test]
    fn a_wider_role_implies_the_narrower_ones() {
        let may = |role: &str, needed| decide(&roles(&[role]), &[], &[], "a@x", needed) == Access::Granted;
        assert!(may("Mail.ReadWrite", Permission::ReadBasic) && may("Mail.ReadWrite", Permission::Read));
        assert!(may("Mail.Read", Permission::ReadBasic) && !may("Mail.Read", Permission::ReadWrite));
        assert!(!may("Mail.ReadWrite", Permission::Send) && !may("Mail.ReadBasic.All", Permission::Read));
    }

    #[test]
    fn policies_narrow_what_was_consented_to() {
        use AccessRight::{DenyAccess, RestrictAccess};
        let judge =
            |policies: &[Policy]| decide(&roles(&["Mail.Read"]), policies, &[], "a@x", Permission::Read);
        assert_eq!(judge(&[]), Access::Granted);
        assert_eq!(judge(&[policy(RestrictAccess, "A@x")]), Access::Granted);
        assert_eq!(judge(&[policy(RestrictAccess, "b@x")]), Access::Blocked);
        assert_eq!(judge(&[policy(DenyAccess, "b@x")]), Access::Granted);
        assert_eq!(judge(&[policy(RestrictAccess, "a@x"), policy(DenyAccess, "a@x")]), Access::Blocked);
    }

    #[test]
    fn rbac_adds_to_consent_and_no_policy_narrows_it() {
        let assigned = [Assignment { role: "Application Mail.Read".into(), mailboxes: vec!["a@x".into()] }];
        let judge = |mailbox, needed| {
            decide(&roles(&[]), &[policy(AccessRight::DenyAccess, "a@x")], &assigned, mailbox, needed)
        };
        assert_eq!(judge("a@x", Permission::Read), Access::Granted);
        assert_eq!(judge("b@x", Permission::Read), Access::Denied);
        assert_eq!(judge("a@x", Permission::ReadWrite), Access::Denied);
        let full =
            [Assignment { role: "Application Mail Full Access".into(), mailboxes: vec!["a@x".into()] }];
        assert_eq!(decide(&roles(&[]), &[], &full, "a@x", Permission::Send), Access::Granted);
    }
}
