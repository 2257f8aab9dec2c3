//! Graph: takes a request, lets it through the gate of its mailbox, has it
//! answered and notes it.
//!
//! The handlers are plain functions over the locked state; only the validation
//! handshake of a subscription waits for somebody. Rule kept: whatever comes in
//! gets an answer of the real service's form, never a panic.

mod access;
pub(crate) mod answer;
mod attachments;
mod batch;
mod delta;
mod drafts;
pub(crate) mod filter;
mod folder_delta;
mod folders;
pub(crate) mod ids;
pub(crate) mod json;
mod messages;
mod path;
mod query;
mod replies;
mod subscriptions;

use std::future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Request, State as Extract};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use jiff::Timestamp;
use uuid::Uuid;

use crate::clock::later;
use crate::entra;
use crate::figures::RequestLog;
use crate::server::Root;
use crate::simulator::Simulator;
use crate::state::{Grant, State};
use crate::switches::{ErrorShape, RetryAfter, Switches};
use crate::throttle::{Ban, Excess, Scope, after_seconds};
use answer::{Answer, Failure, Payload};
use path::{Resource, UserResource};
use query::{Prefer, Query};

/// Largest body of a request: <https://learn.microsoft.com/en-us/graph/errors> (413).
const BODY_LIMIT: usize = 4 * 1024 * 1024;

/// A request, taken apart.
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) resource: Resource,
    pub(crate) path: String,
    pub(crate) query: Query,
    pub(crate) prefer: Prefer,
    pub(crate) is_mime: bool,
    /// The version that a change is meant for.
    pub(crate) if_match: Option<String>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) now: Timestamp,
    pub(crate) graph_url: String,
    /// What its token stands for, once that is known.
    pub(crate) grant: Option<Arc<Grant>>,
}

impl Call {
    pub(crate) fn new(
        graph_url: String,
        method: Method,
        path: &str,
        query: Option<&str>,
        headers: HeaderMap,
        body: Bytes,
        now: Timestamp,
    ) -> Self {
        let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        Self {
            resource: Resource::parse(path),
            path: path.to_owned(),
            query: Query::parse(query),
            prefer: Prefer::parse(&headers),
            is_mime: text(header::CONTENT_TYPE).is_some_and(|kind| kind.starts_with("text/plain")),
            if_match: text(header::IF_MATCH).map(str::to_owned),
            method,
            headers,
            body,
            now,
            graph_url,
            grant: None,
        }
    }

    /// The application that asks.
    pub(crate) fn client_id(&self) -> Uuid {
        self.grant.as_ref().map(|grant| grant.client_id).unwrap_or_default()
    }

    /// The link to the next page, when a page ends before the last of `total` elements.
    pub(crate) fn next_page(&self, end: usize, total: usize) -> Option<String> {
        let others = self.query.without("$skip");
        (end < total).then(|| format!("{}{}?{others}%24skip={end}", self.graph_url, self.path))
    }
}

impl Simulator {
    /// Serves Graph (`/v1.0/…`) and Entra ID (`/{tenant}/oauth2/v2.0/token`).
    pub fn graph_router(&self) -> Router {
        Router::new()
            .route("/{tenant}/oauth2/v2.0/token", post(entra::token))
            .route(
                "/{tenant}/oauth2/v2.0/authorize",
                get(entra::authorize::show).post(entra::authorize::answer),
            )
            .route("/{tenant}/oauth2/token", post(entra::token))
            .route("/{tenant}/v2.0/.well-known/openid-configuration", get(entra::discovery::configuration))
            .route("/{tenant}/.well-known/openid-configuration", get(entra::discovery::configuration))
            .route("/{tenant}/discovery/v2.0/keys", get(entra::discovery::keys))
            .route("/{tenant}/discovery/keys", get(entra::discovery::keys))
            .route("/common/discovery/instance", get(entra::discovery::instance))
            .fallback(serve)
            .layer(DefaultBodyLimit::disable())
            .with_state(self.clone())
    }
}

/// A place in the gate of a mailbox, given back when dropped.
struct Place {
    simulator: Simulator,
    scope: Scope,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.simulator.state().gate.leave(&self.scope);
    }
}

/// How long a refusal may be on its way over a network before its client is held to it.
const ON_ITS_WAY: Duration = Duration::from_millis(250);

