//! Reads the whole organisation back from its tables.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use postroom_model::{
    Timestamp,
    credential::CredentialOrigin,
    mailbox::TakeFrom,
    organization::{Domain, Integration, Kind, Mailbox, Named, Organization, Queue, Route, Skill, User},
};
use uuid::Uuid;

use super::{Place, Present};
use crate::{
    Columns, Db, DbError, FromValue, Stmt, Store, args,
    credentials::{self, CredentialError},
    integrations, parse, settings,
};

/// The organisation that is there.
///
/// # Errors
/// When the engine can't be reached, or a credential does not open.
pub async fn find(store: &Store) -> Result<Present, CredentialError> {
    let db = &store.db;
    let mut found = Present { organization: Organization::default(), places: BTreeMap::new() };
    let languages = settings::find(db, settings::ORGANIZATION_LANGUAGES).await?.unwrap_or_default();
    found.organization.name = settings::find(db, settings::ORGANIZATION_NAME).await?.unwrap_or_default();
    found.organization.languages =
        languages.split(',').filter(|language| !language.is_empty()).map(str::to_owned).collect();
    read_skills(db, &mut found).await?;
    read_users(db, &mut found).await?;
    read_queues(db, &mut found).await?;
    read_integrations(store, &mut found).await?;
    read_domains(db, &mut found).await?;
    read_mailboxes(db, &mut found).await?;
    read_routes(db, &mut found).await?;
    Ok(found)
}

/// Runs a query whose first three columns are id, name and position; notes the place of each row.
async fn list_places(
    db: &Db,
    kind: Kind,
    sql: &'static str,
    found: &mut Present,
) -> Result<Vec<(Uuid, String, Columns)>, DbError> {
    let mut list = Vec::new();
    for row in db.query(Stmt::new(sql, args![])).await? {
        let mut c = row.columns();
        let (id, name, position): (Uuid, String, i64) = (c.next()?, c.next()?, c.next()?);
        found.places.insert(Named::new(kind, &name), Place { id, position });
        list.push((id, name, c));
    }
    Ok(list)
}

/// Runs a query of two columns, the first an owner; gives the seconds by owner, in order.
async fn list_by_owner<T: FromValue>(db: &Db, sql: &'static str) -> Result<BTreeMap<Uuid, Vec<T>>, DbError> {
    let mut by_owner: BTreeMap<Uuid, Vec<T>> = BTreeMap::new();
    for row in db.query(Stmt::new(sql, args![])).await? {
        let mut c = row.columns();
        by_owner.entry(c.next()?).or_default().push(c.next()?);
    }
    Ok(by_owner)
}

/// Runs a query of owner, name and proficiency.
async fn list_ratings(db: &Db, sql: &'static str) -> Result<BTreeMap<Uuid, BTreeMap<String, u8>>, DbError> {
    let mut by_owner: BTreeMap<Uuid, BTreeMap<String, u8>> = BTreeMap::new();
    for row in db.query(Stmt::new(sql, args![])).await? {
        let mut c = row.columns();
        let (owner, name, rating): (Uuid, String, u32) = (c.next()?, c.next()?, c.next()?);
        by_owner.entry(owner).or_default().insert(name, u8::try_from(rating).unwrap_or(u8::MAX));
    }
    Ok(by_owner)
}

async fn read_skills(db: &Db, found: &mut Present) -> Result<(), DbError> {
    let sql = "SELECT id, name, 0 FROM skills ORDER BY name";
    for (_, name, _) in list_places(db, Kind::Skill, sql, found).await? {
        found.organization.skills.push(Skill { name });
    }
    Ok(())
}

async fn read_users(db: &Db, found: &mut Present) -> Result<(), DbError> {
    let mut skills = list_ratings(
        db,
        "SELECT u.user_id, s.name, u.proficiency FROM user_skills u JOIN skills s ON s.id = u.skill_id",
    )
    .await?;
    let mut languages = list_ratings(db, "SELECT user_id, language, proficiency FROM user_languages").await?;
    let sql = "SELECT id, email, position, name, roles, email_capacity FROM users ORDER BY position, email";
    for (id, email, mut c) in list_places(db, Kind::User, sql, found).await? {
        let name = c.next()?;
        let roles: String = c.next()?;
        found.organization.users.push(User {
            email: parse(&email)?,
            name,
            roles: roles.split(',').filter(|word| !word.is_empty()).map(parse).collect::<Result<_, _>>()?,
            capacity: c.next()?,
            skills: skills.remove(&id).unwrap_or_default(),
            languages: languages.remove(&id).unwrap_or_default(),
        });
    }
    Ok(())
}

