//! Graph: takes a request, lets it through the gate of its mailbox, has it
//! answered and notes it.
//!
//! The handlers are plain functions over the locked state; only the validation
//! handshake of a subscription waits for somebody. Rule kept: whatever comes in
//! gets an answer of the real service's form, never a panic.

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

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Request, State as Extract};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use futures_util::stream;
use http::{Extensions, HeaderMap, HeaderValue, Method, StatusCode, header};
use jiff::Timestamp;

use crate::entra;
use crate::figures::RequestLog;
use crate::server::Root;
use crate::simulator::Simulator;
use crate::state::State;
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
        }
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
            .route("/{tenant}/v2.0/.well-known/openid-configuration", get(entra::discovery::configuration))
            .route("/common/discovery/instance", get(entra::discovery::instance))
            .fallback(serve)
            .layer(DefaultBodyLimit::disable())
            .with_state(self.clone())
    }
}

/// A place in the gate of a mailbox, given back when dropped.
struct Place {
    simulator: Simulator,
    mailbox: String,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.simulator.state().gate.leave(&self.mailbox);
    }
}

async fn serve(Extract(simulator): Extract<Simulator>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, BODY_LIMIT).await;
    let (too_large, body) = (body.is_err(), body.unwrap_or_default());
    let now = simulator.state().now();
    let (path, query) = (head.uri.path().to_owned(), head.uri.query());
    let graph_url = graph_url(&simulator, &head.extensions);
    let call = Call::new(graph_url, head.method, &path, query, head.headers, body, now);
    one(&simulator, call, too_large).await.into_response()
}

/// Has one request answered, alone or as a part of a batch.
pub(crate) async fn one(simulator: &Simulator, call: Call, too_large: bool) -> Answered {
    let kind = call.resource.kind(&call.method);
    let method = call.method.to_string();
    let (mailbox, entered) = enter(simulator, &call, kind, &call.headers, too_large);
    let headers = call.headers.clone();
    let (place, outcome) = match entered {
        Ok(place) => {
            let latency = simulator.state().switches.latency.duration();
            tokio::time::sleep(latency).await;
            let now = simulator.state().now();
            (place, carry_out(simulator, Call { now, ..call }).await)
        }
        Err(failure) => (None, Err(failure)),
    };
    respond(simulator, &headers, &Noted { kind, method, mailbox }, place, outcome)
}

/// Where links in the answer begin: where the client asked, if that is known.
fn graph_url(simulator: &Simulator, extensions: &Extensions) -> String {
    extensions.get::<Root>().map_or_else(|| simulator.config.graph_url.clone(), |root| root.0.clone())
}

type Entered = Result<Option<Place>, Failure>;

/// What can be refused before the request is looked at: token, size, limits, weather.
fn enter(
    simulator: &Simulator,
    call: &Call,
    kind: &'static str,
    headers: &HeaderMap,
    too_large: bool,
) -> (Option<String>, Entered) {
    let mut state = simulator.state();
    if let Err(failure) = check_token(&state, call.now, headers) {
        return (None, Err(failure));
    }
    let Resource::User(user, _) = &call.resource else {
        return (None, if too_large { Err(Failure::too_large()) } else { Ok(None) });
    };
    let Some(mailbox) = state.find_user(user).and_then(|at| state.mailboxes.get(at)) else {
        let is_directory = matches!(&call.resource, Resource::User(_, UserResource::Profile));
        let failure = if is_directory { Failure::no_directory_user(user) } else { Failure::no_user(user) };
        return (None, Err(failure));
    };
    let mailbox = mailbox.address.clone();
    let Some(in_flight) = state.gate.enter(&mailbox) else {
        state.record.figures.note_in_flight(&mailbox, crate::throttle::CONCURRENCY + 1);
        state.record.figures.note_violation(&mailbox);
        return (Some(mailbox), Err(Failure::too_many_at_once()));
    };
    state.record.figures.note_in_flight(&mailbox, in_flight);
    let (throttle, error) = (state.switches.throttle.rate(), state.switches.error.rate());
    let outcome = if too_large {
        Err(Failure::too_large())
    } else if state.random.strikes(&mailbox, kind, throttle) {
        Err(Failure::throttled("Application is over its RequestRate limit."))
    } else if state.random.strikes(&format!("{mailbox} weather"), kind, error) {
        Err(Failure::unavailable())
    } else {
        Ok(())
    };
    drop(state);
    let place = Place { simulator: simulator.clone(), mailbox: mailbox.clone() };
    (Some(mailbox), outcome.map(|()| Some(place)))
}

