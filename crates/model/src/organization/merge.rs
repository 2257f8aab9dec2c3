//! What an organisation is once a plan was carried out: all that the file
//! declares, in its order, and behind it what the file does not name and what
//! was not deleted.

use std::collections::{BTreeSet, HashSet};

use super::{Item, Named, Organization};

/// The organisation after `desired` was applied to `present` and `deleted` was taken away.
pub(super) fn merge(
    desired: &Organization,
    present: &Organization,
    deleted: &BTreeSet<Named>,
) -> Organization {
    Organization {
        name: desired.name.clone(),
        languages: desired.languages.clone(),
        skills: merge_list(&desired.skills, &present.skills, deleted),
        users: merge_list(&desired.users, &present.users, deleted),
        queues: merge_list(&desired.queues, &present.queues, deleted),
        integrations: merge_list(&desired.integrations, &present.integrations, deleted),
        domains: merge_list(&desired.domains, &present.domains, deleted),
        mailboxes: merge_list(&desired.mailboxes, &present.mailboxes, deleted),
        routes: merge_list(&desired.routes, &present.routes, deleted),
    }
}

/// What of `present` the file does not name.
pub(super) fn unnamed<'a, T: Item>(desired: &[T], present: &'a [T]) -> impl Iterator<Item = &'a T> {
    let named: HashSet<String> = desired.iter().map(|item| item.key().to_owned()).collect();
    present.iter().filter(move |item| !named.contains(item.key()))
}

fn merge_list<T: Item>(desired: &[T], present: &[T], deleted: &BTreeSet<Named>) -> Vec<T> {
    let kept = unnamed(desired, present).filter(|item| !deleted.contains(&item.named()));
    desired.iter().chain(kept).cloned().collect()
}
