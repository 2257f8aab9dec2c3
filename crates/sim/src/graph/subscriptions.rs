//! Subscriptions: made after a handshake with their endpoint, renewed, removed.
//!
//! Source: <https://learn.microsoft.com/en-us/graph/api/resources/subscription>.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;
use uuid::Uuid;

use super::answer::{Answer, Failure};
use super::filter::Filter;
use super::path::{Resource, UserResource};
use super::query::Query;
use super::{Call, folders};
use crate::directory::{Access, Permission};
use crate::mailbox::{ChangeKind, MailboxStatus};
use crate::notify::Subscription;
use crate::simulator::Simulator;
use crate::state::State;
use crate::switches::DuplicatePolicy;

/// A shorter life is raised to this.
const SHORTEST: SignedDuration = SignedDuration::from_mins(45);
/// How long an endpoint may take for the handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
const CLIENT_STATE: usize = 128;
const PER_MAILBOX: usize = 1000;
/// Deleted subscriptions that a stale list still knows.
const FORMER: usize = 50;

/// A subscription as it is asked for.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wanted {
    resource: Option<String>,
    change_type: Option<String>,
    notification_url: Option<String>,
    lifecycle_notification_url: Option<String>,
    expiration_date_time: Option<String>,
    client_state: Option<String>,
    latest_supported_tls_version: Option<String>,
    include_resource_data: Option<bool>,
}

/// `POST /subscriptions`
pub(crate) async fn create(simulator: &Simulator, call: &Call) -> Result<Answer, Failure> {
    let subscription = checked(simulator, call)?;
    for url in
        [Some(&subscription.notification_url), subscription.lifecycle_url.as_ref()].into_iter().flatten()
    {
        handshake(simulator, subscription.mailbox, url).await?;
    }
    let (shown, location, delay) = {
        let mut state = simulator.state();
        refuse_duplicate(&state, &subscription)?;
        let shown = shown(&state, call, &subscription);
        let location = format!("{}/v1.0/subscriptions/{}", call.graph_url, subscription.id);
        let delay = state.switches(subscription.mailbox).sub_answer_delay.duration();
        state.subscriptions.insert(subscription.id, subscription);
        (shown, location, delay)
    };
    tokio::time::sleep(delay).await;
    Ok(Answer::created(shown, location))
}

/// `PATCH /subscriptions/{id}`: a new expiry, or a new endpoint after another handshake.
pub(crate) async fn renew(simulator: &Simulator, call: &Call, id: &str) -> Result<Answer, Failure> {
    let wanted = wanted(call)?;
    let (found, mailbox) = find(&simulator.state(), call, id)?;
    if wanted.expiration_date_time.is_none() && wanted.notification_url.is_none() {
        return Err(invalid(
            "Subscription must contain either the 'expirationDateTime' or 'notificationUrl' property and its value.",
        ));
    }
    let longest = simulator.state().switches(mailbox).sub_max_minutes.0;
    let expires = wanted.expiration_date_time.map(|text| expiry(&text, call.now, longest)).transpose()?;
    if let Some(url) = &wanted.notification_url {
        check_url(url, simulator.config.allow_http_loopback)?;
        handshake(simulator, mailbox, url).await?;
    }
    let mut state = simulator.state();
    let noop = state.switches(mailbox).sub_patch_noop;
    let subscription = state.subscriptions.get_mut(&found).ok_or_else(Failure::no_subscription)?;
    if !noop {
        subscription.expires = expires.unwrap_or(subscription.expires);
        subscription.notification_url =
            wanted.notification_url.unwrap_or(subscription.notification_url.clone());
        (subscription.confirmed, subscription.is_warned) = (call.now, false);
    }
    get(&state, call, id)
}

