//! `$batch`: up to twenty requests in one, each answered as if it had come alone.
//!
//! Four parts run at a time, as the service does for mailboxes. Each part goes
//! through the gate, the limits and the faults by itself and is counted by itself.
//! Source: <https://learn.microsoft.com/en-us/graph/json-batching>.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::future::{BoxFuture, join_all};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use serde_json::{Map, Value, json};

use super::answer::{Answer, Failure};
use super::drafts::parameter;
use super::messages::object;
use super::path::Resource;
use super::{Answered, Call, one};
use crate::simulator::Simulator;

/// Most requests in one batch.
const PARTS: usize = 20;
/// Parts that run at the same time.
const AT_ONCE: usize = 4;

/// One request of a batch.
struct Part {
    id: String,
    after: Vec<String>,
    call: Call,
}

/// `POST /$batch`
pub(crate) async fn run(simulator: &Simulator, call: &Call) -> Result<Answer, Failure> {
    let mut waiting = parts(call)?;
    let mut statuses: BTreeMap<String, StatusCode> = BTreeMap::new();
    let mut responses = Vec::new();
    let mut bans = Vec::new();
    while !waiting.is_empty() {
        let is_ready = |part: &Part| part.after.iter().all(|id| statuses.contains_key(id));
        let (mut ready, later): (Vec<Part>, Vec<Part>) = waiting.into_iter().partition(is_ready);
        if ready.is_empty() {
            return Err(invalid("The requests of the batch depend on each other in a circle."));
        }
        let rest = ready.split_off(ready.len().min(AT_ONCE));
        waiting = rest.into_iter().chain(later).collect();
        let failed = |id: &String| statuses.get(id).is_some_and(|status| !status.is_success());
        let running = ready.into_iter().map(|part| {
            let has_failed = part.after.iter().any(failed);
            async move {
                if has_failed { (part.id, None) } else { (part.id, Some(boxed(simulator, part.call).await)) }
            }
        });
        for (id, mut answered) in join_all(running).await {
            // The client reads a part's refusal when it reads the whole.
            bans.extend(answered.iter_mut().flat_map(|answered| std::mem::take(&mut answered.bans)));
            statuses.insert(
                id.clone(),
                answered.as_ref().map_or(StatusCode::FAILED_DEPENDENCY, |answered| answered.status),
            );
            responses.push(response(&id, answered));
        }
    }
    Ok(Answer { bans, ..Answer::json(json!({ "responses": responses })) })
}

/// A request within a request: boxed, for a future can't hold itself.
fn boxed(simulator: &Simulator, call: Call) -> BoxFuture<'_, Answered> {
    Box::pin(one(simulator, call, false))
}

fn parts(call: &Call) -> Result<Vec<Part>, Failure> {
    let body = object(call)?;
    let Some(Value::Array(requests)) = parameter(&body, "requests") else {
        return Err(invalid("Invalid batch payload format: an array 'requests' is expected."));
    };
    if requests.is_empty() || requests.len() > PARTS {
        return Err(invalid(&format!("The number of requests of a batch must be between 1 and {PARTS}.")));
    }
    let parts: Vec<Part> = requests.iter().map(|request| part(call, request)).collect::<Result<_, _>>()?;
    let ids: BTreeSet<&String> = parts.iter().map(|part| &part.id).collect();
    if ids.len() < parts.len() {
        return Err(invalid("The ids of the requests of a batch must be unique."));
    }
    match parts.iter().flat_map(|part| &part.after).find(|id| !ids.contains(id)) {
        Some(unknown) => {
            Err(invalid(&format!("A request depends on '{unknown}', which is not in the batch.")))
        }
        None => Ok(parts),
    }
}

fn part(call: &Call, request: &Value) -> Result<Part, Failure> {
    let needed = |name: &str| invalid(&format!("Each request of a batch needs a text '{name}'."));
    let request = request.as_object().ok_or_else(|| needed("id"))?;
    let text = |name: &str| parameter(request, name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let id = text("id").ok_or_else(|| needed("id"))?;
    let method = text("method").ok_or_else(|| needed("method"))?.to_ascii_uppercase();
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| needed("method"))?;
    let url = text("url").ok_or_else(|| needed("url"))?;
    let after = match parameter(request, "dependsOn") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::String(id)) => vec![id.clone()],
        Some(Value::Array(ids)) => ids.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        Some(_) => return Err(invalid("'dependsOn' must be an array of ids.")),
    };
    let headers = headers(call, parameter(request, "headers"));
    let body = match parameter(request, "body") {
        None | Some(Value::Null) => Bytes::new(),
        Some(_) if !headers.contains_key(header::CONTENT_TYPE) => {
            return Err(invalid("A request with a body needs a Content-Type header."));
        }
        Some(Value::String(text)) => text.clone().into(),
        Some(value) => value.to_string().into(),
    };
    let (path, query) = url.split_once('?').map_or((url, None), |(path, query)| (path, Some(query)));
    let path = format!("/v1.0/{}", path.trim_start_matches('/'));
    let mut call = Call::new(call.graph_url.clone(), method, &path, query, headers, body, call.now);
    if call.resource == Resource::Batch {
        call.resource = Resource::Unknown("$batch".into());
    }
    Ok(Part { id: id.to_owned(), after, call })
}

/// Headers of a part: its own, and the token of the whole.
fn headers(call: &Call, own: Option<&Value>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in own.and_then(Value::as_object).unwrap_or(&Map::new()) {
        let name = HeaderName::try_from(name.as_str());
        let value = value.as_str().and_then(|value| HeaderValue::from_str(value).ok());
        if let (Ok(name), Some(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    headers.remove(header::AUTHORIZATION);
    if let Some(token) = call.headers.get(header::AUTHORIZATION) {
        headers.insert(header::AUTHORIZATION, token.clone());
    }
    headers
}

fn response(id: &str, answered: Option<Answered>) -> Value {
    let Some(answered) = answered else {
        return json!({ "id": id, "status": 424, "headers": { "Content-Type": "application/json" }, "body": {
            "error": { "code": "FailedDependency", "message": "A request that this one depends on has failed." },
        }});
    };
    let headers = answered.headers.iter().filter_map(|(name, value)| Some((name, value.to_str().ok()?)));
    let mut response = json!({ "id": id, "status": answered.status.as_u16() });
    response["headers"] = headers.map(|(name, value)| (spelled(name), Value::from(value))).collect();
    if !answered.bytes.is_empty() {
        response["body"] = serde_json::from_slice(&answered.bytes)
            .ok()
            .filter(|_| answered.is_json())
            .unwrap_or_else(|| STANDARD.encode(&answered.bytes).into());
    }
    response
}

/// A header's name as batches spell it: `Retry-After`.
fn spelled(name: &HeaderName) -> String {
    let words = name.as_str().split('-').map(|word| {
        let (first, rest) = word.split_at(word.len().min(1));
        first.to_ascii_uppercase() + rest
    });
    words.collect::<Vec<_>>().join("-")
}

fn invalid(message: &str) -> Failure {
    Failure::bad_request(message)
}
