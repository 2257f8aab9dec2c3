//! The only list of routes, and what lies around all of them.
//!
//! From outside in: request id, headers, who asks, explained errors, caught panics,
//! refusal of foreign forms. The webhooks have only the headers: Microsoft sends no
//! cookie, and checks of its own stand in `hooks`.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request},
    http::{HeaderName, HeaderValue},
    middleware::{Next, from_fn, from_fn_with_state as with},
    response::{IntoResponse as _, Redirect, Response},
    routing::{get, post},
};
use tower_http::{catch_panic::CatchPanicLayer, compression::CompressionLayer, csrf::CsrfLayer};
use tracing::Instrument as _;

use crate::{
    Web, assets, conversation, desk, failure, failure::Failure, headers, hooks, integrations, language,
    ledger, live, login, mail, mailboxes, metrics, onboarding, queues, site::Site, trace, visitor,
    visitor::Visitor,
};

/// The largest form but the reply's.
const FORM_LIMIT: usize = 64 * 1024;
/// The largest form with a reply: percent-encoding makes three bytes of one.
const REPLY_FORM_LIMIT: usize = 3 * postroom_engine::desk::REPLY_LIMIT + FORM_LIMIT;

/// The whole web server.
pub fn router(web: Web) -> Router {
    let site = Site::new(web);
    // Only what is the same for everybody is compressed: a page holds secrets beside
    // texts of strangers, whose length must not tell anything (BREACH).
    let public =
        Router::new().route("/assets/{version}/{name}", get(assets::show)).layer(CompressionLayer::new());
    let reply = Router::new()
        .route("/desk/conversations/{id}/reply", post(conversation::reply))
        .layer(DefaultBodyLimit::max(REPLY_FORM_LIMIT));
    let pages = Router::new()
        .route("/", get(home))
        .route("/login", get(login::show).post(login::sign_in))
        .route("/logout", post(login::sign_out))
        .route("/language", post(language::set))
        .route("/live", get(live::follow))
        .route("/desk", get(desk::show))
        .route("/desk/panel", get(desk::panel))
        .route("/desk/status", post(desk::set_status))
        .route("/desk/conversations/{id}", get(conversation::show))
        .route("/desk/conversations/{id}/news", get(conversation::news))
        .route("/desk/conversations/{id}/accept", post(conversation::accept))
        .route("/desk/conversations/{id}/decline", post(conversation::decline))
        .route("/desk/conversations/{id}/return", post(conversation::return_to_queue))
        .route("/desk/conversations/{id}/wrap-up", post(conversation::wrap_up))
        .route("/queues", get(queues::show))
        .route("/queues/table", get(queues::table))
        .route("/queues/{id}", get(queues::show_one))
        .route("/queues/{id}/state", get(queues::state))
        .route("/mailboxes", get(mailboxes::show))
        .route("/mailboxes/table", get(mailboxes::table))
        .route("/integrations", get(integrations::show))
        .route("/integrations/new", get(onboarding::show).post(onboarding::connect))
        .route("/integrations/signed-in", get(integrations::signed_in))
        .route("/integrations/{id}/sign-in", get(integrations::sign_in))
        .route("/integrations/{id}/examine", post(integrations::examine))
        .route("/integrations/{id}/mailboxes", get(onboarding::name_mailboxes).post(onboarding::join))
        .route("/integrations/{id}/check", post(onboarding::check))
        .route("/integrations/{id}/activate", post(onboarding::activate))
        .route("/ledger", get(ledger::show))
        .route("/ledger/{id}/release", post(ledger::release))
        .route("/trace", get(trace::search))
        .route("/trace/{id}", get(trace::show))
        .route("/mails/{id}/body", get(mail::body))
        .route("/mails/{id}/attachments/{index}", get(mail::attachment))
        .fallback(unknown)
        .layer(DefaultBodyLimit::max(FORM_LIMIT));
    let screens = pages
        .merge(reply)
        .merge(public)
        .layer(csrf(&site))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(with(site.clone(), failure::explain))
        .layer(with(site.clone(), visitor::recognize))
        .with_state(site.clone());
    let ids = Ids::new(&site);
    screens
        .merge(hooks::router(site.engine.clone()))
        .merge(metrics::watch_router(site.engine.clone()))
        .layer(with(site, headers::add))
        .layer(from_fn(move |request, next| number(ids.clone(), request, next)))
}

/// Refuses forms that a page of somebody else sends. A proxy may hide our own name
/// from us, so the public address is named as well.
fn csrf(site: &Site) -> CsrfLayer {
    let layer = CsrfLayer::new();
    let origin = site.public_url.origin().ascii_serialization();
    match layer.clone().add_trusted_origin(origin) {
        Ok(layer) => layer,
        Err(error) => {
            tracing::warn!(error = %error, "The public URL is no web origin; forms are checked by their Host alone");
            layer
        }
    }
}

async fn home(visitor: Visitor) -> Redirect {
    Redirect::to(visitor.user.as_deref().map_or("/login", visitor::home))
}

async fn unknown() -> Failure {
    Failure::NotFound
}

fn panicked(_: Box<dyn Any + Send + 'static>) -> Response {
    tracing::error!("A handler panicked");
    Failure::Broken.into_response()
}

/// The number of a request, by which an error page is found in the log.
#[derive(Debug, Clone)]
pub(crate) struct RequestId(pub(crate) Arc<str>);

/// Numbers requests: unique in a process by the count, among processes by its start.
#[derive(Clone)]
struct Ids {
    start: i64,
    count: Arc<AtomicU64>,
}

impl Ids {
    fn new(site: &Site) -> Self {
        Self { start: site.engine.clock().now().as_microsecond(), count: Arc::default() }
    }
}

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

async fn number(ids: Ids, mut request: Request, next: Next) -> Response {
    let id = format!("{:x}-{:x}", ids.start, ids.count.fetch_add(1, Ordering::Relaxed));
    request.extensions_mut().insert(RequestId(id.as_str().into()));
    let span = tracing::info_span!("request", request.id = %id, request.method = %request.method());
    let mut answer = next.run(request).instrument(span).await;
    if let Ok(id) = HeaderValue::from_str(&id) {
        answer.headers_mut().insert(X_REQUEST_ID, id);
    }
    answer
}
