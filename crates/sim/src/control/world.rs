//! Mails, time, faults and figures.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State as Extract};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::Problem;
use crate::administration::AdminError;
use crate::figures::Figures;
use crate::simulator::{NoMailbox, Requests, Simulator};
use crate::switches::{Profile, SwitchError, Switches};

/// Lists what is in a mailbox, newest first.
#[utoipa::path(get, path = "/v1/mailboxes/{address}/messages", params(("address" = String, Path)),
    responses((status = 200, body = Value), (status = 404, body = Problem)))]
pub(super) async fn messages(
    Extract(simulator): Extract<Simulator>,
    Path(address): Path<String>,
) -> Result<Json<Value>, NoMailbox> {
    Ok(Json(json!({ "messages": simulator.messages(&address)? })))
}

/// Delivers a mail, whatever its headers say.
#[utoipa::path(post, path = "/v1/mailboxes/{address}/messages", params(("address" = String, Path)),
    request_body(content = Vec<u8>, content_type = "message/rfc822"),
    responses((status = 201, body = Value), (status = 404, body = Problem)))]
pub(super) async fn deliver(
    Extract(simulator): Extract<Simulator>,
    Path(address): Path<String>,
    mime: Bytes,
) -> Result<(StatusCode, Json<Value>), NoMailbox> {
    let at = simulator.state().now();
    let id = simulator.deliver(&address, mime)?;
    Ok((StatusCode::CREATED, Json(json!({ "id": id, "at": at }))))
}

/// Many mails at once.
#[derive(Deserialize, ToSchema)]
pub(super) struct Burst {
    /// The mails as base64, each with its own headers.
    mails: Vec<String>,
}

/// Delivers many mails at once.
#[utoipa::path(post, path = "/v1/mailboxes/{address}/burst", params(("address" = String, Path)),
    request_body = Burst, responses((status = 201, body = Value), (status = 400, body = Problem)))]
pub(super) async fn burst(
    Extract(simulator): Extract<Simulator>,
    Path(address): Path<String>,
    Json(burst): Json<Burst>,
) -> Response {
    let mails: Result<Vec<Vec<u8>>, _> = burst.mails.iter().map(|mail| STANDARD.decode(mail)).collect();
    let Ok(mails) = mails else {
        let error = "each of the mails must be base64".into();
        return (StatusCode::BAD_REQUEST, Json(Problem { error })).into_response();
    };
    let at = simulator.state().now();
    let ids: Result<Vec<String>, NoMailbox> =
        mails.into_iter().map(|mail| simulator.deliver(&address, mail)).collect();
    match ids {
        Ok(ids) => (StatusCode::CREATED, Json(json!({ "ids": ids, "at": at }))).into_response(),
        Err(error) => error.into_response(),
    }
}

/// Writes short mails into a mailbox, as many as asked for.
#[utoipa::path(post, path = "/v1/mailboxes/{address}/fill/{mails}",
    params(("address" = String, Path), ("mails" = u32, Path)),
    responses((status = 204), (status = 404, body = Problem)))]
pub(super) async fn fill(
    Extract(simulator): Extract<Simulator>,
    Path((address, mails)): Path<(String, u32)>,
) -> Result<StatusCode, AdminError> {
    simulator.fill_mailbox(&address, mails)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sends a lifecycle event to the subscribers of a mailbox.
#[utoipa::path(post, path = "/v1/mailboxes/{address}/lifecycle/{event}",
    params(("address" = String, Path), ("event" = String, Path,
        description = "missed, subscriptionRemoved or reauthorizationRequired")),
    responses((status = 204), (status = 404, body = Problem)))]
pub(super) async fn lifecycle(
    Extract(simulator): Extract<Simulator>,
    Path((address, event)): Path<(String, String)>,
) -> Result<StatusCode, NoMailbox> {
    simulator.lifecycle(&address, &event)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lists the addresses outside that received something.
#[utoipa::path(get, path = "/v1/outside", responses((status = 200, body = Vec<String>)))]
pub(super) async fn outside_addresses(Extract(simulator): Extract<Simulator>) -> Json<Vec<String>> {
    Json(simulator.outside_addresses())
}

/// Shows what somebody outside received, oldest first, each mail as base64.
#[utoipa::path(get, path = "/v1/outside/{address}", params(("address" = String, Path)),
    responses((status = 200, body = Value)))]
pub(super) async fn outside(
    Extract(simulator): Extract<Simulator>,
    Path(address): Path<String>,
) -> Json<Value> {
    let mails: Vec<String> = simulator.outside(&address).iter().map(|mime| STANDARD.encode(mime)).collect();
    Json(json!({ "address": address, "messages": mails }))
}

