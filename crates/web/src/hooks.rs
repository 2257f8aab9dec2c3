//! The webhooks that Microsoft Graph calls: raw bytes in, an answer only after
//! everything in them is durable.
//!
//! Sources: <https://learn.microsoft.com/en-us/graph/change-notifications-delivery-webhooks>
//! (handshake, 202), `engine::intake` (what a batch does).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, FromRequest as _, Path, Query, Request, State},
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::post,
};
use postroom_engine::{Engine, intake::IntakeError};
use serde::Deserialize;

/// The largest batch that is read.
const LIMIT: usize = 1024 * 1024;
/// The longest validation token that is given back.
const TOKEN_LIMIT: usize = 4096;

#[derive(Clone)]
struct Hooks {
    engine: Engine,
    counts: Arc<Counts>,
}

/// What came that was not for us, since the start.
#[derive(Default)]
struct Counts {
    unreadable: AtomicU64,
    unknown: AtomicU64,
    refused: AtomicU64,
}

pub(crate) fn router(engine: Engine) -> Router {
    Router::new()
        .route("/hooks/graph/{path}", post(notified))
        .route("/hooks/graph/{path}/lifecycle", post(notified))
        .layer(DefaultBodyLimit::max(LIMIT))
        .with_state(Hooks { engine, counts: Arc::default() })
}

#[derive(Deserialize)]
struct Handshake {
    #[serde(rename = "validationToken")]
    validation_token: Option<String>,
}

/// Takes a batch of notifications, or gives back the token of the handshake.
async fn notified(
    State(hooks): State<Hooks>,
    Path(path): Path<String>,
    Query(handshake): Query<Handshake>,
    request: Request,
) -> Response {
    if let Some(token) = handshake.validation_token {
        return echo(token);
    }
    let body = match Bytes::from_request(request, &()).await {
        Ok(body) => body,
        Err(refusal) => {
            hooks.counts.unreadable.fetch_add(1, Ordering::Relaxed);
            return refusal.into_response();
        }
    };
    match hooks.engine.notified(&path, &body).await {
        Ok(intake) => {
            let refused = hooks.counts.refused.fetch_add(intake.refused as u64, Ordering::Relaxed);
            if intake.refused > 0 {
                tracing::warn!(
                    hook.refused = intake.refused,
                    hook.refused_total = refused + intake.refused as u64,
                    "Notifications with a wrong client state were left without effect"
                );
            }
            if intake.taken == 0 && intake.refused == 0 {
                let unknown = hooks.counts.unknown.fetch_add(1, Ordering::Relaxed) + 1;
                tracing::warn!(
                    hook.unknown_total = unknown,
                    "A notification came to an address without subscription"
                );
            }
            // Nobody's notification is answered like a known one, or Microsoft would repeat it for hours. A wrong client state is answered like a right one: whoever guesses learns nothing.
            StatusCode::ACCEPTED.into_response()
        }
        Err(IntakeError::Unreadable(_)) => {
            let unreadable = hooks.counts.unreadable.fetch_add(1, Ordering::Relaxed) + 1;
            tracing::warn!(
                hook.unreadable_total = unreadable,
                "A body that is no batch of notifications was refused"
            );
            (StatusCode::BAD_REQUEST, "the body is not a collection of change notifications").into_response()
        }
        Err(IntakeError::Store(error)) => {
            tracing::error!(error = %error, "Notifications could not be stored; Microsoft will send them again");
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
    }
}

fn echo(token: String) -> Response {
    if token.len() > TOKEN_LIMIT {
        return StatusCode::BAD_REQUEST.into_response();
    }
    (
        [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::X_CONTENT_TYPE_OPTIONS, "nosniff")],
        token,
    )
        .into_response()
}
