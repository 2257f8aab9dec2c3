//! Users and mail folders: what is there, and how folders are made, moved and removed.
//!
//! Source: <https://learn.microsoft.com/en-us/graph/api/resources/mailfolder>.

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::answer::{Answer, Failure};
use super::drafts::parameter;
use super::filter::Filter;
use super::messages::object;
use super::path::FolderAction;
use super::{Call, ids, json as shapes};
use crate::mailbox::{DELETED_ITEMS, Folder, FolderKey, Mailbox, MailboxStatus, ROOT};
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

/// `GET /users`
pub(crate) fn users(state: &State, call: &Call) -> Result<Answer, Failure> {
    const KNOWN: [&str; 4] = ["id", "displayName", "mail", "userPrincipalName"];
    let filter = call.query.find("$filter").map(|text| Filter::parse(text, |name| KNOWN.contains(&name)));
    let filter = filter.transpose()?;
    let shown =
        state.mailboxes.iter().filter(|mailbox| mailbox.status != MailboxStatus::Missing).map(user).filter(
            |user| filter.as_ref().is_none_or(|filter| filter.accepts(&|name| user.get(name).cloned())),
        );
    // The directory's pages hold a hundred.
    let top = call.query.top()?.unwrap_or(100);
    let value: Vec<Value> =
        shown.skip(call.query.skip()?).take(top).map(|user| selected(call, user)).collect();
    let context = format!("{}/v1.0/$metadata#users", call.graph_url);
    Ok(Answer::json(json!({ "@odata.context": context, "value": value })))
}

/// `GET /users/{id}`
pub(crate) fn profile(state: &State, call: &Call, mailbox: usize) -> Result<Answer, Failure> {
    let mut user = selected(call, user(owner(state, mailbox)?));
    user["@odata.context"] = format!("{}/v1.0/$metadata#users/$entity", call.graph_url).into();
    Ok(Answer::json(user))
}

fn user(owner: &Mailbox) -> Map<String, Value> {
    let user = json!({
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
    });
    match user {
        Value::Object(user) => user,
        _ => Map::new(),
    }
}

/// `GET /users/{id}/mailboxSettings`
pub(crate) fn settings(state: &State, call: &Call, mailbox: usize) -> Result<Answer, Failure> {
    let owner = owner(state, mailbox)?;
    let archive = owner.find_well_known("archive").map(|folder| ids::folder(owner.guid, folder.key));
    let zero = json!({ "dateTime": "2026-01-01T00:00:00.0000000", "timeZone": "UTC" });
    Ok(Answer::json(json!({
        "@odata.context": context(call, owner, "mailboxSettings"),
        "archiveFolder": archive,
        "timeZone": "UTC",
        "delegateMeetingMessageDeliveryOptions": "sendToDelegateOnly",
        "dateFormat": "M/d/yyyy",
        "timeFormat": "h:mm tt",
        "userPurpose": owner.kind,
        "automaticRepliesSetting": {
            "status": "disabled",
            "externalAudience": "all",
            "internalReplyMessage": "",
            "externalReplyMessage": "",
            "scheduledStartDateTime": zero,
            "scheduledEndDateTime": zero,
        },
        "language": { "locale": "en-US", "displayName": "English (United States)" },
        "workingHours": {
            "daysOfWeek": ["monday", "tuesday", "wednesday", "thursday", "friday"],
            "startTime": "08:00:00.0000000",
            "endTime": "17:00:00.0000000",
            "timeZone": { "name": "UTC" },
        },
    })))
}

/// `GET …/mailFolders` and `GET …/mailFolders/{id}/childFolders`
pub(crate) fn list(
    state: &State,
    call: &Call,
    mailbox: usize,
    parent: Option<&str>,
) -> Result<Answer, Failure> {
    let owner = owner(state, mailbox)?;
    let all = below(call, owner, parent)?;
    let (skip, top) = (call.query.skip()?, call.query.page()?);
    let page = all.iter().skip(skip).take(top);
    let value: Vec<Value> = page.map(|folder| selected(call, folder.clone())).collect();
    let path = match parent {
        Some(parent) => format!("mailFolders('{parent}')/childFolders"),
        None => "mailFolders".to_owned(),
    };
    let mut answer = json!({ "@odata.context": context(call, owner, &path) });
    if call.query.wants_count() {
        answer["@odata.count"] = all.len().into();
    }
    if let Some(next) = call.next_page(skip.saturating_add(value.len()), all.len()) {
        answer["@odata.nextLink"] = next.into();
    }
    answer["value"] = value.into();
    Ok(Answer::json(answer))
}