/// `GET /subscriptions`
pub(crate) fn list(state: &mut State, call: &Call) -> Result<Answer, Failure> {
    let client = call.client_id();
    let State { random, board, subscriptions, former, .. } = state;
    let switches = board.tenant();
    if random.strikes(&client.to_string(), "sub.list_error", &switches.sub_list_error) {
        let reason =
            "Operation: Read; Exception: [Status Code: InternalServerError; Reason: Storage is unavailable.]";
        return Err(Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "ExtensionError", reason));
    }
    let is_stale = switches.sub_list_stale;
    let own =
        subscriptions.values().filter(|one| one.client_id == client && (is_stale || one.expires > call.now));
    let gone = former.iter().filter(|one| one.client_id == client && is_stale);
    let found: Vec<Subscription> = own.chain(gone).cloned().collect();
    let element = |one: &Subscription| {
        let mut element = plain(state, one);
        if !is_stale {
            element["clientState"] = json!(one.client_state);
        }
        element
    };
    let value = found.iter().map(element).collect::<Vec<_>>();
    Ok(Answer::json(json!({
        "@odata.context": format!("{}/v1.0/$metadata#subscriptions", call.graph_url),
        "value": value,
    })))
}

/// `GET /subscriptions/{id}`
pub(crate) fn get(state: &State, call: &Call, id: &str) -> Result<Answer, Failure> {
    let (id, _) = find(state, call, id)?;
    let subscription = state.subscriptions.get(&id).ok_or_else(Failure::no_subscription)?;
    Ok(Answer::json(shown(state, call, subscription)))
}

/// `DELETE /subscriptions/{id}`
pub(crate) fn delete(state: &mut State, call: &Call, id: &str) -> Result<Answer, Failure> {
    let (id, mailbox) = find(state, call, id)?;
    if state.switches(mailbox).sub_zombie {
        return Err(Failure::no_subscription());
    }
    if let Some(gone) = state.subscriptions.remove(&id) {
        state.former.push_back(gone);
        if state.former.len() > FORMER {
            state.former.pop_front();
        }
    }
    Ok(Answer::no_content())
}

/// `POST /subscriptions/{id}/reauthorize`
pub(crate) fn reauthorize(state: &mut State, call: &Call, id: &str) -> Result<Answer, Failure> {
    let (id, _) = find(state, call, id)?;
    if let Some(subscription) = state.subscriptions.get_mut(&id) {
        (subscription.confirmed, subscription.is_warned) = (call.now, false);
    }
    Ok(Answer::no_content())
}

/// A living subscription of the application that asks, and its mailbox.
fn find(state: &State, call: &Call, id: &str) -> Result<(Uuid, usize), Failure> {
    let id = Uuid::parse_str(id).map_err(|_| Failure::no_subscription())?;
    match state.subscriptions.get(&id) {
        Some(one) if one.expires > state.now() && one.client_id == call.client_id() => Ok((id, one.mailbox)),
        _ => Err(Failure::no_subscription()),
    }
}

fn wanted(call: &Call) -> Result<Wanted, Failure> {
    serde_json::from_slice(&call.body).map_err(|_| {
        invalid(
            "Could not process subscription creation payload. Are all property names spelled and camelCased \
             properly?",
        )
    })
}

fn checked(simulator: &Simulator, call: &Call) -> Result<Subscription, Failure> {
    let wanted = wanted(call)?;
    let required = |value: Option<String>, name: &str| {
        value
            .filter(|value| !value.is_empty())
            .ok_or_else(|| invalid(&format!("{name} is a required property for subscription creation")))
    };
    let expires = required(wanted.expiration_date_time, "expirationDateTime")?;
    let resource = required(wanted.resource, "resource")?;
    let change_type = required(wanted.change_type, "changeType")?;
    let notification_url = required(wanted.notification_url, "notificationUrl")?;
    let kinds: Option<Vec<ChangeKind>> = change_type.split(',').map(|word| kind(word.trim())).collect();
    let kinds = kinds.ok_or_else(|| invalid(&format!("changeType '{change_type}' is not supported.")))?;
    for url in [Some(&notification_url), wanted.lifecycle_notification_url.as_ref()].into_iter().flatten() {
        check_url(url, simulator.config.allow_http_loopback)?;
    }
    if wanted.client_state.as_ref().is_some_and(|state| state.chars().count() > CLIENT_STATE) {
        return Err(invalid("clientState exceeds the maximum length of 128 characters."));
    }
    if wanted.include_resource_data == Some(true) {
        return Err(invalid("encryptionCertificate is required when includeResourceData is true."));
    }
    let mut state = simulator.state();
    let (user, folder) = watched(&resource)?;
    let filter = filter_of(&resource)?;
    let mailbox = state.find_user(&user).ok_or_else(|| {
        let reason =
            "Operation: Create; Exception: [Status Code: NotFound; Reason: The requested user is invalid.]";
        Failure::new(StatusCode::NOT_FOUND, "ExtensionError", reason)
    })?;
    let expires = expiry(&expires, call.now, state.switches(mailbox).sub_max_minutes.0)?;
    check_access(&state, call, mailbox)?;
    let owner = folders::owner(&state, mailbox)?;
    let folder = folder.map(|name| folders::find(owner, &name)).transpose()?;
    let subscription = Subscription {
        id: state.random.guid(),
        number: state.name(),
        client_id: call.client_id(),
        mailbox,
        folder,
        filter,
        resource,
        change_type,
        kinds,
        notification_url,
        lifecycle_url: wanted.lifecycle_notification_url,
        client_state: wanted.client_state,
        tls_version: wanted.latest_supported_tls_version.unwrap_or_else(|| "v1_2".into()),
        expires,
        ids: call.prefer.ids,
        is_mute: false,
        confirmed: call.now,
        is_warned: false,
    };
    refuse_duplicate(&state, &subscription)?;
    Ok(subscription)
}

