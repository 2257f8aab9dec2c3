//! What can only be seen in the file as a whole: names that stand twice, and
//! names that nothing has.

use std::collections::{BTreeMap, BTreeSet};

use postroom_graph::Cloud;
use postroom_model::{mailbox::AfterTaking, user::Role};

use super::{
    document::{Document, Integration, Mailbox, Queue, Route, User},
    problem::{Place, Problems, closest},
    read::Located,
    values::{Address, Afterwards, DomainName, Language, Name, Word},
};

/// So many names that could have been meant are listed at most.
const NAMES_LISTED: usize = 8;

/// A value by which things are named.
trait Key {
    fn key(&self) -> &str;
}

macro_rules! keys {
    ($($type:ident: $method:ident),*) => {
        $(impl Key for $type {
            fn key(&self) -> &str {
                self.0.$method()
            }
        })*
    };
}
keys!(Name: as_str, Address: as_str, DomainName: as_str, Language: as_str);

/// The names of all things of one kind.
struct Declared {
    what: &'static str,
    section: &'static str,
    names: BTreeMap<String, Place>,
}

impl Declared {
    /// Notes the names; those that stand twice are reported.
    fn of<'a, K: Key + 'a>(
        what: &'static str,
        section: &'static str,
        names: impl IntoIterator<Item = &'a Located<K>>,
        problems: &mut Problems,
    ) -> Self {
        let mut found = BTreeMap::new();
        for name in names {
            let key = name.value.key();
            match found.get(key) {
                Some(Place { line, .. }) => problems.add(
                    name.at,
                    format!("{what} \"{key}\" stands here twice, first at line {line}; keep one of them"),
                ),
                None => {
                    found.insert(key.to_owned(), name.at);
                }
            }
        }
        Self { what, section, names: found }
    }

    /// Whether there is such a thing; reported if not.
    fn has<K: Key>(&self, name: &Located<K>, problems: &mut Problems) -> bool {
        self.has_key(name.value.key(), name.at, problems)
    }

    fn has_key(&self, key: &str, at: Place, problems: &mut Problems) -> bool {
        if self.names.contains_key(key) {
            return true;
        }
        let Self { what, section, .. } = self;
        let names = || self.names.keys().map(String::as_str);
        let remedy = match closest(key, names()) {
            Some(close) => format!("did you mean \"{close}\"?"),
            None if self.names.is_empty() || self.names.len() > NAMES_LISTED => {
                format!("declare it under `{section}`")
            }
            None => {
                format!(
                    "declare it under `{section}`, where there is {}",
                    names().collect::<Vec<_>>().join(", ")
                )
            }
        };
        problems.add(at, format!("there is no {what} \"{key}\"; {remedy}"));
        false
    }
}

/// Checks the file as a whole.
pub(super) fn check(document: &Document, problems: &mut Problems) {
    let skills = Declared::of("skill", "skills", document.skills.iter().flatten(), problems);
    let users = list(&document.users);
    let queues = list(&document.queues);
    let integrations = list(&document.integrations);
    let domains = list(&document.domains);
    let routes = list(&document.routes);
    if let Some(identity) = &document.organization {
        once("language", identity.languages.iter().flat_map(|list| &list.0), problems);
    }
    let people = Declared::of("user", "users", users.iter().filter_map(|user| user.email.as_ref()), problems);
    let declared_queues =
        Declared::of("queue", "queues", queues.iter().filter_map(|queue| queue.name.as_ref()), problems);
    let declared_integrations = Declared::of(
        "integration",
        "integrations",
        integrations.iter().filter_map(|i| i.name.as_ref()),
        problems,
    );
    let declared_domains =
        Declared::of("domain", "domains", domains.iter().filter_map(|domain| domain.name.as_ref()), problems);
    let mailboxes = integrations.iter().flat_map(|i| i.mailboxes.iter().flatten());
    let addresses: Vec<&Located<Address>> =
        mailboxes.filter_map(|mailbox| mailbox.address.as_ref()).collect();
    Declared::of("mailbox", "mailboxes", addresses.iter().copied(), problems);
    Declared::of("route", "routes", routes.iter().filter_map(|route| route.address.as_ref()), problems);

    for address in addresses {
        check_domain(address, &declared_domains, problems);
    }
    for name in domains.iter().filter_map(|domain| domain.integration.as_ref()) {
        declared_integrations.has(name, problems);
    }
    for integration in integrations {
        check_integration(integration, problems);
    }
    for route in routes {
        check_route(route, &declared_domains, &declared_queues, &skills, problems);
    }
    let agents = list_agents(users);
    for queue in queues {
        check_queue(queue, &people, &agents, problems);
    }
    for (skill, _) in users.iter().filter_map(|user| user.skills.as_ref()).flat_map(|skills| &skills.0) {
        skills.has(skill, problems);
    }
}

