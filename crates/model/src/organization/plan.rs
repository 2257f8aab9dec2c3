//! What leads from the organisation that is there to the one that is declared.
//!
//! Keeps two rules: nothing is deleted unless asked for, and what is in use is
//! never deleted.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;

use serde::Serialize;

use super::{
    Item, Kind, Named, Organization, Refusal, Uses,
    merge::{merge, unnamed},
    uses::divide,
};

/// What is done to one thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "action", rename_all = "lowercase")]
pub enum Action {
    /// It is new.
    Create,
    /// It is there and gets other values.
    Change {
        /// The fields that differ; `order` where it stands at another place.
        fields: Vec<&'static str>,
    },
    /// It goes.
    Delete,
}

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// What is done.
    #[serde(flatten)]
    pub action: Action,
    /// To what.
    #[serde(flatten)]
    pub thing: Named,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.action {
            Action::Create => write!(f, "create {}", self.thing),
            Action::Change { fields } => write!(f, "change {} ({})", self.thing, fields.join(", ")),
            Action::Delete => write!(f, "delete {}", self.thing),
        }
    }
}

/// All steps, and what stays as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// What is done: things come before those that need them, and go after them.
    pub steps: Vec<Step>,
    /// How many things stay as they are.
    pub unchanged: usize,
    /// Things that the file does not name and that stay because nobody asked to delete them.
    pub unnamed: Vec<Named>,
    /// Things that should be deleted and are in use. A plan with one must not be carried out.
    pub refused: Vec<Refusal>,
    /// The organisation once the plan was carried out.
    pub result: Organization,
}

/// What is there and is not declared.
pub fn list_unnamed(desired: &Organization, present: &Organization) -> Vec<Named> {
    fn add<T: Item>(found: &mut Vec<Named>, desired: &[T], present: &[T]) {
        found.extend(unnamed(desired, present).map(Item::named));
    }
    let mut found = Vec::new();
    add(&mut found, &desired.skills, &present.skills);
    add(&mut found, &desired.users, &present.users);
    add(&mut found, &desired.queues, &present.queues);
    add(&mut found, &desired.integrations, &present.integrations);
    add(&mut found, &desired.domains, &present.domains);
    add(&mut found, &desired.mailboxes, &present.mailboxes);
    add(&mut found, &desired.routes, &present.routes);
    found
}

/// Plans the way from `present` to `desired`. Only with `prune` is anything deleted;
/// `uses` tells the work that hangs on the things to delete.
pub fn plan(desired: &Organization, present: &Organization, uses: &Uses, prune: bool) -> Plan {
    let unnamed = list_unnamed(desired, present);
    let (deleted, refused) =
        if prune { divide(desired, present, &unnamed, uses) } else { (BTreeSet::new(), Vec::new()) };
    let result = merge(desired, present, &deleted);
    let mut comparison = Comparison { steps: Vec::new(), unchanged: 0 };
    comparison.compare_self(&result, present);
    comparison.compare(&result.skills, &present.skills);
    comparison.compare(&result.users, &present.users);
    comparison.compare(&result.queues, &present.queues);
    comparison.compare(&result.integrations, &present.integrations);
    comparison.compare(&result.domains, &present.domains);
    comparison.compare(&result.mailboxes, &present.mailboxes);
    comparison.compare(&result.routes, &present.routes);
    let Comparison { mut steps, unchanged } = comparison;
    // What needs another thing goes before it does.
    steps.extend(deleted.into_iter().rev().map(|thing| Step { action: Action::Delete, thing }));
    let unnamed = if prune { Vec::new() } else { unnamed };
    Plan { steps, unchanged, unnamed, refused, result }
}

struct Comparison {
    steps: Vec<Step>,
    unchanged: usize,
}

impl Comparison {
    fn compare_self(&mut self, result: &Organization, present: &Organization) {
        let thing = Named::new(Kind::Organization, &result.name);
        if present.name.is_empty() {
            self.steps.push(Step { action: Action::Create, thing });
            return;
        }
        let fields =
            [("name", result.name != present.name), ("languages", result.languages != present.languages)];
        let fields = fields.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect();
        self.change(thing, fields);
    }

    fn compare<T: Item>(&mut self, result: &[T], present: &[T]) {
        let before: HashMap<&str, &T> = present.iter().map(|item| (item.key(), item)).collect();
        let moved = moved(result, present);
        for item in result {
            let Some(before) = before.get(item.key()) else {
                self.steps.push(Step { action: Action::Create, thing: item.named() });
                continue;
            };
            let mut fields = item.differences(before);
            if moved.contains(item.key()) {
                fields.push("order");
            }
            self.change(item.named(), fields);
        }
    }

    fn change(&mut self, thing: Named, fields: Vec<&'static str>) {
        if fields.is_empty() {
            self.unchanged += 1;
        } else {
            self.steps.push(Step { action: Action::Change { fields }, thing });
        }
    }
}

/// What stands at another place among those that were there and stay.
fn moved<'a, T: Item>(result: &'a [T], present: &'a [T]) -> HashSet<&'a str> {
    if T::KIND == Kind::Skill {
        return HashSet::new(); // skills are a set
    }
    fn keys<'a, T: Item>(items: &'a [T], among: &'a [T]) -> Vec<&'a str> {
        let among: HashSet<&str> = among.iter().map(Item::key).collect();
        items.iter().map(Item::key).filter(|key| among.contains(key)).collect()
    }
    let (now, then) = (keys(result, present), keys(present, result));
    now.into_iter().zip(then).filter(|(now, then)| now != then).map(|(now, _)| now).collect()
}
