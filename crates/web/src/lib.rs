//! Everything a person or program calls: webhooks, pages, live updates, sign-in.
//!
//! Writes only through `engine`; reads rows by `store`'s `find_` and `list_`.
//! Every answer carries the headers of `headers`; every page needs a session of
//! `visitor` and a role. `router` is the only list of routes.

mod assets;
mod client;
mod conversation;
mod desk;
mod failure;
mod headers;
mod hooks;
mod language;
mod ledger;
mod live;
mod login;
mod mail;
mod mailboxes;
mod page;
mod queues;
mod router;
mod site;
mod story;
mod texts;
mod trace;
mod tries;
mod visitor;

use postroom_engine::Engine;
use tokio_util::sync::CancellationToken;
use url::Url;

pub use client::Client;
pub use router::router;

/// What the web server is made of.
pub struct Web {
    /// The work.
    pub engine: Engine,
    /// The address under which people reach it; cookies are secure if it is https.
    pub public_url: Url,
    /// Cancelled when the process ends: live connections are closed then.
    pub shutdown: CancellationToken,
}