/// Shows the figures and the latest requests one by one.
#[utoipa::path(get, path = "/v1/requests", responses((status = 200, body = Value)))]
pub(super) async fn requests(Extract(simulator): Extract<Simulator>) -> Json<Requests> {
    Json(simulator.requests())
}

/// Begins to count anew.
#[utoipa::path(delete, path = "/v1/requests", responses((status = 204)))]
pub(super) async fn reset(Extract(simulator): Extract<Simulator>) -> StatusCode {
    simulator.reset_requests();
    StatusCode::NO_CONTENT
}

/// Shows the figures alone.
#[utoipa::path(get, path = "/v1/figures", responses((status = 200, body = Value)))]
pub(super) async fn figures(Extract(simulator): Extract<Simulator>) -> Json<Figures> {
    Json(simulator.figures())
}

/// Shows every switch of the tenant: its value, what it takes and what it does.
#[utoipa::path(get, path = "/v1/switches", responses((status = 200, body = Value)))]
pub(super) async fn switches(Extract(simulator): Extract<Simulator>) -> Json<Value> {
    let values = simulator.switches().to_map();
    let shown = Switches::LIST.iter().map(|facts| {
        json!({ "name": facts.name, "value": values.get(facts.name), "takes": facts.takes, "about": facts.about.trim() })
    });
    Json(json!({ "switches": shown.collect::<Vec<_>>() }))
}

/// Sets a switch of the tenant. The body is its value as JSON.
#[utoipa::path(put, path = "/v1/switches/{name}", params(("name" = String, Path)), request_body = Value,
    responses((status = 204), (status = 400, body = Problem)))]
pub(super) async fn switch(
    Extract(simulator): Extract<Simulator>,
    Path(name): Path<String>,
    Json(value): Json<Value>,
) -> Result<StatusCode, SwitchError> {
    simulator.set_switch(&name, value)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Shows the switches that a mailbox has of its own.
#[utoipa::path(get, path = "/v1/mailboxes/{address}/switches", params(("address" = String, Path)),
    responses((status = 200, body = Value), (status = 404, body = Problem)))]
pub(super) async fn mailbox_switches(
    Extract(simulator): Extract<Simulator>,
    Path(address): Path<String>,
) -> Result<Json<Map<String, Value>>, NoMailbox> {
    simulator.mailbox_switches(&address).map(Json)
}

/// Sets a switch of one mailbox; `null` gives it the tenant's value again.
#[utoipa::path(put, path = "/v1/mailboxes/{address}/switches/{name}",
    params(("address" = String, Path), ("name" = String, Path)), request_body = Value,
    responses((status = 204), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn mailbox_switch(
    Extract(simulator): Extract<Simulator>,
    Path((address, name)): Path<(String, String)>,
    Json(value): Json<Value>,
) -> Result<StatusCode, SwitchError> {
    simulator.set_mailbox_switch(&address, &name, value)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sets all switches of the tenant to those of a profile: calm, field or storm.
#[utoipa::path(put, path = "/v1/profile/{name}", params(("name" = String, Path)),
    responses((status = 204), (status = 404, body = Problem)))]
pub(super) async fn profile(Extract(simulator): Extract<Simulator>, Path(name): Path<String>) -> Response {
    match Profile::parse(&name) {
        Some(profile) => {
            simulator.set_profile(profile);
            StatusCode::NO_CONTENT.into_response()
        }
        None => {
            let known = Profile::ALL.map(Profile::name).join(", ");
            let error = format!("no profile is called {name:?}; there are: {known}");
            (StatusCode::NOT_FOUND, Json(Problem { error })).into_response()
        }
    }
}

/// How far to move the clock.
#[derive(Deserialize, ToSchema)]
pub(super) struct Advance {
    /// Seconds, forward only.
    advance_s: u64,
}

/// Moves the simulator's clock forward.
#[utoipa::path(post, path = "/v1/clock", request_body = Advance, responses((status = 200, body = Value)))]
pub(super) async fn clock(
    Extract(simulator): Extract<Simulator>,
    Json(advance): Json<Advance>,
) -> Json<Value> {
    simulator.advance(Duration::from_secs(advance.advance_s));
    time(Extract(simulator)).await
}

/// Tells the simulator's time.
#[utoipa::path(get, path = "/v1/clock", responses((status = 200, body = Value)))]
pub(super) async fn time(Extract(simulator): Extract<Simulator>) -> Json<Value> {
    let now = simulator.state().now();
    Json(json!({ "now": now }))
}