async fn read_queues(db: &Db, found: &mut Present) -> Result<(), DbError> {
    let mut members = list_by_owner::<String>(
        db,
        "SELECT m.queue_id, u.email FROM queue_members m JOIN users u ON u.id = m.user_id",
    )
    .await?;
    let mut codes =
        list_by_owner(db, "SELECT queue_id, name FROM wrap_up_codes ORDER BY queue_id, position").await?;
    let sql = "SELECT id, name, position, alerting_timeout_us FROM queues ORDER BY position, name";
    for (id, name, mut c) in list_places(db, Kind::Queue, sql, found).await? {
        let members = members.remove(&id).unwrap_or_default();
        found.organization.queues.push(Queue {
            name,
            alerting_timeout: SignedDuration::from_micros(c.next()?),
            members: members.iter().map(|email| parse(email)).collect::<Result<_, _>>()?,
            wrap_up_codes: codes.remove(&id).unwrap_or_default(),
        });
    }
    Ok(())
}

async fn read_integrations(store: &Store, found: &mut Present) -> Result<(), CredentialError> {
    let sql = "SELECT id, name, position, kind FROM integrations ORDER BY position, id";
    let mut kinds = BTreeMap::new();
    for (id, _, mut c) in list_places(&store.db, Kind::Integration, sql, found).await? {
        kinds.insert(id, parse(&c.next::<String>()?)?);
    }
    for opened in integrations::list(store).await? {
        // One that was made between the two reads shows up with the next reading.
        let Some(kind) = kinds.remove(&opened.id.uuid()) else { continue };
        found.organization.integrations.push(Integration {
            name: opened.name,
            kind,
            token_endpoint: opened.token_endpoint,
            client_id: opened.client_id,
            cloud: opened.cloud,
            graph_url: opened.graph_url,
            limits: opened.limits,
            scope_probe: opened.scope_probe,
            credentials: opened
                .credentials
                .into_iter()
                // Those of commands are none of the file's business.
                .filter(|c| c.origin == CredentialOrigin::File)
                .map(credentials::Credential::declared)
                .collect(),
        });
    }
    Ok(())
}

async fn read_domains(db: &Db, found: &mut Present) -> Result<(), DbError> {
    let sql = "SELECT d.id, d.name, d.position, d.kind, i.name FROM domains d \
               JOIN integrations i ON i.id = d.integration_id ORDER BY d.position, d.name";
    for (_, name, mut c) in list_places(db, Kind::Domain, sql, found).await? {
        let kind = parse(&c.next::<String>()?)?;
        found.organization.domains.push(Domain { name, kind, integration: c.next()? });
    }
    Ok(())
}

async fn read_mailboxes(db: &Db, found: &mut Present) -> Result<(), DbError> {
    let mut folders = list_by_owner::<String>(db, "SELECT mailbox_id, name FROM folders").await?;
    let sql = "SELECT m.id, m.address, m.position, i.name, m.take_from, m.after_taking, m.opened FROM mailboxes m \
               JOIN integrations i ON i.id = m.integration_id ORDER BY m.position, m.id";
    for (id, address, mut c) in list_places(db, Kind::Mailbox, sql, found).await? {
        found.organization.mailboxes.push(Mailbox {
            address: parse(&address)?,
            integration: c.next()?,
            take_from: c.next::<Option<Timestamp>>()?.map_or(TakeFrom::Activation, TakeFrom::Date),
            after_taking: parse(&c.next::<String>()?)?,
            opened: parse(&c.next::<String>()?)?,
            folders: folders.remove(&id).unwrap_or_default().into_iter().collect(),
        });
    }
    Ok(())
}

async fn read_routes(db: &Db, found: &mut Present) -> Result<(), DbError> {
    let mut skills = list_by_owner::<String>(
        db,
        "SELECT r.route_id, s.name FROM route_skills r JOIN skills s ON s.id = r.skill_id",
    )
    .await?;
    let sql = "SELECT r.id, r.address, r.position, q.name, r.language, r.priority, r.from_name FROM routes r \
               JOIN queues q ON q.id = r.queue_id ORDER BY r.position, r.id";
    for (id, address, mut c) in list_places(db, Kind::Route, sql, found).await? {
        found.organization.routes.push(Route {
            address: parse(&address)?,
            queue: c.next()?,
            language: c.next()?,
            priority: c.next()?,
            from_name: c.next()?,
            skills: skills.remove(&id).unwrap_or_default().into_iter().collect(),
        });
    }
    Ok(())
}
