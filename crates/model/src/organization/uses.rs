//! What keeps a thing from being deleted: other things of the organisation that
//! name it, and work that hangs on it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::{Kind, Named, Organization, merge::merge};

/// A number of things outside the organisation file that need one of its things.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    /// How many.
    pub count: u64,
    /// What they are, in the singular (`open conversation`).
    pub what: &'static str,
}

impl fmt::Display for Use {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}{}", self.count, self.what, if self.count == 1 { "" } else { "s" })
    }
}

/// What the store knows of the work that hangs on each thing.
pub type Uses = BTreeMap<Named, Vec<Use>>;

/// A thing that can't be deleted, and why.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Refusal {
    /// The thing.
    #[serde(flatten)]
    pub thing: Named,
    /// Who uses it.
    pub used_by: Vec<String>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is used by {}", self.thing, self.used_by.join(", "))?;
        match self.thing.kind {
            Kind::User => f.write_str("; keep it in the file, with `roles: []` if the person has left"),
            _ => f.write_str("; keep it in the file, or take those away first"),
        }
    }
}

/// Divides what is to be deleted into what can go and what is in use. A thing that
/// stays because it is used keeps in turn what it uses itself.
pub(super) fn divide(
    desired: &Organization,
    present: &Organization,
    unnamed: &[Named],
    uses: &Uses,
) -> (BTreeSet<Named>, Vec<Refusal>) {
    let mut deleted: BTreeSet<Named> = unnamed.iter().cloned().collect();
    loop {
        let users = list_users(&merge(desired, present, &deleted), uses);
        let before = deleted.len();
        deleted.retain(|thing| !users.contains_key(thing));
        if deleted.len() == before {
            let refused = unnamed.iter().filter(|thing| !deleted.contains(*thing)).map(|thing| Refusal {
                thing: thing.clone(),
                used_by: users.get(thing).cloned().unwrap_or_default(),
            });
            let refused = refused.collect();
            return (deleted, refused);
        }
    }
}

/// Who uses what: things of `remaining` first, then work.
fn list_users(remaining: &Organization, uses: &Uses) -> BTreeMap<Named, Vec<String>> {
    let mut users: BTreeMap<Named, Vec<String>> = BTreeMap::new();
    for (used, user) in references(remaining) {
        users.entry(used).or_default().push(user.to_string());
    }
    for (used, work) in uses {
        let work = work.iter().filter(|a_use| a_use.count > 0).map(Use::to_string);
        let work: Vec<String> = work.collect();
        if !work.is_empty() {
            users.entry(used.clone()).or_default().extend(work);
        }
    }
    users
}

/// Every pair of a thing and another that names it.
fn references(organization: &Organization) -> Vec<(Named, Named)> {
    let mut found = Vec::new();
    for queue in &organization.queues {
        let user = Named::new(Kind::Queue, &queue.name);
        found
            .extend(queue.members.iter().map(|email| (Named::new(Kind::User, email.as_str()), user.clone())));
    }
    for route in &organization.routes {
        let user = Named::new(Kind::Route, route.address.as_str());
        found.push((Named::new(Kind::Queue, &route.queue), user.clone()));
        found.push((Named::new(Kind::Domain, route.address.domain()), user.clone()));
        found.extend(route.skills.iter().map(|skill| (Named::new(Kind::Skill, skill), user.clone())));
    }
    for person in &organization.users {
        let user = Named::new(Kind::User, person.email.as_str());
        found.extend(person.skills.keys().map(|skill| (Named::new(Kind::Skill, skill), user.clone())));
    }
    for mailbox in &organization.mailboxes {
        let user = Named::new(Kind::Mailbox, mailbox.address.as_str());
        found.push((Named::new(Kind::Integration, &mailbox.integration), user.clone()));
        found.push((Named::new(Kind::Domain, mailbox.address.domain()), user));
    }
    for domain in &organization.domains {
        let user = Named::new(Kind::Domain, &domain.name);
        found.push((Named::new(Kind::Integration, &domain.integration), user));
    }
    found
}
