//! Pages for people: each mailbox like a small Outlook on the web, a form to write
//! as a customer, and the main switches to throw by hand.
//!
//! Served on the control port beside the API. Rule kept: a page does nothing that
//! the simulator's methods do not offer everybody.

mod mailbox;
mod tenant;

use askama::Template;
use axum::Router;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use http::StatusCode;
use jiff::Timestamp;
use tower_http::csrf::CsrfLayer;

use crate::simulator::Simulator;

pub(crate) fn router() -> Router<Simulator> {
    Router::new()
        .route("/", get(tenant::home))
        .route("/switches", get(tenant::switches).post(tenant::set_switch))
        .route("/profile", post(tenant::set_profile))
        .route("/credential", post(tenant::credential))
        .route("/mailboxes/{address}", get(mailbox::folder).post(mailbox::act))
        .route("/mailboxes/{address}/messages/{id}", get(mailbox::message))
        .route("/outside/{address}", get(mailbox::outside))
        .route("/write", post(mailbox::write))
        .layer(CsrfLayer::new())
}

fn page(template: &impl Template) -> Response {
    match template.render() {
        Ok(html) => Html(html).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

fn shown_time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}