/// `GET …/mailFolders/$count`
pub(crate) fn count(
    state: &State,
    call: &Call,
    mailbox: usize,
    parent: Option<&str>,
) -> Result<Answer, Failure> {
    let count = below(call, owner(state, mailbox)?, parent)?.len();
    Ok(Answer::raw("text/plain", count.to_string().into()))
}

/// The folders directly below one that `$filter` lets through; hidden ones only on request.
fn below(call: &Call, owner: &Mailbox, parent: Option<&str>) -> Result<Vec<Map<String, Value>>, Failure> {
    const KNOWN: [&str; 7] = [
        "id",
        "displayName",
        "parentFolderId",
        "childFolderCount",
        "unreadItemCount",
        "totalItemCount",
        "isHidden",
    ];
    let parent = parent.map_or(Ok(ROOT), |name| find(owner, name))?;
    let hidden =
        call.query.find("includeHiddenFolders").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let is_known = |name: &str| KNOWN.iter().any(|known| known.eq_ignore_ascii_case(name));
    let filter = call.query.find("$filter").map(|text| Filter::parse(text, is_known)).transpose()?;
    let passes = |folder: &Map<String, Value>| {
        filter.as_ref().is_none_or(|filter| filter.accepts(&|name| value_of(folder, name)))
    };
    let expand = call.query.find("$expand").is_some_and(|text| text.eq_ignore_ascii_case("childFolders"));
    let shown = owner.children(parent).filter(|folder| hidden || !folder.is_hidden);
    let shown = shown.map(|folder| {
        let mut object = shapes::folder(owner, folder, call.now);
        if expand {
            let children = owner.children(folder.key).map(|child| shapes::folder(owner, child, call.now));
            object.insert("childFolders".into(), children.map(Value::from).collect());
        }
        object
    });
    Ok(shown.filter(passes).collect())
}

fn value_of(object: &Map<String, Value>, name: &str) -> Option<Value> {
    object.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone())
}

/// `GET …/mailFolders/{id or name}`
pub(crate) fn get(state: &State, call: &Call, mailbox: usize, name: &str) -> Result<Answer, Failure> {
    let owner = owner(state, mailbox)?;
    Ok(Answer::json(single(call, owner, find(owner, name)?)?))
}

/// `POST …/mailFolders` and `POST …/mailFolders/{id}/childFolders`
pub(crate) fn create(
    state: &mut State,
    call: &Call,
    mailbox: usize,
    parent: Option<&str>,
) -> Result<Answer, Failure> {
    let body = object(call)?;
    let owner = owner(state, mailbox)?;
    let parent = parent.map_or(Ok(ROOT), |name| find(owner, name))?;
    let name = display_name(&body)?.ok_or_else(|| Failure::body("The property 'displayName' is missing."))?;
    refuse_same_name(owner, parent, name, None)?;
    let is_hidden = parameter(&body, "isHidden").and_then(Value::as_bool).unwrap_or(false);
    let key = state.make_folder(mailbox, parent, name, is_hidden).ok_or_else(Failure::no_item)?;
    created(state, call, mailbox, key)
}

/// `PATCH …/mailFolders/{id}`
pub(crate) fn patch(state: &mut State, call: &Call, mailbox: usize, name: &str) -> Result<Answer, Failure> {
    let body = object(call)?;
    let owner = owner(state, mailbox)?;
    let key = find(owner, name)?;
    let parent = owner.find_folder(key).map(|folder| folder.parent).ok_or_else(Failure::no_item)?;
    if let Some(name) = display_name(&body)? {
        refuse_same_name(owner, parent, name, Some(key))?;
        let owner = state.mailboxes.get_mut(mailbox).ok_or_else(Failure::no_item)?;
        owner.edit_folder(key, |folder| folder.display_name = name.to_owned().into());
    }
    get(state, call, mailbox, name)
}

/// `DELETE …/mailFolders/{id}`: into Deleted Items, and from there for good.
pub(crate) fn delete(state: &mut State, mailbox: usize, name: &str) -> Result<Answer, Failure> {
    let owner = owner(state, mailbox)?;
    let folder = own_folder(owner, name)?;
    let key = folder.key;
    if owner.tree(DELETED_ITEMS).contains(&key) {
        state.purge_folder(mailbox, key);
    } else if let Some(owner) = state.mailboxes.get_mut(mailbox) {
        owner.edit_folder(key, |folder| folder.parent = DELETED_ITEMS);
    }
    Ok(Answer::no_content())
}

