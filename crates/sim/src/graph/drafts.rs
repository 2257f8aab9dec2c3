//! What clients write: drafts, replies, sending, and the properties they set.
//!
//! Names of parameters are matched in any case, as the real service does.
//! Sources: <https://learn.microsoft.com/en-us/graph/api/message-createreply>,
//! <https://learn.microsoft.com/en-us/graph/api/message-update>.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use serde_json::{Map, Value};

use super::answer::{Answer, Failure, Payload};
use super::folders::{self, owner};
use super::json::find_property;
use super::messages::{find, object, single};
use super::path::Action;
use super::{Call, ids};
use crate::content::{Body, Content, Format, Person};
use crate::mailbox::{Importance, Item, ItemKey};
use crate::state::State;

/// Most own headers of a draft.
const HEADERS: usize = 5;

/// `POST …/messages`
pub(crate) fn create(state: &mut State, call: &Call, mailbox: usize) -> Result<Answer, Failure> {
    let key = if call.is_mime {
        from_mime(state, call, mailbox)?
    } else {
        make(state, mailbox, Content::default(), &object(call)?)?
    };
    created(state, call, mailbox, key)
}

/// `POST /users/{id}/sendMail`
pub(crate) fn send_mail(state: &mut State, call: &Call, mailbox: usize) -> Result<Answer, Failure> {
    let key = if call.is_mime {
        from_mime(state, call, mailbox)?
    } else {
        let body = object(call)?;
        let Some(Value::Object(message)) = parameter(&body, "message") else {
            return Err(Failure::body("The Message parameter is missing."));
        };
        make(state, mailbox, Content::default(), message)?
    };
    send(state, mailbox, key)
}

/// `POST …/messages/{id}/{action}`
pub(crate) fn act(
    state: &mut State,
    call: &Call,
    mailbox: usize,
    id: &str,
    action: Action,
) -> Result<Answer, Failure> {
    let item = find(call, owner(state, mailbox)?, id)?;
    let key = item.key;
    match action {
        Action::CreateReply | Action::CreateReplyAll => {
            let body = object(call)?;
            let own = owner(state, mailbox)?.addresses.clone();
            let content = reply(&item.content, &own, action == Action::CreateReplyAll);
            let empty = Map::new();
            let message = match parameter(&body, "message") {
                Some(Value::Object(message)) => message,
                _ => &empty,
            };
            if parameter(&body, "comment").is_some() && parameter(message, "body").is_some() {
                return Err(Failure::bad_request("Comment and Body may not be given together."));
            }
            let key = make(state, mailbox, content, message)?;
            created(state, call, mailbox, key)
        }
        Action::Send if item.is_draft => send(state, mailbox, key),
        Action::Send => Err(Failure::new(
            StatusCode::BAD_REQUEST,
            "ErrorInvalidOperation",
            "The message can't be sent: it is not a draft.",
        )),
        Action::Move => {
            let body = object(call)?;
            let destination = parameter(&body, "destinationId").and_then(Value::as_str);
            let destination =
                destination.ok_or_else(|| Failure::body("The DestinationId parameter is missing."))?;
            let folder = folders::find(owner(state, mailbox)?, destination)?;
            let key = state.move_to(mailbox, key, folder).ok_or_else(Failure::no_item)?;
            created(state, call, mailbox, key)
        }
    }
}

fn created(state: &State, call: &Call, mailbox: usize, key: ItemKey) -> Result<Answer, Failure> {
    let owner = owner(state, mailbox)?;
    let item = owner.find_item(key).ok_or_else(Failure::no_item)?;
    let id = ids::item(call.prefer.ids, owner.guid, item);
    let location = format!("{}/v1.0/users('{}')/messages('{id}')", call.graph_url, owner.address);
    match single(state, call, mailbox, key)?.payload {
        Payload::Json(message) => Ok(Answer::created(message, location)),
        _ => Err(Failure::no_item()),
    }
}