async fn serve(Extract(simulator): Extract<Simulator>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, BODY_LIMIT).await;
    let (too_large, body) = (body.is_err(), body.unwrap_or_default());
    let now = simulator.state().now();
    let (path, query) = (head.uri.path().to_owned(), head.uri.query());
    let root = head.extensions.get::<Root>();
    // Only what comes over a network has a root of its own.
    let grace = if root.is_some() { ON_ITS_WAY } else { Duration::ZERO };
    let graph_url = root.map_or_else(|| simulator.config.graph_url.clone(), |root| root.0.clone());
    let call = Call::new(graph_url, head.method, &path, query, head.headers, body, now);
    one(&simulator, call, too_large).await.into_response(&simulator, grace)
}

/// Has one request answered, alone or as a part of a batch.
pub(crate) async fn one(simulator: &Simulator, mut call: Call, too_large: bool) -> Answered {
    let kind = call.resource.kind(&call.method);
    let method = call.method.to_string();
    let Entered { scope, place, outcome } = enter(simulator, &mut call, kind, too_large);
    let headers = call.headers.clone();
    let outcome = match outcome {
        Ok(()) => {
            let latency = {
                let state = simulator.state();
                let mailbox = scope.as_ref().map_or("", |(_, mailbox)| mailbox.as_str());
                state.board.of(mailbox).latency.duration()
            };
            tokio::time::sleep(latency).await;
            let now = simulator.state().now();
            carry_out(simulator, Call { now, ..call }).await
        }
        Err(failure) => Err(failure),
    };
    respond(simulator, &headers, &Noted { kind, method, scope }, place, outcome)
}

/// How a request came through the gate.
struct Entered {
    /// The budget it draws on, if it names a mailbox that exists.
    scope: Option<Scope>,
    place: Option<Place>,
    outcome: Result<(), Failure>,
}

/// What can be refused before the request is looked at: token, size, limits, weather, leave.
fn enter(simulator: &Simulator, call: &mut Call, kind: &'static str, too_large: bool) -> Entered {
    let mut state = simulator.state();
    let outside = |outcome| Entered { scope: None, place: None, outcome };
    let grant = match check_token(&state, call.now, &call.headers) {
        Ok(grant) => grant,
        Err(failure) => return outside(Err(failure)),
    };
    call.grant = Some(Arc::clone(&grant));
    let Resource::User(user, resource) = &call.resource else {
        return outside(if too_large {
            Err(Failure::too_large())
        } else {
            outer_weather(&mut state, call, &grant).and_then(|()| access::directory(call, &grant))
        });
    };
    let Some(mailbox) = state.find_user(user) else {
        let is_directory = matches!(resource, UserResource::Profile);
        let failure = if is_directory { Failure::no_directory_user(user) } else { Failure::no_user(user) };
        return outside(Err(failure));
    };
    let address = state.mailboxes.get(mailbox).map(|owner| owner.address.clone()).unwrap_or_default();
    let scope: Scope = (grant.client_id, address.clone());
    if state.gate.is_violation(&scope, call.now) {
        state.record.figures.note_violation(&address);
    }
    let upload = if call.method == Method::GET { 0 } else { call.body.len() as u64 };
    // One lock, two parts of what it guards.
    let State { gate, board, .. } = &mut *state;
    let place = match gate.enter(&scope, call.now, upload, board.of(&address)) {
        Ok(in_flight) => {
            state.record.figures.note_in_flight(&address, in_flight);
            Place { simulator: simulator.clone(), scope: scope.clone() }
        }
        Err(excess) => {
            if excess == Excess::Concurrency {
                let most = state.board.of(&address).throttle_concurrency.0;
                state.record.figures.note_in_flight(&address, most.saturating_add(1));
            }
            return Entered { scope: Some(scope), place: None, outcome: Err(Failure::exceeds(excess)) };
        }
    };
    let outcome = if too_large {
        Err(Failure::too_large())
    } else {
        weather(&mut state, &address).and_then(|()| access::mailbox(&state, call, mailbox, &grant))
    };
    tracing::trace!(kind, mailbox = address, "A request came in");
    drop(state);
    Entered { scope: Some(scope), place: Some(place), outcome }
}

