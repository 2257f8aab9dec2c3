//! From the records of the file to the organisation they mean: what is left out
//! gets its default here.
//!
//! Answers nothing only where a record is incomplete, which was reported then.

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;
use postroom_engine::credentials;
use postroom_graph::Cloud;
use postroom_model::{
    mailbox::{AfterTaking, Opened, TakeFrom},
    organization::{
        Credential, Domain, Integration, Limits, Mailbox, Organization, Queue, Route, Skill, User,
    },
};

use super::{
    document::{self, Document},
    read::{Located, Named},
    secrets::Proofs,
    values::{Name, Proficiency},
};

const ALERTING_TIMEOUT: SignedDuration = SignedDuration::from_secs(60);

/// The organisation that the file means.
pub(super) fn convert(document: &Document, proofs: &Proofs) -> Option<Organization> {
    let identity = document.organization.as_ref()?;
    let languages = identity.languages.as_ref();
    let integrations = document.integrations.as_deref().unwrap_or_default();
    let mut mailboxes = Vec::new();
    for from in integrations {
        let name = text(from.name.as_ref()?);
        let within = from.mailboxes.iter().flatten().map(|from| mailbox(from, &name));
        mailboxes.extend(within.collect::<Option<Vec<_>>>()?);
    }
    Some(Organization {
        name: text(identity.name.as_ref()?),
        languages: languages.map_or_else(
            || vec!["en".to_owned()],
            |list| list.0.iter().map(|language| language.value.0.clone()).collect(),
        ),
        skills: document.skills.iter().flatten().map(|name| Skill { name: text(name) }).collect(),
        users: all(&document.users, user)?,
        queues: all(&document.queues, queue)?,
        integrations: integrations.iter().map(|from| integration(from, proofs)).collect::<Option<_>>()?,
        domains: all(&document.domains, domain)?,
        mailboxes,
        routes: all(&document.routes, route)?,
    })
}

fn all<F, T>(from: &Option<Vec<F>>, convert: impl Fn(&F) -> Option<T>) -> Option<Vec<T>> {
    from.iter().flatten().map(convert).collect()
}

fn text(name: &Located<Name>) -> String {
    name.value.0.clone()
}

fn texts<C: FromIterator<String>>(names: &Option<Vec<Located<Name>>>) -> C {
    names.iter().flatten().map(text).collect()
}

fn integration(from: &document::Integration, proofs: &Proofs) -> Option<Integration> {
    Some(Integration {
        name: text(from.name.as_ref()?),
        kind: from.kind.as_ref()?.value.0,
        token_endpoint: from.token_endpoint.as_ref()?.value.0.to_string(),
        client_id: from.client_id.as_ref()?.value.0.clone(),
        cloud: from.cloud.as_ref().map_or(Cloud::Global, |cloud| cloud.value.0).as_str().to_owned(),
        graph_url: from.graph_url.as_ref().map(|url| url.value.0.clone()),
        limits: limits(from.limits.as_ref()),
        scope_probe: from.scope_probe.iter().flatten().map(|address| address.value.0.clone()).collect(),
        credentials: from
            .credentials
            .iter()
            .flat_map(|list| &list.0)
            .map(|from| credential(from, proofs))
            .collect::<Option<_>>()?,
    })
}

fn limits(from: Option<&document::Limits>) -> Limits {
    let usual = Limits::default();
    let Some(from) = from else { return usual };
    Limits {
        concurrency: from.concurrency.as_ref().map_or(usual.concurrency, |number| number.value.0),
        requests: from.requests.as_ref().map_or(usual.requests, |number| number.value.0),
        upload_bytes: from
            .upload_mib
            .as_ref()
            .map_or(usual.upload_bytes, |number| u64::from(number.value.0) * 1024 * 1024),
    }
}

fn credential(from: &document::Credential, proofs: &Proofs) -> Option<Credential> {
    let name = from.name.as_ref()?;
    let proof = proofs.get(&name.at)?.clone();
    let starts_at = from.starts.as_ref().map(|day| day.value.0);
    let expires_at = from.expires.as_ref().map(|day| day.value.0);
    Some(credentials::dated(Credential { name: text(name), proof, starts_at, expires_at }))
}

fn mailbox(from: &document::Mailbox, integration: &str) -> Option<Mailbox> {
    Some(Mailbox {
        address: from.address.as_ref()?.value.0.clone(),
        integration: integration.to_owned(),
        folders: from
            .folders
            .as_ref()
            .map_or_else(|| BTreeSet::from(["inbox".to_owned()]), |list| list.0.iter().map(text).collect()),
        take_from: from.take_from.as_ref().map_or(TakeFrom::Activation, |start| start.value.0),
        after_taking: from.after_taking.as_ref().map_or(AfterTaking::MarkRead, |what| what.value.0.clone()),
        opened: from.opened.as_ref().map_or(Opened::Take, |word| word.value.0),
    })
}

fn domain(from: &document::Domain) -> Option<Domain> {
    Some(Domain {
        name: from.name.as_ref()?.value.0.clone(),
        kind: from.kind.as_ref()?.value.0,
        integration: text(from.integration.as_ref()?),
    })
}

fn route(from: &document::Route) -> Option<Route> {
    Some(Route {
        address: from.address.as_ref()?.value.0.clone(),
        queue: text(from.queue.as_ref()?),
        skills: texts(&from.skills),
        language: from.language.as_ref().map(|language| language.value.0.clone()),
        priority: from.priority.as_ref().map_or(0, |priority| priority.value.0),
        from_name: from.from_name.as_ref().map(text),
    })
}

fn queue(from: &document::Queue) -> Option<Queue> {
    Some(Queue {
        name: text(from.name.as_ref()?),
        alerting_timeout: from.alerting_timeout.as_ref().map_or(ALERTING_TIMEOUT, |timeout| timeout.value.0),
        members: from.members.iter().flatten().map(|member| member.value.0.clone()).collect(),
        wrap_up_codes: texts(&from.wrap_up_codes),
    })
}

fn user(from: &document::User) -> Option<User> {
    let capacity = from.capacity.as_ref().and_then(|capacity| capacity.email.as_ref());
    Some(User {
        email: from.email.as_ref()?.value.0.clone(),
        name: text(from.name.as_ref()?),
        roles: from.roles.as_ref()?.iter().map(|role| role.value.0).collect(),
        skills: ratings(&from.skills, |name| &name.0),
        languages: ratings(&from.languages, |language| &language.0),
        capacity: capacity.map_or(1, |capacity| capacity.value.0),
    })
}

fn ratings<K>(from: &Option<Named<K, Proficiency>>, key: impl Fn(&K) -> &String) -> BTreeMap<String, u8> {
    let pairs = from.iter().flat_map(|named| &named.0);
    pairs.map(|(name, rating)| (key(&name.value).clone(), rating.value.0)).collect()
}
