//! Everything a person or program calls: webhooks, pages, live updates, sign-in.
//!
//! Writes only through `engine`; reads rows by `store`'s `find_` and `list_`.
//! Every answer carries the headers of `headers`; every page needs a session of
//! `visitor` and a role. `router` is the only list of routes.

mod assets;
mod client;
mod conversation;
mod desk;

mod examination;
mod failure;
mod headers;
mod hooks;
mod integrations;
mod language;
mod ledger;
mod live;
mod login;
mod mail;
mod mailboxes;
mod metrics;
mod onboarding;
mod page;
mod queues;
mod router;
mod site;
mod story;
mod texts;
mod trace;
mod tries;
mod turns;
mod visitor;
pub mod wording;

use postroom_engine::{Engine, Tasks};
use url::Url;

pub use client::{Network, NoNetwork, Peer};
pub use metrics::metrics_router;
pub use router::router;

/// What the web server is made of.
pub struct Web {
    /// The work.
    pub engine: Engine,
    /// The address under which people reach it; cookies are secure if it is https.
    pub public_url: Url,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<Network>,
    /// Where work runs that must not end with its request. Live connections are closed when these
    /// tasks are to end.
    pub tasks: Tasks,
}
