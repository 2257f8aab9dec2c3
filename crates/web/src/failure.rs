//! What a page could not do, told to a person: what happened and what to do.
//!
//! A handler gives a [`Failure`]; [`explain`] makes the page of it, in the reader's
//! language, or a notice where htmx asked for a fragment. Whatever else answers with
//! a bare error (no such route, a refused form, a panic) is explained in the same way.

use askama::Template;
use axum::{
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::Next,
    response::{Html, IntoResponse, Response},
};
use postroom_engine::{credentials::ChangeError, desk::DeskError, onboarding::OnboardingError};
use postroom_store::{DbError, credentials::CredentialError};

use crate::{page::Page, router::RequestId, site::Site, visitor::Visitor};

/// Something was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Nobody is signed in.
    SignIn,
    /// The person's roles don't allow it.
    NotAllowed,
    /// The conversation is with somebody else.
    NotYours,
    /// There is no such thing.
    NotFound,
    /// It stands elsewhere by now.
    Changed,
    /// The reply has no text.
    Empty,
    /// It is longer than can be taken.
    TooLong,
    /// The queue wants one of its wrap-up codes.
    NoSuchCode,
    /// The request is not one of ours.
    Unreadable,
    /// The request came from a page that is not ours.
    Foreign,
    /// Too many at once, or too often.
    TooMany,
    /// The store can't be reached.
    Store,
    /// A defect of ours.
    Broken,
}

impl Failure {
    /// Its word in the catalogue: `failure-…` and `failure-…-advice`.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Failure::SignIn => "sign_in",
            Failure::NotAllowed => "not_allowed",
            Failure::NotYours => "not_yours",
            Failure::NotFound => "not_found",
            Failure::Changed => "changed",
            Failure::Empty => "empty",
            Failure::TooLong => "too_long",
            Failure::NoSuchCode => "no_such_code",
            Failure::Unreadable => "unreadable",
            Failure::Foreign => "foreign",
            Failure::TooMany => "too_many",
            Failure::Store => "store",
            Failure::Broken => "broken",
        }
    }

    const fn status(self) -> StatusCode {
        match self {
            Failure::SignIn => StatusCode::UNAUTHORIZED,
            Failure::NotAllowed | Failure::NotYours | Failure::Foreign => StatusCode::FORBIDDEN,
            Failure::NotFound => StatusCode::NOT_FOUND,
            Failure::Changed => StatusCode::CONFLICT,
            Failure::Empty | Failure::NoSuchCode => StatusCode::UNPROCESSABLE_ENTITY,
            Failure::TooLong => StatusCode::PAYLOAD_TOO_LARGE,
            Failure::Unreadable => StatusCode::BAD_REQUEST,
            Failure::TooMany => StatusCode::TOO_MANY_REQUESTS,
            Failure::Store => StatusCode::SERVICE_UNAVAILABLE,
            Failure::Broken => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// What a bare error of a layer or extractor means.
    fn of(status: StatusCode) -> Self {
        match status {
            StatusCode::UNAUTHORIZED => Failure::SignIn,
            StatusCode::FORBIDDEN => Failure::Foreign,
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => Failure::NotFound,
            StatusCode::PAYLOAD_TOO_LARGE => Failure::TooLong,
            StatusCode::TOO_MANY_REQUESTS => Failure::TooMany,
            status if status.is_client_error() => Failure::Unreadable,
            _ => Failure::Broken,
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut answer = self.status().into_response();
        answer.extensions_mut().insert(self);
        answer
    }
}

impl From<DbError> for Failure {
    fn from(error: DbError) -> Self {
        if matches!(error, DbError::Lost) {
            return Failure::Changed;
        }
        tracing::error!(error = %error, "A page could not be made: the store failed");
        Failure::Store
    }
}

impl From<OnboardingError> for Failure {
    fn from(error: OnboardingError) -> Self {
        match error {
            OnboardingError::Store(error) | OnboardingError::Read(CredentialError::Db(error)) => error.into(),
            error => {
                tracing::error!(error = %error, "A page could not be made: the organisation could not be changed");
                Failure::Broken
            }
        }
    }
}

impl From<ChangeError> for Failure {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Store(error) | ChangeError::Read(CredentialError::Db(error)) => error.into(),
            error => {
                tracing::error!(error = %error, "A page could not be made: an integration could not be used");
                Failure::Broken
            }
        }
    }
}

impl From<DeskError> for Failure {
    fn from(error: DeskError) -> Self {
        match error {
            DeskError::NotAllowed => Failure::NotAllowed,
            DeskError::NotYours => Failure::NotYours,
            DeskError::Gone => Failure::Changed,
            DeskError::TooLong { .. } => Failure::TooLong,
            DeskError::Empty => Failure::Empty,
            DeskError::NoSuchCode => Failure::NoSuchCode,
            DeskError::Store(error) => error.into(),
            DeskError::Content(error) => {
                tracing::error!(error = %error, "A page could not be made: sealed content could not be opened");
                Failure::Broken
            }
        }
    }
}

impl From<askama::Error> for Failure {
    fn from(error: askama::Error) -> Self {
        tracing::error!(error = %error, "A page could not be made");
        Failure::Broken
    }
}

#[derive(Template)]
#[template(path = "failure.html")]
struct FailurePage<'a> {
    page: Page,
    failure: Failure,
    /// By which the answer is found in the log; only for defects.
    request_id: Option<&'a str>,
}

#[derive(Template)]
#[template(path = "notice.html")]
struct Notice {
    page: Page,
    failure: Failure,
}

/// Makes of every bare error a page, or a notice for htmx.
pub(crate) async fn explain(
    State(site): State<Site>,
    visitor: Visitor,
    request: Request,
    next: Next,
) -> Response {
    let id = request.extensions().get::<RequestId>().cloned();
    let answer = next.run(request).await;
    let status = answer.status();
    let given = answer.extensions().get::<Failure>().copied();
    if !status.is_client_error() && !status.is_server_error() {
        return answer;
    }
    let is_page = answer
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.to_str().is_ok_and(|kind| kind.starts_with("text/html")));
    if is_page && given.is_none() {
        return answer;
    }
    let failure = given.unwrap_or_else(|| Failure::of(status));
    if failure == Failure::SignIn {
        return visitor.to_login();
    }
    let page = Page::new(&site, &visitor, "");
    let shown = match visitor.is_htmx {
        true => Notice { page, failure }.render(),
        false => {
            let request_id = id.as_ref().filter(|_| failure.status().is_server_error()).map(|id| &*id.0);
            FailurePage { page, failure, request_id }.render()
        }
    };
    let Ok(html) = shown else { return failure.status().into_response() };
    let mut told = (failure.status(), Html(html)).into_response();
    if visitor.is_htmx {
        // The notice has a place of its own; what the reader has typed stays.
        told.headers_mut().insert("HX-Retarget", HeaderValue::from_static("#notice"));
        told.headers_mut().insert("HX-Reswap", HeaderValue::from_static("innerHTML"));
    }
    told
}