fn send(state: &mut State, mailbox: usize, key: ItemKey) -> Result<Answer, Failure> {
    let item = owner(state, mailbox)?.find_item(key).ok_or_else(Failure::no_item)?;
    if item.content.recipients().next().is_none() {
        return Err(Failure::new(
            StatusCode::BAD_REQUEST,
            "ErrorInvalidRecipients",
            "At least one recipient isn't valid., A message can't be sent because it contains no recipients.",
        ));
    }
    let own = owner(state, mailbox)?;
    let from = item.content.from.as_ref().map(|from| from.address.to_lowercase());
    if from.is_some_and(|from| !own.addresses.contains(&from)) {
        return Err(Failure::new(
            StatusCode::FORBIDDEN,
            "ErrorSendAsDenied",
            "The user account which was used to submit this request does not have the right to send mail on \
             behalf of the specified sending account., Cannot submit message.",
        ));
    }
    let address = own.address.clone();
    let no_answer = state.switches.send_accept_then_timeout.rate();
    let silent = state.random.strikes(&address, "send.accept_then_timeout", no_answer);
    state.send(mailbox, key);
    if silent { Err(Failure::timeout()) } else { Ok(Answer::accepted()) }
}

fn from_mime(state: &mut State, call: &Call, mailbox: usize) -> Result<ItemKey, Failure> {
    let bytes = STANDARD.decode(call.body.trim_ascii()).map_err(|_| {
        Failure::new(
            StatusCode::BAD_REQUEST,
            "ErrorMimeContentInvalidBase64String",
            "Invalid base64 string for MIME content.",
        )
    })?;
    let draft = state.blank_draft(Content { mime: None, ..Content::from_mime(bytes.into()) });
    state.insert_draft(mailbox, draft).ok_or_else(Failure::no_item)
}

fn make(
    state: &mut State,
    mailbox: usize,
    content: Content,
    message: &Map<String, Value>,
) -> Result<ItemKey, Failure> {
    let mut draft = state.blank_draft(content);
    apply(&mut draft, message)?;
    state.insert_draft(mailbox, draft).ok_or_else(Failure::no_item)
}

/// The draft that answers a mail, before the client has written anything.
fn reply(original: &Content, own: &[String], to_all: bool) -> Content {
    let sender = original.from.clone().or_else(|| original.sender.clone());
    let to =
        if original.reply_to.is_empty() { sender.into_iter().collect() } else { original.reply_to.clone() };
    let is_other = |person: &&Person| {
        !own.contains(&person.address.to_lowercase())
            && !to.iter().any(|first| first.address == person.address)
    };
    let others = original.to.iter().chain(&original.cc).filter(is_other).cloned();
    let prefix = if original.subject.to_lowercase().starts_with("re:") { "" } else { "RE: " };
    let mut references = original.references.clone();
    references.extend(original.message_id.clone());
    let quoted = original.body.to_format(Format::Html);
    let body = Body { format: Format::Html, content: format!("<html><body><hr>{quoted}</body></html>") };
    Content {
        subject: format!("{prefix}{}", original.subject),
        cc: if to_all { others.collect() } else { Vec::new() },
        preview: body.preview(),
        body,
        in_reply_to: original.message_id.clone(),
        references,
        to,
        ..Content::default()
    }
}

fn parameter<'a>(body: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    body.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// Writes the given properties into an item.
pub(crate) fn apply(item: &mut Item, properties: &Map<String, Value>) -> Result<(), Failure> {
    for (name, value) in properties {
        if name.starts_with('@') {
            continue;
        }
        let wrong = || Failure::body(format!("The value of the property '{name}' has the wrong type."));
        let known = find_property(name).map(|property| property.name);
        if !item.is_draft
            && matches!(known, Some("subject" | "body" | "replyTo" | "from" | "sender" | "internetMessageId"))
        {
            return Err(Failure::new(
                StatusCode::BAD_REQUEST,
                "ErrorInvalidPropertySet",
                format!("Set action is invalid for property '{name}': the item is not a draft."),
            ));
        }
        match known {
            Some("isRead") => item.is_read = value.as_bool().ok_or_else(wrong)?,
            Some("categories") => item.categories = texts(value).ok_or_else(wrong)?,
            Some("flag") if value.is_object() => item.flag = Some(value.clone()),
            Some("importance") => item.importance = importance(value).ok_or_else(wrong)?,
            Some("singleValueExtendedProperties") => {
                for (id, text) in extended(value).ok_or_else(wrong)? {
                    item.properties.insert(canonical(&id), (id, text));
                }
            }
            Some("isReadReceiptRequested" | "isDeliveryReceiptRequested" | "inferenceClassification") => {}
            Some(known) => write(Arc::make_mut(&mut item.content), known, value).ok_or_else(wrong)??,
            None => {
                return Err(Failure::body(format!(
                    "The property '{name}' does not exist on type 'microsoft.graph.message'. Make sure to only \
                     use property names that are defined by the type."
                )));
            }
        }
    }
    Ok(())
}