/// Failures of the service that have nothing to do with the request.
fn weather(state: &mut State, mailbox: &str) -> Result<(), Failure> {
    let switches = state.board.of(mailbox);
    if state.random.strikes(mailbox, "throttle.rate", &switches.throttle) {
        let wait = switches.throttle_wait.0;
        return Err(Failure::throttled("Application is over its RequestRate limit.", wait));
    }
    if state.random.strikes(mailbox, "error.rate", &switches.error) {
        let fate = state.random.roll(mailbox, "error.statuses");
        return Err(Failure::weather(switches.error_statuses.pick(fate)));
    }
    Ok(())
}

/// The same for requests that name no mailbox.
fn outer_weather(state: &mut State, call: &Call, grant: &Grant) -> Result<(), Failure> {
    if !matches!(call.resource, Resource::Subscriptions | Resource::Subscription(_)) {
        return Ok(());
    }
    let switches = state.board.tenant();
    let client = grant.client_id.to_string();
    if state.random.strikes(&client, "sub.error_rate", &switches.sub_error) {
        let fate = state.random.roll(&client, "error.statuses");
        return Err(Failure::weather(switches.error_statuses.pick(fate)));
    }
    Ok(())
}

fn check_token(state: &State, now: Timestamp, headers: &HeaderMap) -> Result<Arc<Grant>, Failure> {
    let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let Some(value) = value else { return Err(Failure::token("Access token is empty.")) };
    let token = value.strip_prefix("Bearer ").unwrap_or_default();
    let grant = state.tokens.get(token).ok_or_else(|| {
        let is_jwt = token.split('.').count() == 3;
        Failure::token(if is_jwt {
            "Access token validation failure. Invalid audience."
        } else {
            "IDX14100: JWT is not well formed, there are no dots (.)."
        })
    })?;
    if grant.expires <= now {
        return Err(Failure::token("Lifetime validation failed, the token is expired."));
    }
    match grant.revoked {
        Some(since) => Err(Failure::revoked(since, grant.knows_claims)),
        None => Ok(Arc::clone(grant)),
    }
}

async fn carry_out(simulator: &Simulator, call: Call) -> Result<Answer, Failure> {
    match (&call.method, &call.resource) {
        (&Method::POST, Resource::Subscriptions) => subscriptions::create(simulator, &call).await,
        (&Method::PATCH, Resource::Subscription(id)) => subscriptions::renew(simulator, &call, id).await,
        (&Method::POST, Resource::Batch) => batch::run(simulator, &call).await,
        _ => {
            let answer = answer(&mut simulator.state(), &call);
            simulator.wake();
            answer
        }
    }
}