fn list<T>(field: &Option<Vec<T>>) -> &[T] {
    field.as_deref().unwrap_or_default()
}

/// Reports what stands twice in a list.
fn once<'a, K: Key + 'a>(
    what: &'static str,
    names: impl IntoIterator<Item = &'a Located<K>>,
    problems: &mut Problems,
) {
    Declared::of(what, "", names, problems);
}

fn check_domain(address: &Located<Address>, domains: &Declared, problems: &mut Problems) {
    domains.has_key(address.value.0.domain(), address.at, problems);
}

fn check_integration(integration: &Integration, problems: &mut Problems) {
    let credentials = integration.credentials.iter().flat_map(|list| &list.0);
    once("credential", credentials.filter_map(|credential| credential.name.as_ref()), problems);
    for mailbox in list(&integration.mailboxes) {
        once("folder", mailbox.folders.iter().flat_map(|list| &list.0), problems);
        check_after_taking(mailbox, problems);
    }
    let closed = list(&integration.scope_probe);
    once("address", closed, problems);
    let connected = list(&integration.mailboxes).iter().filter_map(|mailbox| mailbox.address.as_ref());
    for address in connected.filter(|own| closed.iter().any(|closed| closed.value.0 == own.value.0)) {
        problems.add(
            address.at,
            format!(
                "{} is connected here, so it can't be one that must be refused; take it out of scope_probe",
                address.value.0.as_str()
            ),
        );
    }
    let Some(endpoint) = &integration.token_endpoint else { return };
    let cloud = integration.cloud.as_ref().map_or(Cloud::Global, |cloud| cloud.value.0);
    let host = endpoint.value.0.host_str().unwrap_or_default();
    let is_of = |cloud: &Cloud| cloud.login().strip_prefix("https://") == Some(host);
    let clouds = [Cloud::Global, Cloud::UsGov, Cloud::Dod, Cloud::China];
    if let Some(other) = clouds.iter().find(|cloud| is_of(cloud)).filter(|_| !is_of(&cloud)) {
        problems.add(
            endpoint.at,
            format!(
                "{host} signs in to cloud {}, but the integration says {}; make them agree",
                other.as_str(),
                cloud.as_str()
            ),
        );
    }
}

/// What was taken must not come to a folder from which it would be taken.
fn check_after_taking(mailbox: &Mailbox, problems: &mut Problems) {
    let Some(Located { value: Afterwards(AfterTaking::Move(to)), at }) = &mailbox.after_taking else {
        return;
    };
    let watched = |name: &str| match &mailbox.folders {
        Some(list) => list.0.iter().any(|folder| folder.value.0.eq_ignore_ascii_case(name)),
        None => name.eq_ignore_ascii_case("inbox"),
    };
    if watched(to) {
        problems.add(
            *at,
            format!("mails are taken from \"{to}\" and can't be moved there afterwards; name another folder"),
        );
    }
}

fn check_route(
    route: &Route,
    domains: &Declared,
    queues: &Declared,
    skills: &Declared,
    problems: &mut Problems,
) {
    if let Some(address) = &route.address {
        check_domain(address, domains, problems);
    }
    if let Some(queue) = &route.queue {
        queues.has(queue, problems);
    }
    once("skill", list(&route.skills), problems);
    for skill in list(&route.skills) {
        skills.has(skill, problems);
    }
}

/// Everybody who is an agent, or whose roles could not be read.
fn list_agents(users: &[User]) -> BTreeSet<&str> {
    let is_agent = |roles: &Vec<Located<Word<Role>>>| roles.iter().any(|role| role.value.0 == Role::Agent);
    users
        .iter()
        .filter(|user| user.roles.as_ref().is_none_or(is_agent))
        .filter_map(|user| user.email.as_ref().map(|email| email.value.key()))
        .collect()
}

fn check_queue(queue: &Queue, people: &Declared, agents: &BTreeSet<&str>, problems: &mut Problems) {
    once("wrap-up code", list(&queue.wrap_up_codes), problems);
    once("member", list(&queue.members), problems);
    for member in list(&queue.members) {
        if people.has(member, problems) && !agents.contains(member.value.key()) {
            problems.add(
                member.at,
                format!(
                    "{} is no agent and can't serve a queue; add agent to the user's roles",
                    member.value.key()
                ),
            );
        }
    }
}
