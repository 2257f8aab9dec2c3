//! The control API, on a port of its own: what a person or a test does to the
//! world that Microsoft would not let them do.
//!
//! Handlers only translate between HTTP and the methods of the simulator. Each one
//! stands in the OpenAPI document, `GET /openapi.json`.

mod tenant;
mod world;

use axum::extract::DefaultBodyLimit;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa::openapi::{Info, OpenApi};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::administration::AdminError;
use crate::pages;
use crate::simulator::{NoMailbox, Simulator};
use crate::switches::SwitchError;

/// Largest mail that is taken.
const MAIL_LIMIT: usize = 160 * 1024 * 1024;

impl Simulator {
    /// Serves the control API (`/v1/…`), its OpenAPI document (`/openapi.json`) and the pages where a
    /// person writes as a customer (`/`).
    pub fn control_router(&self) -> Router {
        let (router, document) = api();
        router
            .route("/openapi.json", get(move || async move { Json(document) }))
            .merge(pages::router())
            .layer(DefaultBodyLimit::max(MAIL_LIMIT))
            .with_state(self.clone())
    }
}

fn api() -> (Router<Simulator>, OpenApi) {
    let mut document = OpenApi::default();
    document.info = Info::new("Microsoft 365 simulator: control API", env!("CARGO_PKG_VERSION"));
    OpenApiRouter::with_openapi(document)
        .routes(routes!(world::deliver, world::messages))
        .routes(routes!(world::burst))
        .routes(routes!(world::fill))
        .routes(routes!(world::lifecycle))
        .routes(routes!(world::outside_addresses))
        .routes(routes!(world::outside))
        .routes(routes!(world::requests, world::reset))
        .routes(routes!(world::figures))
        .routes(routes!(world::switches))
        .routes(routes!(world::switch))
        .routes(routes!(world::mailbox_switches))
        .routes(routes!(world::mailbox_switch))
        .routes(routes!(world::profile))
        .routes(routes!(world::time, world::clock))
        .routes(routes!(tenant::mailboxes, tenant::add_mailbox))
        .routes(routes!(tenant::change_mailbox))
        .routes(routes!(tenant::applications, tenant::add_application))
        .routes(routes!(tenant::application, tenant::change_application))
        .routes(routes!(tenant::add_secret))
        .routes(routes!(tenant::expire_secret))
        .routes(routes!(tenant::add_certificate))
        .routes(routes!(tenant::add_federation))
        .routes(routes!(tenant::remove_credential))
        .routes(routes!(tenant::set_roles))
        .routes(routes!(tenant::set_redirects))
        .routes(routes!(tenant::set_policies))
        .routes(routes!(tenant::set_assignments))
        .routes(routes!(tenant::roll_keys))
        .split_for_parts()
}

/// What is wrong with a request, in words.
#[derive(Serialize, ToSchema)]
struct Problem {
    error: String,
}

fn problem(status: StatusCode, error: &dyn std::error::Error) -> Response {
    let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
    (status, Json(Problem { error: format!("{error}{cause}") })).into_response()
}

impl IntoResponse for NoMailbox {
    fn into_response(self) -> Response {
        problem(StatusCode::NOT_FOUND, &self)
    }
}

impl IntoResponse for SwitchError {
    fn into_response(self) -> Response {
        let is_absent = matches!(self, Self::Mailbox(_));
        problem(if is_absent { StatusCode::NOT_FOUND } else { StatusCode::BAD_REQUEST }, &self)
    }
}

impl IntoResponse for AdminError {
    fn into_response(self) -> Response {
        let status = match self {
            Self::NoApplication(_) | Self::NoCredential(_) | Self::NoMailbox(_) => StatusCode::NOT_FOUND,
            Self::MailboxExists(_) => StatusCode::CONFLICT,
            Self::NoAddress(_) | Self::NoRole { .. } | Self::Certificate(_) => StatusCode::BAD_REQUEST,
            Self::Key(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        problem(status, &self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_is_described() {
        let document = serde_json::to_value(api().1).unwrap();
        let operations: Vec<_> = document["paths"]
            .as_object()
            .unwrap()
            .values()
            .flat_map(|path| path.as_object().unwrap().values())
            .filter(|operation| operation.is_object())
            .collect();
        assert!(operations.len() > 30, "{}", operations.len());
        for operation in operations {
            assert!(operation["summary"].is_string() && operation["responses"].is_object(), "{operation}");
        }
    }
}