fn answer(state: &mut State, call: &Call) -> Result<Answer, Failure> {
    use UserResource as U;
    state.finish_sending();
    refuse_over_quota(state, call)?;
    match (call.method.as_str(), &call.resource) {
        ("GET", Resource::Subscriptions) => subscriptions::list(state, call),
        ("GET", Resource::Subscription(id)) => subscriptions::get(state, call, id),
        ("DELETE", Resource::Subscription(id)) => subscriptions::delete(state, call, id),
        ("POST", Resource::Reauthorize(id)) => subscriptions::reauthorize(state, call, id),
        ("GET", Resource::Users) => folders::users(state, call),
        (
            _,
            Resource::Batch
            | Resource::Users
            | Resource::Subscriptions
            | Resource::Subscription(_)
            | Resource::Reauthorize(_),
        ) => Err(Failure::method()),
        (_, Resource::Me) => {
            Err(Failure::bad_request("/me request is only valid with delegated authentication flow."))
        }
        (_, Resource::Unknown(segment)) => Err(Failure::no_segment(segment)),
        (method, Resource::User(user, resource)) => {
            let mailbox = state.find_user(user).ok_or_else(|| Failure::no_user(user))?;
            match (method, resource) {
                ("GET", U::Profile) => folders::profile(state, call, mailbox),
                ("GET", U::Settings) => folders::settings(state, call, mailbox),
                ("GET", U::Folders(parent)) => folders::list(state, call, mailbox, parent.as_deref()),
                ("GET", U::FolderCount(parent)) => folders::count(state, call, mailbox, parent.as_deref()),
                ("GET", U::FolderDelta) => folder_delta::page(state, call, mailbox),
                ("GET", U::Folder(folder)) => folders::get(state, call, mailbox, folder),
                ("POST", U::Folders(parent)) => folders::create(state, call, mailbox, parent.as_deref()),
                ("PATCH", U::Folder(folder)) => folders::patch(state, call, mailbox, folder),
                ("DELETE", U::Folder(folder)) => folders::delete(state, mailbox, folder),
                ("POST", U::FolderAction(folder, action)) => {
                    folders::act(state, call, mailbox, folder, *action)
                }
                ("GET", U::Messages(folder)) => messages::list(state, call, mailbox, folder.as_deref()),
                ("GET", U::Count(folder)) => messages::count(state, call, mailbox, folder.as_deref()),
                ("GET", U::Delta(folder)) => delta::page(state, call, mailbox, folder.as_deref()),
                ("GET", U::Message(id)) => messages::get(state, call, mailbox, id),
                ("GET", U::Value(id)) => messages::mime(state, call, mailbox, id),
                ("PATCH", U::Message(id)) => messages::patch(state, call, mailbox, id),
                ("DELETE", U::Message(id)) => messages::delete(state, call, mailbox, id),
                ("GET", U::Attachments(id)) => attachments::list(state, call, mailbox, id),
                ("GET", U::AttachmentCount(id)) => attachments::count(state, call, mailbox, id),
                ("GET", U::Attachment(id, part)) => attachments::get(state, call, mailbox, id, part),
                ("GET", U::AttachmentValue(id, part)) => attachments::value(state, call, mailbox, id, part),
                ("POST", U::Attachments(id)) => attachments::add(state, call, mailbox, id),
                ("DELETE", U::Attachment(id, part)) => attachments::delete(state, call, mailbox, id, part),
                ("POST", U::Messages(folder)) => drafts::create(state, call, mailbox, folder.as_deref()),
                ("POST", U::SendMail) => drafts::send_mail(state, call, mailbox),
                ("POST", U::Action(id, action)) => drafts::act(state, call, mailbox, id, *action),
                _ => Err(Failure::method()),
            }
        }
    }
}

/// A mailbox over its quota takes nothing and often gives nothing either.
fn refuse_over_quota(state: &State, call: &Call) -> Result<(), Failure> {
    let Resource::User(user, resource) = &call.resource else { return Ok(()) };
    let is_full = state.find_user(user).is_some_and(|mailbox| state.switches(mailbox).mailbox_quota);
    if is_full && !matches!(resource, UserResource::Profile | UserResource::Settings) {
        return Err(Failure::quota(call.method == Method::GET));
    }
    Ok(())
}

/// What the log says of a request.
struct Noted {
    kind: &'static str,
    method: String,
    scope: Option<Scope>,
}

/// An answer that is ready to be written.
pub(crate) struct Answered {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: Bytes,
    /// Waits that count from when the client has read them.
    pub(crate) bans: Vec<Ban>,
    place: Option<Place>,
}

impl Answered {
    pub(crate) fn is_json(&self) -> bool {
        let kind = self.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        kind.is_some_and(|kind| kind.starts_with("application/json"))
    }

    fn into_response(self, simulator: &Simulator, grace: Duration) -> Response {
        let Self { status, headers, bytes, bans, place } = self;
        if bytes.is_empty() {
            return (status, headers).into_response();
        }
        let simulator = simulator.clone();
        // The place is given back when the body is handed out, just before it is written; the waits
        // count from when it was taken to its end.
        let body = stream::once(async move {
            drop(place);
            Some(Ok::<Bytes, std::convert::Infallible>(bytes))
        });
        let end = stream::once(async move {
            if !bans.is_empty() {
                let mut state = simulator.state();
                let from = later(state.now(), grace);
                bans.into_iter().for_each(|ban| state.gate.ban(ban, from));
            }
            None
        });
        (status, headers, Body::from_stream(body.chain(end).filter_map(future::ready))).into_response()
    }
}

