//! Turns a plan into the statements of one unit.
//!
//! Each thing is one upsert by id, so that a change never makes a new row; lists
//! inside a thing are written anew when they differ. What is deleted is guarded:
//! work that came in since the plan was made loses the unit, and the caller plans
//! again.

mod delete;
mod upsert;

use std::collections::{BTreeMap, BTreeSet};

use postroom_model::{
    EmailAddress, FolderId, IntegrationId, MailboxId, Timestamp,
    credential::CredentialOrigin,
    organization::{Action, Integration, Kind, Mailbox, Named, Organization, Plan},
};
use uuid::Uuid;

use super::{Present, WriteError};
use crate::{Stmt, Store, Unit, args, credentials, feed::Topic, settings};

/// The unit that carries out `plan`, made for what `present` holds. Empty if the plan is.
///
/// # Errors
/// When a secret can't be sealed, or a thing names one that is not there.
pub fn write(store: &Store, present: &Present, plan: &Plan, now: Timestamp) -> Result<Unit, WriteError> {
    let mut unit = Unit::new();
    if plan.steps.is_empty() {
        return Ok(unit);
    }
    let mut writer = Writer::new(store, present, plan, now);
    writer.write_self(&plan.result);
    writer.write_skills(&plan.result);
    writer.write_users(&plan.result)?;
    writer.write_queues(&plan.result)?;
    writer.write_integrations(&plan.result)?;
    writer.write_domains(&plan.result)?;
    writer.write_mailboxes(&plan.result)?;
    writer.write_routes(&plan.result)?;
    unit.extend(writer.stmts);
    for step in plan.steps.iter().filter(|step| step.action == Action::Delete) {
        if let Some(id) = present.id(step.thing.kind, &step.thing.name) {
            unit.extend(delete::delete(step.thing.kind, id));
        }
    }
    unit.changed(now, Topic::Organization, Kind::Organization);
    Ok(unit)
}

struct Writer<'a> {
    store: &'a Store,
    present: &'a Present,
    actions: BTreeMap<&'a Named, &'a Action>,
    made: BTreeMap<&'a Named, Uuid>,
    now: Timestamp,
    stmts: Vec<Stmt>,
}

impl<'a> Writer<'a> {
    fn new(store: &'a Store, present: &'a Present, plan: &'a Plan, now: Timestamp) -> Self {
        let actions: BTreeMap<_, _> = plan.steps.iter().map(|step| (&step.thing, &step.action)).collect();
        let created = actions.iter().filter(|(_, action)| ***action == Action::Create);
        let made = created.map(|(thing, _)| (*thing, store.entropy.uuid(now))).collect();
        Self { store, present, actions, made, now, stmts: Vec::new() }
    }

    fn push(&mut self, stmt: Stmt) {
        self.stmts.push(stmt);
    }

    /// The id of a thing, old or new, that `user` names.
    fn id(&self, used: Named, user: &Named) -> Result<Uuid, WriteError> {
        let old = self.present.places.get(&used).map(|place| place.id);
        old.or_else(|| self.made.get(&used).copied())
            .ok_or_else(|| WriteError::Dangling { user: user.clone(), used })
    }

    /// Whether `field` of a thing is to be written.
    fn writes(&self, thing: &Named, field: &str) -> bool {
        match self.actions.get(thing) {
            Some(Action::Create) => true,
            Some(Action::Change { fields }) => fields.contains(&field),
            Some(Action::Delete) | None => false,
        }
    }

    /// The id of a thing that is to be written; absent if it stays as it is, but for its position.
    fn written(
        &mut self,
        thing: &Named,
        position: i64,
        reposition: &'static str,
    ) -> Result<Option<Uuid>, WriteError> {
        let id = self.id(thing.clone(), thing)?;
        if self.actions.contains_key(thing) {
            return Ok(Some(id));
        }
        if self.present.places.get(thing).is_some_and(|place| place.position != position) {
            self.push(Stmt::new(reposition, args![id, position]));
        }
        Ok(None)
    }

    fn write_self(&mut self, result: &Organization) {
        if self.actions.contains_key(&Named::new(Kind::Organization, &result.name)) {
            self.push(settings::set(settings::ORGANIZATION_NAME, &result.name));
            self.push(settings::set(settings::ORGANIZATION_LANGUAGES, &result.languages.join(",")));
        }
    }

