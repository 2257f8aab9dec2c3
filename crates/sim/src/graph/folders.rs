//! Users and mail folders.

use serde_json::{Map, Value, json};

use super::answer::{Answer, Failure};
use super::{Call, ids, json as shapes};
use crate::mailbox::{FolderKey, Mailbox};
use crate::state::State;

/// The mailbox of a request; it was found before.
pub(crate) fn owner(state: &State, mailbox: usize) -> Result<&Mailbox, Failure> {
    state.mailboxes.get(mailbox).ok_or_else(Failure::no_item)
}

/// The folder that a path names by its id or well-known name.
pub(crate) fn find(mailbox: &Mailbox, name: &str) -> Result<FolderKey, Failure> {
    if let Some(folder) = mailbox.find_well_known(name) {
        return Ok(folder.key);
    }
    match ids::parse_folder(mailbox.guid, name) {
        Some(key) if mailbox.find_folder(key).is_some() => Ok(key),
        Some(_) => Err(Failure::no_item()),
        None => Err(Failure::malformed_id()),
    }
}

/// `GET /users/{id}`
pub(crate) fn profile(state: &State, call: &Call, mailbox: usize) -> Result<Answer, Failure> {
    let owner = owner(state, mailbox)?;
    Ok(Answer::json(json!({
        "@odata.context": format!("{}/v1.0/$metadata#users/$entity", call.graph_url),
        "businessPhones": [],
        "displayName": owner.display_name,
        "givenName": null,
        "jobTitle": null,
        "mail": owner.address,
        "mobilePhone": null,
        "officeLocation": null,
        "preferredLanguage": null,
        "surname": null,
        "userPrincipalName": owner.address,
        "id": owner.guid,
    })))
}

/// `GET /users/{id}/mailFolders`
pub(crate) fn list(state: &State, call: &Call, mailbox: usize) -> Result<Answer, Failure> {
    let owner = owner(state, mailbox)?;
    let all = owner.folders().skip(call.query.skip()?).take(call.query.page()?);
    let folders: Vec<Value> =
        all.map(|folder| selected(call, shapes::folder(owner, folder, call.now)).into()).collect();
    Ok(Answer::json(json!({
        "@odata.context": context(call, owner, "mailFolders"),
        "value": folders,
    })))
}

/// `GET /users/{id}/mailFolders/{id or name}`
pub(crate) fn get(state: &State, call: &Call, mailbox: usize, name: &str) -> Result<Answer, Failure> {
    let owner = owner(state, mailbox)?;
    let folder = owner.find_folder(find(owner, name)?).ok_or_else(Failure::no_item)?;
    let mut object = selected(call, shapes::folder(owner, folder, call.now));
    object.insert("@odata.context".into(), context(call, owner, "mailFolders/$entity").into());
    Ok(Answer::json(object.into()))
}

fn context(call: &Call, owner: &Mailbox, rest: &str) -> String {
    let user = owner.address.replace('@', "%40");
    format!("{}/v1.0/$metadata#users('{user}')/{rest}", call.graph_url)
}

fn selected(call: &Call, mut folder: Map<String, Value>) -> Map<String, Value> {
    if let Some(select) = call.query.find("$select") {
        let names: Vec<&str> = select.split(',').map(str::trim).collect();
        folder.retain(|name, _| name == "id" || names.iter().any(|wanted| wanted.eq_ignore_ascii_case(name)));
    }
    folder
}
