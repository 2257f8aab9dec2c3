//! Who asks: the session behind the cookie, the person's roles and language.
//!
//! [`recognize`] finds out once for each request. A handler names the role that it
//! needs in its parameters ([`Agent`], [`Supervisor`], [`Admin`], or any
//! [`Person`]), so that a route without a check does not come to be.

use std::sync::Arc;

use axum::{
    extract::{FromRequestParts, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts},
    middleware::Next,
    response::{IntoResponse as _, Redirect, Response},
};
use axum_extra::extract::cookie::{Cookie, CookieJar, SameSite};
use postroom_model::user::Role;
use postroom_store::users::User;
use secrecy::{ExposeSecret as _, SecretString};

use crate::{failure::Failure, language, site::Site, texts::Texts};

/// Who asks, signed in or not.
#[derive(Clone)]
pub(crate) struct Visitor {
    /// The person, if the session is good.
    pub(crate) user: Option<Arc<User>>,
    /// The session's token.
    pub(crate) token: Option<Arc<SecretString>>,
    /// Texts in the reader's language.
    pub(crate) texts: Texts,
    /// Whether htmx asks, for a fragment.
    pub(crate) is_htmx: bool,
    /// The path that was asked for.
    pub(crate) path: Arc<str>,
}

impl Visitor {
    /// The way to the sign-in page: a redirect, by htmx's own header where it asks.
    pub(crate) fn to_login(&self) -> Response {
        if self.is_htmx {
            let mut answer = StatusCode::UNAUTHORIZED.into_response();
            answer.headers_mut().insert("HX-Redirect", HeaderValue::from_static("/login"));
            return answer;
        }
        Redirect::to("/login").into_response()
    }
}

/// Finds out who asks.
pub(crate) async fn recognize(State(site): State<Site>, mut request: Request, next: Next) -> Response {
    let jar = CookieJar::from_headers(request.headers());
    let token = jar.get(cookie_name(&site)).map(|cookie| cookie.value().to_owned());
    let mut failed = None;
    let mut user = None;
    if let Some(token) = &token {
        match site.engine.find_session(token).await {
            Ok(found) => user = found,
            Err(error) => failed = Some(Failure::from(error)),
        }
    }
    let locale = language::choose(user.as_ref(), &jar, request.headers());
    let visitor = Visitor {
        token: token.filter(|_| user.is_some()).map(|token| Arc::new(SecretString::from(token))),
        user: user.map(Arc::new),
        texts: site.texts.of(locale),
        is_htmx: is_htmx(request.headers()),
        path: request.uri().path().into(),
    };
    request.extensions_mut().insert(visitor);
    if let Some(failure) = failed {
        request.extensions_mut().insert(Unrecognized(failure));
    }
    next.run(request).await
}

/// The store failed while we asked who it is: nobody is taken for signed out.
#[derive(Clone, Copy)]
struct Unrecognized(Failure);

fn is_htmx(headers: &HeaderMap) -> bool {
    headers.contains_key("HX-Request") && !headers.contains_key("HX-History-Restore-Request")
}

impl<S: Sync> FromRequestParts<S> for Visitor {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        parts.extensions.get().cloned().ok_or(Failure::Broken)
    }
}

/// Somebody who is signed in, with whatever role.
#[derive(Clone)]
pub(crate) struct Person {
    /// Who.
    pub(crate) user: Arc<User>,
    /// The session's token.
    pub(crate) token: Arc<SecretString>,
    /// How they are spoken to.
    pub(crate) visitor: Visitor,
}

impl Person {
    pub(crate) fn has(&self, role: Role) -> bool {
        self.user.roles.contains(&role)
    }
}

impl<S: Sync> FromRequestParts<S> for Person {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        if let Some(Unrecognized(failure)) = parts.extensions.get() {
            return Err(*failure);
        }
        let visitor: Visitor = parts.extensions.get().cloned().ok_or(Failure::Broken)?;
        match (&visitor.user, &visitor.token) {
            (Some(user), Some(token)) => Ok(Self { user: user.clone(), token: token.clone(), visitor }),
            _ => Err(Failure::SignIn),
        }
    }
}

macro_rules! roles {
    ($($(#[$meta:meta])* $name:ident;)*) => {
        $(
            $(#[$meta])*
            #[derive(Clone)]
            pub(crate) struct $name(pub(crate) Person);

            impl<S: Sync> FromRequestParts<S> for $name {
                type Rejection = Failure;

                async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
                    let person = Person::from_request_parts(parts, state).await?;
                    if person.has(Role::$name) { Ok(Self(person)) } else { Err(Failure::NotAllowed) }
                }
            }
        )*
    };
}

roles! {
    /// A person who handles conversations.
    Agent;
    /// A person who watches queues.
    Supervisor;
    /// A person who looks after mailboxes and the ledger.
    Admin;
}

/// The name of the session cookie. The prefix binds it to this host and to https:
/// <https://developer.mozilla.org/en-US/docs/Web/HTTP/Reference/Headers/Set-Cookie#cookie_prefixes>
fn cookie_name(site: &Site) -> &'static str {
    if site.is_https() { "__Host-postroom" } else { "postroom" }
}

/// The cookie that keeps a session until the browser is closed or the session ends.
pub(crate) fn session_cookie(site: &Site, token: &SecretString) -> Cookie<'static> {
    Cookie::build((cookie_name(site), token.expose_secret().to_owned()))
        .path("/")
        .http_only(true)
        .same_site(SameSite::Lax)
        .secure(site.is_https())
        .build()
}

/// What removes the session cookie.
pub(crate) fn no_session_cookie(site: &Site) -> Cookie<'static> {
    let mut cookie = session_cookie(site, &SecretString::from(String::new()));
    cookie.make_removal();
    cookie
}

/// The screen of a person's widest role.
pub(crate) fn home(user: &User) -> &'static str {
    match () {
        () if user.roles.contains(&Role::Admin) => "/mailboxes",
        () if user.roles.contains(&Role::Supervisor) => "/queues",
        () => "/desk",
    }
}

/// Sends the page's own headers to where the browser goes next.
pub(crate) fn see_other(path: &str) -> Response {
    (StatusCode::SEE_OTHER, [(header::LOCATION, path.to_owned())]).into_response()
}