/// The mailbox must be in Exchange Online and in the application's reach.
fn check_access(state: &State, call: &Call, mailbox: usize) -> Result<(), Failure> {
    let status = state.mailboxes.get(mailbox).map(|owner| owner.status).unwrap_or_default();
    let Some(grant) = &call.grant else { return Err(Failure::token("Access token is empty.")) };
    if status != MailboxStatus::Active {
        let reason = "Operation: Create; Exception: [Status Code: NotFound; Reason: The mailbox is either inactive, \
                      soft-deleted, or is hosted on-premise.]";
        return Err(Failure::new(StatusCode::NOT_FOUND, "ExtensionError", reason));
    }
    match state.decide(grant.client_id, &grant.roles, mailbox, Permission::ReadBasic) {
        Access::Granted => Ok(()),
        _ => {
            let reason = "Operation: Create; Exception: [Status Code: Forbidden; Reason: Access is denied.]";
            Err(Failure::new(StatusCode::FORBIDDEN, "ExtensionError", reason))
        }
    }
}

fn refuse_duplicate(state: &State, wanted: &Subscription) -> Result<(), Failure> {
    let now = state.now();
    let living =
        || state.subscriptions.values().filter(move |old| old.expires > now && old.mailbox == wanted.mailbox);
    if living().count() >= PER_MAILBOX {
        let reason = "Operation: Create; Exception: [Status Code: Forbidden; Reason: Maximum number of active subscriptions reached.]";
        return Err(Failure::new(StatusCode::FORBIDDEN, "ExtensionError", reason));
    }
    let same = living().find(|old| {
        old.client_id == wanted.client_id
            && old.folder == wanted.folder
            && old.change_type == wanted.change_type
            && old.filter == wanted.filter
    });
    match same {
        Some(old) if state.switches(wanted.mailbox).sub_duplicate == DuplicatePolicy::Refuse => {
            Err(Failure::new(
                StatusCode::CONFLICT,
                "ObjectIdentifierInUse",
                format!("Subscription Id {} already exists for the requested combination", old.id),
            ))
        }
        _ => Ok(()),
    }
}

/// The user and the folder that a resource names.
fn watched(resource: &str) -> Result<(String, Option<String>), Failure> {
    let path = resource.split('?').next().unwrap_or_default();
    match Resource::parse(&format!("/v1.0/{path}")) {
        Resource::User(user, UserResource::Messages(folder)) => Ok((user, folder)),
        _ => Err(invalid(&format!("The resource '{resource}' is not supported for change notifications."))),
    }
}

/// The `$filter` in the query of a resource.
fn filter_of(resource: &str) -> Result<Option<Filter>, Failure> {
    Query::parse(resource.split_once('?').map(|(_, query)| query)).filter()
}

fn kind(word: &str) -> Option<ChangeKind> {
    ChangeKind::ALL.into_iter().find(|kind| kind.name().eq_ignore_ascii_case(word))
}

