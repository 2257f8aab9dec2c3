//! Everything a person or program calls: webhooks, pages, live updates, sign-in.
//!
//! Writes only through `engine`; reads rows by `store`'s `find_` and `list_`.
//! Every answer carries the headers of `headers`; every page needs a session of
//! `session` and a role.

mod hooks;

use axum::Router;
use postroom_engine::Engine;
use tokio_util::sync::CancellationToken;
use url::Url;

/// What the web server is made of.
pub struct Web {
    /// The work.
    pub engine: Engine,
    /// The address under which people reach it; cookies are secure if it is https.
    pub public_url: Url,
    /// Cancelled when the process ends: live connections are closed then.
    pub shutdown: CancellationToken,
}

/// The whole web server.
pub fn router(web: Web) -> Router {
    hooks::router(web.engine)
}