fn respond(
    simulator: &Simulator,
    asked: &HeaderMap,
    noted: &Noted,
    place: Option<Place>,
    outcome: Result<Answer, Failure>,
) -> Answered {
    let mut state = simulator.state();
    let (now, request) = (state.now(), state.random.guid());
    let client_request = asked.get("client-request-id").and_then(|id| id.to_str().ok());
    let client_request = client_request.map_or_else(|| request.to_string(), str::to_owned);
    let mailbox = noted.scope.as_ref().map(|(_, mailbox)| mailbox.clone());
    let switches = state.board.of(mailbox.as_deref().unwrap_or_default());
    let longest = switches.gateway_timeout.0 as usize;
    let outcome = match outcome {
        Ok(answer) => match Rendered::of(answer, &Prefer::parse(asked)) {
            rendered if longest > 0 && rendered.bytes.len() > longest => Err(Failure::timeout()),
            rendered => Ok(rendered),
        },
        Err(failure) => Err(failure),
    };
    let mut bans = Vec::new();
    let rendered = outcome.unwrap_or_else(|failure| {
        if let (Some(wait), Some(scope)) = (failure.retry_after, &noted.scope)
            && switches.throttle_retry_after != RetryAfter::Absent
        {
            bans.push(Ban { scope: scope.clone(), until: after_seconds(now, wait) });
        }
        Rendered::of_failure(&failure, switches, now, request, &client_request)
    });
    let Rendered { status, mut headers, bytes, bans: further } = rendered;
    bans.extend(further);
    put(&mut headers, "request-id", &request.to_string());
    put(&mut headers, "client-request-id", &client_request);
    put(&mut headers, "cache-control", "private");
    put(&mut headers, "strict-transport-security", "max-age=31536000");
    put(
        &mut headers,
        "x-ms-ags-diagnostic",
        r#"{"ServerInfo":{"DataCenter":"Simulator","Slice":"E","Ring":"4","ScaleUnit":"001","RoleInstance":"SIM"}}"#,
    );
    state.record.note(RequestLog {
        time: now,
        kind: noted.kind,
        method: noted.method.clone(),
        mailbox,
        status: status.as_u16(),
        bytes: bytes.len() as u64,
    });
    drop(state);
    Answered { status, headers, bytes, bans, place }
}

fn put(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// An answer as bytes, without the headers that every answer has.
struct Rendered {
    status: StatusCode,
    headers: HeaderMap,
    bytes: Bytes,
    bans: Vec<Ban>,
}

impl Rendered {
    fn of(answer: Answer, prefer: &Prefer) -> Self {
        let mut headers = HeaderMap::new();
        if let Some(applied) = prefer.applied() {
            put(&mut headers, "preference-applied", &applied);
        }
        if let Some(location) = &answer.location {
            put(&mut headers, "location", location);
        }
        let json_type = "application/json; odata.metadata=minimal; odata.streaming=true; \
                         IEEE754Compatible=false; charset=utf-8";
        let bytes = match answer.payload {
            Payload::Nothing => Bytes::new(),
            Payload::Json(value) => {
                put(&mut headers, "content-type", json_type);
                value.to_string().into()
            }
            Payload::Raw { content_type, bytes } => {
                put(&mut headers, "content-type", &content_type);
                bytes
            }
        };
        Self { status: answer.status, headers, bytes, bans: answer.bans }
    }

    fn of_failure(
        failure: &Failure,
        switches: &Switches,
        now: Timestamp,
        request: Uuid,
        client_request: &str,
    ) -> Self {
        let mut headers = HeaderMap::new();
        match (failure.retry_after, switches.throttle_retry_after) {
            (Some(seconds), RetryAfter::Seconds) => put(&mut headers, "retry-after", &seconds.to_string()),
            (Some(seconds), RetryAfter::Date) => {
                // A date has whole seconds; the wait must not get shorter by that.
                let date = after_seconds(now, seconds.saturating_add(1));
                put(&mut headers, "retry-after", &date.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string());
            }
            _ => {}
        }
        if failure.status == StatusCode::UNAUTHORIZED {
            put(&mut headers, "www-authenticate", &failure.challenge());
        }
        let is_page = switches.error_shape == ErrorShape::Html && failure.status.is_server_error();
        let bytes = if is_page {
            put(&mut headers, "content-type", "text/html; charset=us-ascii");
            Bytes::from_static(b"<html><body><h2>Service Unavailable</h2></body></html>")
        } else if failure.newer_than.is_some() {
            Bytes::new()
        } else {
            put(&mut headers, "content-type", "application/json");
            failure.to_json(switches.error_shape, now, request, client_request).to_string().into()
        };
        Self { status: failure.status, headers, bytes, bans: Vec::new() }
    }
}
