//! Messages that are there: lists, single ones, their bytes, PATCH and DELETE.

use std::cmp::Ordering;

use serde_json::{Map, Value, json};

use super::Call;
use super::answer::{Answer, Failure};
use super::drafts;
use super::filter::walk;
use super::folders::{self, owner};
use super::ids::{self, Named};
use super::json::{self as shapes, View, find_property, names};
use crate::mailbox::{Item, ItemKey, Mailbox};
use crate::random::digest;
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
    if let Some(next) = call.next_page(skip.saturating_add(value.len()), matching.len()) {
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
    let mut filter = call.query.filter()?;
    if let Some(filter) = &mut filter {
        // A folder may be named by its well-known name here too.
        filter.replace_texts("parentFolderId", &|name| {
            owner.find_well_known(name).map(|folder| ids::folder(owner.guid, folder.key))
        });
    }
    let order = call.query.order()?;
    // Ordered properties must be the first ones of the filter, in the same order:
    // <https://learn.microsoft.com/en-us/graph/api/user-list-messages>
    if let Some(filter) = &filter {
        let filtered = filter.properties();
        let ordered = order.iter().filter_map(|(path, _)| path.first());
        let mut fits = ordered.zip(filtered.iter().map(Some).chain(std::iter::repeat(None)));
        if !fits.all(|(ordered, filtered)| filtered.is_some_and(|name| name.eq_ignore_ascii_case(ordered))) {
            return Err(Failure::new(
                http::StatusCode::BAD_REQUEST,
                "InefficientFilter",
                "The restriction or sort order is too complex for this operation.",
            ));
        }
    }
    let value = |item: &Item, name: &str| find_property(name).map(|property| property.value(view, item));
    let passes =
        |item: &&Item| filter.as_ref().is_none_or(|filter| filter.accepts(&|name| value(item, name)));
    let mut items: Vec<&Item> = owner.newest_first(folder, call.now).filter(passes).collect();
    if !order.is_empty() {
        let keys = |item: &Item| -> Vec<Value> {
            order.iter().map(|(path, _)| walk(path, &|name| value(item, name))).collect()
        };
        items.sort_by_cached_key(|item| Sorted {
            keys: keys(item),
            descends: order.iter().map(|(_, descends)| *descends).collect(),
        });
    }
    Ok(items)
}

/// The sort key of an item.
#[derive(PartialEq, Eq)]
struct Sorted {
    keys: Vec<Value>,
    descends: Vec<bool>,
}

impl Ord for Sorted {
    fn cmp(&self, other: &Self) -> Ordering {
        let pairs = self.keys.iter().zip(&other.keys).zip(&self.descends);
        pairs.fold(Ordering::Equal, |order, ((left, right), descends)| {
            order.then_with(|| if *descends { compared(right, left) } else { compared(left, right) })
        })
    }
}

impl PartialOrd for Sorted {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Times in JSON sort as their texts; what is absent comes first.
fn compared(left: &Value, right: &Value) -> Ordering {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_lowercase();
    left.as_bool().cmp(&right.as_bool()).then_with(|| text(left).cmp(&text(right)))
}

/// `GET …/messages/{id}`
pub(crate) fn get(state: &State, call: &Call, mailbox: usize, id: &str) -> Result<Answer, Failure> {
    let owner = owner(state, mailbox)?;
    let item = find(call, owner, id)?;
    Ok(Answer::json(view(call, owner)?.single(item, &call.graph_url)))
}

/// `GET …/messages/{id}/$value`
pub(crate) fn mime(state: &State, call: &Call, mailbox: usize, id: &str) -> Result<Answer, Failure> {
    let owner = owner(state, mailbox)?;
    let item = find(call, owner, id)?;
    let fate = state.random.fate(&owner.address, "value.broken_rate", own_number(item));
    if state.switches(mailbox).value_broken.strikes_fate(fate) {
        return Err(Failure::weather(500));
    }
    let bytes = match &item.content.mime {
        Some(bytes) => bytes.clone(),
        None => crate::compose::mime(&item.content, item.modified, "--draft-boundary"),
    };
    Ok(Answer::raw("text/plain", bytes))
}

/// A number that a message has of itself, whatever happened in the tenant before it came: by it some
/// messages fail however often they are asked for.
fn own_number(item: &Item) -> u64 {
    match (&item.content.message_id, &item.content.mime) {
        (Some(id), _) => digest(id.as_bytes()),
        (None, Some(mime)) => digest(mime),
        (None, None) => item.key,
    }
}

/// `PATCH …/messages/{id}`
pub(crate) fn patch(state: &mut State, call: &Call, mailbox: usize, id: &str) -> Result<Answer, Failure> {
    let item = find(call, owner(state, mailbox)?, id)?;
    check_version(call, item)?;
    let (key, mut changed) = (item.key, item.clone());
    drafts::apply(&mut changed, &object(call)?)?;
    // The read flag alone leaves version and time of change as they are.
    let flag_alone =
        Item { is_read: changed.is_read, ..item.clone() } == changed && changed.is_read != item.is_read;
    if flag_alone {
        state.mark(mailbox, key, changed.is_read);
        return single(state, call, mailbox, key);
    }
    changed.version = state.name();
    state.edit(mailbox, key, |item| *item = changed);
    single(state, call, mailbox, key)
}

/// A change that names the version it is meant for is refused when the item has another one.
fn check_version(call: &Call, item: &Item) -> Result<(), Failure> {
    match call.if_match.as_deref() {
        None | Some("*") => Ok(()),
        Some(wanted) if wanted == shapes::etag(item) => Ok(()),
        Some(_) => Err(Failure::change_key()),
    }
}

/// `DELETE …/messages/{id}`
pub(crate) fn delete(state: &mut State, call: &Call, mailbox: usize, id: &str) -> Result<Answer, Failure> {
    let item = find(call, owner(state, mailbox)?, id)?;
    check_version(call, item)?;
    let key = item.key;
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