    fn write_skills(&mut self, result: &Organization) {
        for skill in &result.skills {
            if let Some(id) = self.made.get(&Named::new(Kind::Skill, &skill.name)) {
                self.push(Stmt::new(
                    "INSERT INTO skills (id, name) VALUES ($1, $2)",
                    args![*id, skill.name.as_str()],
                ));
            }
        }
    }

    fn write_users(&mut self, result: &Organization) -> Result<(), WriteError> {
        for (position, user) in (0_i64..).zip(&result.users) {
            let thing = Named::new(Kind::User, user.email.as_str());
            let reposition = "UPDATE users SET position = $2 WHERE id = $1";
            let Some(id) = self.written(&thing, position, reposition)? else { continue };
            self.push(upsert::user(id, user, position, self.now));
            if self.writes(&thing, "skills") {
                self.push(Stmt::new("DELETE FROM user_skills WHERE user_id = $1", args![id]));
                for (name, proficiency) in &user.skills {
                    let skill = self.id(Named::new(Kind::Skill, name), &thing)?;
                    self.push(Stmt::new(
                        "INSERT INTO user_skills (user_id, skill_id, proficiency) VALUES ($1, $2, $3)",
                        args![id, skill, i64::from(*proficiency)],
                    ));
                }
            }
            if self.writes(&thing, "languages") {
                self.push(Stmt::new("DELETE FROM user_languages WHERE user_id = $1", args![id]));
                for (language, proficiency) in &user.languages {
                    self.push(Stmt::new(
                        "INSERT INTO user_languages (user_id, language, proficiency) VALUES ($1, $2, $3)",
                        args![id, language.as_str(), i64::from(*proficiency)],
                    ));
                }
            }
        }
        Ok(())
    }

    fn write_queues(&mut self, result: &Organization) -> Result<(), WriteError> {
        for (position, queue) in (0_i64..).zip(&result.queues) {
            let thing = Named::new(Kind::Queue, &queue.name);
            let reposition = "UPDATE queues SET position = $2 WHERE id = $1";
            let Some(id) = self.written(&thing, position, reposition)? else { continue };
            self.push(upsert::queue(id, queue, position));
            if self.writes(&thing, "members") {
                self.push(Stmt::new("DELETE FROM queue_members WHERE queue_id = $1", args![id]));
                for member in &queue.members {
                    let user = self.id(Named::new(Kind::User, member.as_str()), &thing)?;
                    self.push(Stmt::new(
                        "INSERT INTO queue_members (queue_id, user_id) VALUES ($1, $2)",
                        args![id, user],
                    ));
                }
            }
            if self.writes(&thing, "wrap_up_codes") {
                self.push(Stmt::new("DELETE FROM wrap_up_codes WHERE queue_id = $1", args![id]));
                for (place, code) in (0_i64..).zip(&queue.wrap_up_codes) {
                    self.push(Stmt::new(
                        "INSERT INTO wrap_up_codes (queue_id, name, position) VALUES ($1, $2, $3)",
                        args![id, code.as_str(), place],
                    ));
                }
            }
        }
        Ok(())
    }

    fn write_integrations(&mut self, result: &Organization) -> Result<(), WriteError> {
        for (position, integration) in (0_i64..).zip(&result.integrations) {
            let thing = Named::new(Kind::Integration, &integration.name);
            let reposition = "UPDATE integrations SET position = $2 WHERE id = $1";
            let Some(id) = self.written(&thing, position, reposition)? else { continue };
            self.push(upsert::integration(id, integration, position));
            if self.writes(&thing, "credentials") {
                self.write_credentials(IntegrationId::from_uuid(id), integration)?;
            }
        }
        Ok(())
    }

    fn write_credentials(&mut self, id: IntegrationId, integration: &Integration) -> Result<(), WriteError> {
        self.push(credentials::delete_of_file(id));
        for (place, credential) in (0_i64..).zip(&integration.credentials) {
            let insert = credentials::insert(self.store, id, credential, CredentialOrigin::File, place)
                .map_err(|cause| WriteError::Seal { name: credential.name.clone(), cause })?;
            self.push(insert);
        }
        Ok(())
    }

