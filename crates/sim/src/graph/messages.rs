//! Messages that are there: lists, single ones, their bytes and attachments,
//! PATCH and DELETE.

use std::cmp::Ordering;

use serde_json::{Map, Value, json};

use super::answer::{Answer, Failure};
use super::drafts;
use super::folders::{self, owner};
use super::ids::{self, Named};
use super::json::{self as shapes, View, names};
use super::{Call, json::find_property};
use crate::content::Attachment;
use crate::mailbox::{Item, ItemKey, Mailbox};
use crate::state::State;

/// The item that a path names, if reads see it now.
pub(crate) fn find<'a>(call: &Call, owner: &'a Mailbox, id: &str) -> Result<&'a Item, Failure> {
    let item = match ids::parse_item(owner.guid, id).ok_or_else(Failure::malformed_id)? {
        Named::Item(item) => owner.find_item(item),
        Named::Place { place, item, .. } => owner.find_item(item).filter(|item| item.place == place),
        Named::Foreign => None,
    };
    item.filter(|item| item.visible_from <= call.now).ok_or_else(Failure::no_item)
}

fn view<'a>(call: &Call, owner: &'a Mailbox) -> Result<View<'a>, Failure> {
    let (select, expand) = (call.query.select()?, call.query.expand()?);
    Ok(View { mailbox: owner, prefer: call.prefer, select, expand })
}

/// `GET …/messages`
pub(crate) fn list(
    state: &State,
    call: &Call,
    mailbox: usize,
    folder: Option<&str>,
) -> Result<Answer, Failure> {
    let owner = owner(state, mailbox)?;
    let view = view(call, owner)?;
    let matching = matching(call, owner, &view, folder)?;
    let (skip, top) = (call.query.skip()?, call.query.page()?);
    let page = matching.iter().skip(skip).take(top);
    let value: Vec<Value> = page.map(|item| view.message(item).into()).collect();
    let path = match folder {
        Some(folder) => format!("mailFolders('{folder}')/messages"),
        None => "messages".to_owned(),
    };
    let context = match &view.select {
        Some(selected) => format!("{path}({})", names(selected)),
        None => path,
    };
    let mut answer = json!({ "@odata.context": view.context(&call.graph_url, &context) });
    if call.query.wants_count() {
        answer["@odata.count"] = matching.len().into();
    }
    if skip + value.len() < matching.len() {
        let others = call.query.without("$skip");
        let next = format!("{}{}?{others}%24skip={}", call.graph_url, call.path, skip + value.len());
        answer["@odata.nextLink"] = next.into();
    }
    answer["value"] = value.into();
    Ok(Answer::json(answer))
}

/// `GET …/messages/$count`
pub(crate) fn count(
    state: &State,
    call: &Call,
    mailbox: usize,
    folder: Option<&str>,
) -> Result<Answer, Failure> {
    let owner = owner(state, mailbox)?;
    let view = view(call, owner)?;
    let count = matching(call, owner, &view, folder)?.len();
    Ok(Answer::raw("text/plain", count.to_string().into()))
}

/// What `$filter` lets through, in the order of `$orderby`.
fn matching<'a>(
    call: &Call,
    owner: &'a Mailbox,
    view: &View<'_>,
    folder: Option<&str>,
) -> Result<Vec<&'a Item>, Failure> {
    let folder = folder.map(|name| folders::find(owner, name)).transpose()?;
    let filter = call.query.filter()?;
    let order = call.query.order()?;
    if let (Some(filter), Some((property, _))) = (&filter, &order)
        && filter.first_property().is_none_or(|first| !first.eq_ignore_ascii_case(property.name))
    {
        return Err(Failure::new(
            http::StatusCode::BAD_REQUEST,
            "InefficientFilter",
            "The restriction or sort order is too complex for this operation.",
        ));
    }
    let passes = |item: &&Item| match &filter {
        Some(filter) => {
            filter.accepts(&|name| find_property(name).map(|property| property.value(view, item)))
        }
        None => true,
    };
    let mut items: Vec<&Item> = owner.newest_first(folder, call.now).filter(passes).collect();
    if let Some((property, descends)) = order {
        items.sort_by(|left, right| {
            let ascending = compared(&property.value(view, left), &property.value(view, right));
            if descends { ascending.reverse() } else { ascending }
        });
    }
    Ok(items)
}

/// Times in JSON sort as their texts; no time comes first.
fn compared(left: &Value, right: &Value) -> Ordering {
    left.as_str().unwrap_or_default().cmp(right.as_str().unwrap_or_default())
}

