//! The control API, on a port of its own: what a person or a test does to the
//! world that Microsoft would not let them do.

use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Path, State as Extract};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::figures::Figures;
use crate::pages;
use crate::simulator::{NoMailbox, Requests, Simulator};
use crate::switches::Switches;

/// Largest mail that is taken.
const MAIL_LIMIT: usize = 160 * 1024 * 1024;

impl Simulator {
    /// Serves the control API (`/v1/…`) and the pages where a person writes as a customer (`/`).
    pub fn control_router(&self) -> Router {
        Router::new()
            .route("/v1/mailboxes", get(mailboxes))
            .route("/v1/mailboxes/{address}/messages", post(deliver).get(messages))
            .route("/v1/mailboxes/{address}/burst", post(burst))
            .route("/v1/mailboxes/{address}/lifecycle/{event}", post(lifecycle))
            .route("/v1/outside", get(outside_addresses))
            .route("/v1/outside/{address}", get(outside))
            .route("/v1/requests", get(requests).delete(reset))
            .route("/v1/figures", get(figures))
            .route("/v1/switches", get(switches))
            .route("/v1/switches/{name}", put(switch))
            .route("/v1/clock", post(clock).get(time))
            .merge(pages::router())
            .layer(DefaultBodyLimit::max(MAIL_LIMIT))
            .with_state(self.clone())
    }
}

impl IntoResponse for NoMailbox {
    fn into_response(self) -> Response {
        (StatusCode::NOT_FOUND, Json(json!({ "error": self.to_string() }))).into_response()
    }
}

async fn mailboxes(Extract(simulator): Extract<Simulator>) -> Json<Vec<String>> {
    Json(simulator.mailboxes())
}

async fn messages(
    Extract(simulator): Extract<Simulator>,
    Path(address): Path<String>,
) -> Result<Json<Value>, NoMailbox> {
    Ok(Json(json!({ "messages": simulator.messages(&address)? })))
}

async fn deliver(
    Extract(simulator): Extract<Simulator>,
    Path(address): Path<String>,
    mime: Bytes,
) -> Result<(StatusCode, Json<Value>), NoMailbox> {
    let at = simulator.state().now();
    let id = simulator.deliver(&address, mime)?;
    Ok((StatusCode::CREATED, Json(json!({ "id": id, "at": at }))))
}

/// Many mails at once.
#[derive(Deserialize)]
struct Burst {
    /// The mails as base64, each with its own headers.
    mails: Vec<String>,
}

async fn burst(
    Extract(simulator): Extract<Simulator>,
    Path(address): Path<String>,
    Json(burst): Json<Burst>,
) -> Response {
    let mails: Result<Vec<Vec<u8>>, _> = burst.mails.iter().map(|mail| STANDARD.decode(mail)).collect();
    let Ok(mails) = mails else {
        let error = json!({ "error": "each of the mails must be base64" });
        return (StatusCode::BAD_REQUEST, Json(error)).into_response();
    };
    let at = simulator.state().now();
    let ids: Result<Vec<String>, NoMailbox> =
        mails.into_iter().map(|mail| simulator.deliver(&address, mail)).collect();
    match ids {
        Ok(ids) => (StatusCode::CREATED, Json(json!({ "ids": ids, "at": at }))).into_response(),
        Err(error) => error.into_response(),
    }
}

async fn lifecycle(
    Extract(simulator): Extract<Simulator>,
    Path((address, event)): Path<(String, String)>,
) -> Result<StatusCode, NoMailbox> {
    simulator.lifecycle(&address, &event)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn outside_addresses(Extract(simulator): Extract<Simulator>) -> Json<Vec<String>> {
    Json(simulator.outside_addresses())
}

async fn outside(Extract(simulator): Extract<Simulator>, Path(address): Path<String>) -> Json<Value> {
    let mails: Vec<String> = simulator.outside(&address).iter().map(|mime| STANDARD.encode(mime)).collect();
    Json(json!({ "address": address, "messages": mails }))
}

async fn requests(Extract(simulator): Extract<Simulator>) -> Json<Requests> {
    Json(simulator.requests())
}

async fn figures(Extract(simulator): Extract<Simulator>) -> Json<Figures> {
    Json(simulator.figures())
}

async fn reset(Extract(simulator): Extract<Simulator>) -> StatusCode {
    simulator.reset_requests();
    StatusCode::NO_CONTENT
}

async fn switches(Extract(simulator): Extract<Simulator>) -> Json<Switches> {
    Json(simulator.switches())
}

async fn switch(
    Extract(simulator): Extract<Simulator>,
    Path(name): Path<String>,
    Json(value): Json<Value>,
) -> Response {
    match simulator.set_switch(&name, value) {
        Ok(()) => Json(simulator.switches()).into_response(),
        Err(error) => {
            let cause =
                std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
            let error = json!({ "error": format!("{error}{cause}") });
            (StatusCode::BAD_REQUEST, Json(error)).into_response()
        }
    }
}

/// How far to move the clock.
#[derive(Deserialize)]
struct Advance {
    /// Seconds, forward only.
    advance_s: u64,
}

async fn clock(Extract(simulator): Extract<Simulator>, Json(advance): Json<Advance>) -> Json<Value> {
    simulator.advance(Duration::from_secs(advance.advance_s));
    time(Extract(simulator)).await
}

async fn time(Extract(simulator): Extract<Simulator>) -> Json<Value> {
    let now = simulator.state().now();
    Json(json!({ "now": now }))
}