    fn write_domains(&mut self, result: &Organization) -> Result<(), WriteError> {
        for (position, domain) in (0_i64..).zip(&result.domains) {
            let thing = Named::new(Kind::Domain, &domain.name);
            let reposition = "UPDATE domains SET position = $2 WHERE id = $1";
            let Some(id) = self.written(&thing, position, reposition)? else { continue };
            let integration = self.id(Named::new(Kind::Integration, &domain.integration), &thing)?;
            self.push(upsert::domain(id, domain, integration, position));
        }
        Ok(())
    }

    fn write_mailboxes(&mut self, result: &Organization) -> Result<(), WriteError> {
        for (position, mailbox) in (0_i64..).zip(&result.mailboxes) {
            let thing = Named::new(Kind::Mailbox, mailbox.address.as_str());
            let reposition = "UPDATE mailboxes SET position = $2 WHERE id = $1";
            let Some(id) = self.written(&thing, position, reposition)? else { continue };
            let integration = self.id(Named::new(Kind::Integration, &mailbox.integration), &thing)?;
            self.push(upsert::mailbox(id, mailbox, integration, position, self.now));
            if self.writes(&thing, "folders") {
                self.write_folders(MailboxId::from_uuid(id), mailbox);
            }
            if self.writes(&thing, "take_from") || self.writes(&thing, "integration") {
                // What was left out as too old may be wanted now: the next round starts anew.
                self.push(Stmt::new(
                    "UPDATE folders SET delta_link = NULL, resume_link = NULL WHERE mailbox_id = $1",
                    args![id],
                ));
            }
            if self.writes(&thing, "integration") {
                // Ids of folders and subscriptions belong to the tenant that gave them.
                self.push(Stmt::new("UPDATE folders SET graph_id = NULL WHERE mailbox_id = $1", args![id]));
                self.push(Stmt::new(
                    "DELETE FROM subscriptions WHERE folder_id IN (SELECT id FROM folders WHERE mailbox_id = $1)",
                    args![id],
                ));
            }
        }
        Ok(())
    }

    fn write_folders(&mut self, id: MailboxId, mailbox: &Mailbox) {
        for name in &mailbox.folders {
            let folder = FolderId::from_uuid(self.store.entropy.uuid(self.now));
            self.push(Stmt::new(
                "INSERT INTO folders (id, mailbox_id, name, older_count) VALUES ($1, $2, $3, 0) \
                 ON CONFLICT (mailbox_id, name) DO NOTHING",
                args![folder, id, name.as_str()],
            ));
        }
        for gone in self.present.folders(&mailbox.address).difference(&mailbox.folders) {
            self.stmts.push(Stmt::new(
                "DELETE FROM folders WHERE mailbox_id = $1 AND name = $2",
                args![id, gone.as_str()],
            ));
        }
    }

    fn write_routes(&mut self, result: &Organization) -> Result<(), WriteError> {
        for (position, route) in (0_i64..).zip(&result.routes) {
            let thing = Named::new(Kind::Route, route.address.as_str());
            let reposition = "UPDATE routes SET position = $2 WHERE id = $1";
            let Some(id) = self.written(&thing, position, reposition)? else { continue };
            let queue = self.id(Named::new(Kind::Queue, &route.queue), &thing)?;
            self.push(upsert::route(id, route, queue, position));
            if self.writes(&thing, "skills") {
                self.push(Stmt::new("DELETE FROM route_skills WHERE route_id = $1", args![id]));
                for name in &route.skills {
                    let skill = self.id(Named::new(Kind::Skill, name), &thing)?;
                    self.push(Stmt::new(
                        "INSERT INTO route_skills (route_id, skill_id) VALUES ($1, $2)",
                        args![id, skill],
                    ));
                }
            }
        }
        Ok(())
    }
}

impl Present {
    fn folders(&self, address: &EmailAddress) -> BTreeSet<String> {
        let mailbox = self.organization.mailboxes.iter().find(|mailbox| mailbox.address == *address);
        mailbox.map(|mailbox| mailbox.folders.clone()).unwrap_or_default()
    }
}