/// `POST …/mailFolders/{id}/{action}`
pub(crate) fn act(
    state: &mut State,
    call: &Call,
    mailbox: usize,
    name: &str,
    action: FolderAction,
) -> Result<Answer, Failure> {
    let owner = owner(state, mailbox)?;
    if action == FolderAction::PermanentDelete {
        let key = own_folder(owner, name)?.key;
        state.purge_folder(mailbox, key);
        return Ok(Answer::no_content());
    }
    let key = find(owner, name)?;
    let parent = destination(call, owner)?;
    if owner.tree(key).contains(&parent) {
        return Err(Failure::new(
            StatusCode::BAD_REQUEST,
            "ErrorMoveCopyFailed",
            "The move or copy operation failed: a folder can't be put into itself.",
        ));
    }
    let shown = owner.find_folder(key).map(|folder| folder.display_name.clone()).unwrap_or_default();
    refuse_same_name(owner, parent, &shown, (action == FolderAction::Move).then_some(key))?;
    let key = match action {
        FolderAction::Copy => state.copy_folder(mailbox, key, parent).ok_or_else(Failure::no_item)?,
        FolderAction::Move | FolderAction::PermanentDelete => {
            let key = own_folder(owner, name)?.key;
            if let Some(owner) = state.mailboxes.get_mut(mailbox) {
                owner.edit_folder(key, |folder| folder.parent = parent);
            }
            key
        }
    };
    created(state, call, mailbox, key)
}

/// The folder that the `DestinationId` of a move or copy names.
pub(crate) fn destination(call: &Call, owner: &Mailbox) -> Result<FolderKey, Failure> {
    let body = object(call)?;
    let name = parameter(&body, "destinationId").and_then(Value::as_str);
    find(owner, name.ok_or_else(|| Failure::body("The DestinationId parameter is missing."))?)
}

fn display_name(body: &Map<String, Value>) -> Result<Option<&str>, Failure> {
    match parameter(body, "displayName") {
        None => Ok(None),
        Some(Value::String(name)) if !name.trim().is_empty() => Ok(Some(name)),
        Some(_) => Err(Failure::body("The property 'displayName' must be a text that is not empty.")),
    }
}

fn refuse_same_name(
    owner: &Mailbox,
    parent: FolderKey,
    name: &str,
    itself: Option<FolderKey>,
) -> Result<(), Failure> {
    let is_same = |folder: &Folder| {
        Some(folder.key) != itself && folder.display_name.to_lowercase() == name.to_lowercase()
    };
    if owner.children(parent).any(is_same) { Err(Failure::folder_exists()) } else { Ok(()) }
}

/// A folder that a user made: well-known ones stay where they are.
fn own_folder<'a>(owner: &'a Mailbox, name: &str) -> Result<&'a Folder, Failure> {
    let folder = owner.find_folder(find(owner, name)?).ok_or_else(Failure::no_item)?;
    if folder.name.is_empty() {
        return Ok(folder);
    }
    Err(Failure::new(
        StatusCode::BAD_REQUEST,
        "ErrorDeleteDistinguishedFolder",
        "Distinguished folders cannot be moved or deleted.",
    ))
}

fn created(state: &State, call: &Call, mailbox: usize, key: FolderKey) -> Result<Answer, Failure> {
    let owner = owner(state, mailbox)?;
    let id = ids::folder(owner.guid, key);
    let location = format!("{}/v1.0/users('{}')/mailFolders('{id}')", call.graph_url, owner.address);
    Ok(Answer::created(single(call, owner, key)?, location))
}

fn single(call: &Call, owner: &Mailbox, key: FolderKey) -> Result<Value, Failure> {
    let folder = owner.find_folder(key).ok_or_else(Failure::no_item)?;
    let mut object = selected(call, shapes::folder(owner, folder, call.now));
    object["@odata.context"] = context(call, owner, "mailFolders/$entity").into();
    Ok(object)
}

fn context(call: &Call, owner: &Mailbox, rest: &str) -> String {
    let user = owner.address.replace('@', "%40");
    format!("{}/v1.0/$metadata#users('{user}')/{rest}", call.graph_url)
}

/// What `$select` leaves of an object; its id stays.
pub(crate) fn selected(call: &Call, mut object: Map<String, Value>) -> Value {
    if let Some(names) = call.query.plain_select() {
        object.retain(|name, _| name == "id" || names.contains(&name.to_ascii_lowercase()));
    }
    object.into()
}