fn check_token(state: &State, now: Timestamp, headers: &HeaderMap) -> Result<(), Failure> {
    let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let Some(value) = value else { return Err(Failure::token("Access token is empty.")) };
    let token = value.strip_prefix("Bearer ").unwrap_or_default();
    match state.tokens.get(token) {
        Some(expires) if *expires > now => Ok(()),
        Some(_) => Err(Failure::token("Lifetime validation failed, the token is expired.")),
        None => Err(Failure::token("IDX14100: JWT is not well formed, there are no dots (.).")),
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
    match (call.method.as_str(), &call.resource) {
        ("GET", Resource::Subscriptions) => Ok(subscriptions::list(state, call)),
        ("GET", Resource::Subscription(id)) => subscriptions::get(state, call, id),
        ("DELETE", Resource::Subscription(id)) => subscriptions::delete(state, id),
        ("POST", Resource::Reauthorize(id)) => subscriptions::reauthorize(state, id),
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

/// What the log says of a request.
struct Noted {
    kind: &'static str,
    method: String,
    mailbox: Option<String>,
}

/// An answer that is ready to be written.
pub(crate) struct Answered {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: Bytes,
    place: Option<Place>,
}

impl Answered {
    pub(crate) fn is_json(&self) -> bool {
        let kind = self.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        kind.is_some_and(|kind| kind.starts_with("application/json"))
    }

    fn into_response(self) -> Response {
        let Self { status, headers, bytes, place } = self;
        if bytes.is_empty() {
            return (status, headers).into_response();
        }
        // The place is given back when the body is handed out, just before it is written.
        let body = Body::from_stream(stream::once(async move {
            drop(place);
            Ok::<Bytes, std::convert::Infallible>(bytes)
        }));
        (status, headers, body).into_response()
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
    let prefer = Prefer::parse(asked);
    let mut headers = HeaderMap::new();
    let mut put = |name: &'static str, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    put("request-id", &request.to_string());
    put("client-request-id", &client_request);
    put("cache-control", "private");
    let json_type = "application/json; odata.metadata=minimal; odata.streaming=true; \
                     IEEE754Compatible=false; charset=utf-8";
    let (status, bytes) = match outcome {
        Ok(answer) => {
            if let Some(applied) = prefer.applied() {
                put("preference-applied", &applied);
            }
            if let Some(location) = &answer.location {
                put("location", location);
            }
            let bytes = match answer.payload {
                Payload::Nothing => Bytes::new(),
                Payload::Json(value) => {
                    put("content-type", json_type);
                    value.to_string().into()
                }
                Payload::Raw { content_type, bytes } => {
                    put("content-type", &content_type);
                    bytes
                }
            };
            (answer.status, bytes)
        }
        Err(failure) => {
            put("content-type", "application/json");
            if let Some(seconds) = failure.retry_after {
                put("retry-after", &seconds.to_string());
            }
            if failure.status == StatusCode::UNAUTHORIZED {
                put(
                    "www-authenticate",
                    "Bearer realm=\"\", authorization_uri=\"https://login.microsoftonline.com/common/oauth2/authorize\"",
                );
            }
            (failure.status, failure.to_json(now, request, &client_request).to_string().into())
        }
    };
    state.record.note(RequestLog {
        time: now,
        kind: noted.kind,
        method: noted.method.clone(),
        mailbox: noted.mailbox.clone(),
        status: status.as_u16(),
        bytes: bytes.len() as u64,
    });
    drop(state);
    Answered { status, headers, bytes, place }
}