/// Writes a property of the content; `None` if the value has the wrong type.
fn write(content: &mut Content, name: &str, value: &Value) -> Option<Result<(), Failure>> {
    match name {
        "subject" => content.subject = value.as_str()?.to_owned(),
        "body" => {
            let kind = parameter(value.as_object()?, "contentType").and_then(Value::as_str).unwrap_or("text");
            let format = if kind.eq_ignore_ascii_case("html") { Format::Html } else { Format::Text };
            let text = parameter(value.as_object()?, "content").and_then(Value::as_str).unwrap_or_default();
            content.body = Body { format, content: text.to_owned() };
            content.preview = content.body.preview();
        }
        "from" => content.from = Some(person(value)?),
        "sender" => content.sender = Some(person(value)?),
        "toRecipients" => content.to = people(value)?,
        "ccRecipients" => content.cc = people(value)?,
        "bccRecipients" => content.bcc = people(value)?,
        "replyTo" => content.reply_to = people(value)?,
        "internetMessageId" => content.message_id = Some(value.as_str()?.to_owned()),
        "internetMessageHeaders" => return Some(headers(content, value.as_array()?)),
        _ => return Some(Err(Failure::body(format!("The property '{name}' can't be set.")))),
    }
    Some(Ok(()))
}

fn headers(content: &mut Content, list: &[Value]) -> Result<(), Failure> {
    let refused = |code, message: String| Failure::new(StatusCode::BAD_REQUEST, code, message);
    if list.len() > HEADERS {
        let message = format!("The internet message header collection has more than {HEADERS} members.");
        return Err(refused("InvalidInternetMessageHeaderCollection", message));
    }
    let text =
        |header: &Value, name: &str| header.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    for header in list {
        let (name, value) = (text(header, "name"), text(header, "value"));
        let is_plain = name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '-');
        if !name.to_ascii_lowercase().starts_with("x-") || !is_plain {
            let message =
                format!("The internet message header name '{name}' should start with 'x-' or 'X-'.");
            return Err(refused("InvalidInternetMessageHeader", message));
        }
        content.headers.push((name, value));
    }
    Ok(())
}

fn person(value: &Value) -> Option<Person> {
    let address = value.get("emailAddress")?;
    let text = |name: &str| address.get(name).and_then(Value::as_str).unwrap_or_default();
    Some(Person::new(text("name"), text("address")))
}

fn people(value: &Value) -> Option<Vec<Person>> {
    value.as_array()?.iter().map(person).collect()
}

fn texts(value: &Value) -> Option<Vec<String>> {
    value.as_array()?.iter().map(|text| text.as_str().map(str::to_owned)).collect()
}

fn importance(value: &Value) -> Option<Importance> {
    let all = [Importance::Low, Importance::Normal, Importance::High];
    all.into_iter().find(|importance| Some(importance.name()) == value.as_str())
}

fn extended(value: &Value) -> Option<Vec<(String, String)>> {
    let pair = |property: &Value| {
        let id = property.get("id")?.as_str()?;
        Some((id.to_owned(), property.get("value")?.as_str()?.to_owned()))
    };
    value.as_array()?.iter().map(pair).collect()
}

/// Extended properties are the same when their names differ only in case.
fn canonical(id: &str) -> String {
    id.to_lowercase()
}