/// `GET …/messages/{id}`
pub(crate) fn get(state: &State, call: &Call, mailbox: usize, id: &str) -> Result<Answer, Failure> {
    let owner = owner(state, mailbox)?;
    let item = find(call, owner, id)?;
    Ok(Answer::json(view(call, owner)?.single(item, &call.graph_url)))
}

/// `GET …/messages/{id}/$value`
pub(crate) fn mime(state: &State, call: &Call, mailbox: usize, id: &str) -> Result<Answer, Failure> {
    let item = find(call, owner(state, mailbox)?, id)?;
    let bytes = match &item.content.mime {
        Some(bytes) => bytes.clone(),
        None => crate::compose::mime(&item.content, item.modified, "--draft-boundary"),
    };
    Ok(Answer::raw("text/plain", bytes))
}

/// `PATCH …/messages/{id}`
pub(crate) fn patch(state: &mut State, call: &Call, mailbox: usize, id: &str) -> Result<Answer, Failure> {
    let item = find(call, owner(state, mailbox)?, id)?;
    let (key, mut changed) = (item.key, item.clone());
    drafts::apply(&mut changed, &object(call)?)?;
    // The read flag alone leaves the version as it is.
    let only_flag = changed.is_read != item.is_read && changed.content == item.content;
    if !only_flag {
        changed.version = state.name();
    }
    state.edit(mailbox, key, |item| *item = changed);
    single(state, call, mailbox, key)
}

/// `DELETE …/messages/{id}`
pub(crate) fn delete(state: &mut State, call: &Call, mailbox: usize, id: &str) -> Result<Answer, Failure> {
    let key = find(call, owner(state, mailbox)?, id)?.key;
    state.delete(mailbox, key);
    Ok(Answer::no_content())
}

/// The message as it is now.
pub(crate) fn single(state: &State, call: &Call, mailbox: usize, key: ItemKey) -> Result<Answer, Failure> {
    let owner = owner(state, mailbox)?;
    let item = owner.find_item(key).ok_or_else(Failure::no_item)?;
    Ok(Answer::json(View::usual(owner, call.prefer).single(item, &call.graph_url)))
}

/// The body of a request as a JSON object; an empty one is an empty object.
pub(crate) fn object(call: &Call) -> Result<Map<String, Value>, Failure> {
    if call.body.is_empty() {
        return Ok(Map::new());
    }
    match serde_json::from_slice(&call.body) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(Failure::bad_request("Unable to read JSON request payload: an object is expected.")),
        Err(_) => Err(Failure::bad_request(
            "Unable to read JSON request payload. Please ensure Content-Type header is set and payload is of valid JSON format.",
        )),
    }
}

/// `GET …/messages/{id}/attachments`
pub(crate) fn attachments(state: &State, call: &Call, mailbox: usize, id: &str) -> Result<Answer, Failure> {
    let owner = owner(state, mailbox)?;
    let item = find(call, owner, id)?;
    let own = ids::item(call.prefer.ids, owner.guid, item);
    let all = item.content.attachments();
    let all = all.iter().enumerate().map(|(index, part)| shapes::attachment(&own, index, part, item));
    let context =
        View::usual(owner, call.prefer).context(&call.graph_url, &format!("messages('{own}')/attachments"));
    Ok(Answer::json(json!({ "@odata.context": context, "value": all.collect::<Vec<_>>() })))
}

/// `GET …/messages/{id}/attachments/{id}`
pub(crate) fn attachment(
    state: &State,
    call: &Call,
    mailbox: usize,
    id: &str,
    part: &str,
) -> Result<Answer, Failure> {
    let owner = owner(state, mailbox)?;
    let item = find(call, owner, id)?;
    let (index, found) = find_part(item, id, part)?;
    let own = ids::item(call.prefer.ids, owner.guid, item);
    Ok(Answer::json(shapes::attachment(&own, index, &found, item)))
}

/// `GET …/messages/{id}/attachments/{id}/$value`
pub(crate) fn attachment_value(
    state: &State,
    call: &Call,
    mailbox: usize,
    id: &str,
    part: &str,
) -> Result<Answer, Failure> {
    let item = find(call, owner(state, mailbox)?, id)?;
    let (_, found) = find_part(item, id, part)?;
    Ok(Answer::raw(found.content_type, found.bytes))
}

fn find_part(item: &Item, message: &str, part: &str) -> Result<(usize, Attachment), Failure> {
    let index = ids::parse_attachment(message, part).ok_or_else(Failure::malformed_id)?;
    let found = item.content.attachments().into_iter().nth(index).ok_or_else(Failure::no_item)?;
    Ok((index, found))
}