/// The moment that was asked for, if it is no more than `longest` minutes away.
fn expiry(text: &str, now: Timestamp, longest: u32) -> Result<Timestamp, Failure> {
    let expires: Timestamp = text.parse().map_err(|_| {
        invalid(
            "Could not process subscription creation payload. Are all property names spelled and camelCased \
             properly?",
        )
    })?;
    if expires.duration_since(now) > SignedDuration::from_mins(longest.into()) {
        let message = format!("Subscription expiration can only be {longest} minutes in the future.");
        return Err(Failure::new(StatusCode::BAD_REQUEST, "ExtensionError", message));
    }
    Ok(expires.max(now.checked_add(SHORTEST).unwrap_or(expires)))
}

fn check_url(text: &str, loopback: bool) -> Result<(), Failure> {
    let refused = || {
        Failure::new(StatusCode::BAD_REQUEST, "InvalidRequest", "NotificationUrl must use the https scheme.")
    };
    let url = Url::parse(text).map_err(|_| refused())?;
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    let is_here = host == "localhost" || address.is_ok_and(|address| address.is_loopback());
    match url.scheme() {
        "https" => Ok(()),
        "http" if loopback && is_here => Ok(()),
        _ => Err(refused()),
    }
}

async fn handshake(simulator: &Simulator, mailbox: usize, url: &str) -> Result<(), Failure> {
    let refused = |message: &str| Failure::new(StatusCode::BAD_REQUEST, "ValidationError", message);
    let id = simulator.state().random.guid();
    let token =
        format!("Validation: Testing client application reachability for subscription Request-Id: {id}");
    let mut target = Url::parse(url).map_err(|_| refused("The notification URL is malformed."))?;
    target.query_pairs_mut().append_pair("validationToken", &token);
    let request = Request::post(target.as_str())
        .header(header::CONTENT_TYPE, "text/plain; charset=utf-8")
        .body(Bytes::new())
        .map_err(|_| refused("The notification URL is malformed."))?;
    let answer = match tokio::time::timeout(HANDSHAKE, simulator.config.outgoing.send(request)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => {
            return Err(refused(
                "Subscription validation request failed. The notification endpoint can't be reached.",
            ));
        }
        Err(_) => return Err(refused("Subscription validation request timed out.")),
    };
    let kind =
        answer.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if answer.status() != StatusCode::OK {
        return Err(refused(
            "Subscription validation request failed. Notification endpoint must respond with 200 OK to validation \
             request.",
        ));
    }
    if !kind.starts_with("text/plain") || *answer.body() != token {
        return Err(refused(
            "Subscription validation request failed. Must respond with 200 OK and the validation token as plain \
             text.",
        ));
    }
    let mut state = simulator.state();
    let State { random, board, mailboxes, .. } = &mut *state;
    let address = mailboxes.get(mailbox).map(|owner| owner.address.as_str()).unwrap_or_default();
    if random.strikes(address, "sub.validation_flaky", &board.of(address).sub_validation) {
        return Err(refused("Subscription validation request timed out."));
    }
    Ok(())
}

fn plain(state: &State, subscription: &Subscription) -> Value {
    let application =
        state.applications.iter().find(|application| application.client_id == subscription.client_id);
    json!({
        "id": subscription.id,
        "resource": subscription.resource,
        "applicationId": subscription.client_id,
        "changeType": subscription.change_type,
        "clientState": null,
        "notificationUrl": subscription.notification_url,
        "notificationQueryOptions": null,
        "lifecycleNotificationUrl": subscription.lifecycle_url,
        "expirationDateTime": subscription.expires.strftime("%Y-%m-%dT%H:%M:%S%.6f0Z").to_string(),
        "creatorId": application.map(|application| application.principal_id),
        "includeResourceData": null,
        "latestSupportedTlsVersion": subscription.tls_version,
        "encryptionCertificate": null,
        "encryptionCertificateId": null,
        "notificationUrlAppId": null,
    })
}

fn shown(state: &State, call: &Call, subscription: &Subscription) -> Value {
    let mut object = plain(state, subscription);
    object["@odata.context"] = format!("{}/v1.0/$metadata#subscriptions/$entity", call.graph_url).into();
    object["clientState"] = json!(subscription.client_state);
    object
}

fn invalid(message: &str) -> Failure {
    Failure::new(StatusCode::BAD_REQUEST, "InvalidRequest", message)
}
