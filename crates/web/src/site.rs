//! What every handler shares: the engine, the texts, and the small bounded states
//! that live only in memory.

use std::sync::Arc;

use postroom_engine::{Engine, Tasks};
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::{Network, Web, live::Streams, texts::Catalogue, tries::Tries, turns::Turns};

/// Shared by all handlers. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Site(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) engine: Engine,
    pub(crate) public_url: Url,
    pub(crate) trusted_proxies: Vec<Network>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) tasks: Tasks,
    pub(crate) texts: Catalogue,
    pub(crate) tries: Tries,
    /// Of those who check passwords.
    pub(crate) turns: Turns,
    pub(crate) streams: Streams,
}

impl Site {
    pub(crate) fn new(web: Web) -> Self {
        Self(Arc::new(Inner {
            tries: Tries::new(web.engine.clock().clone()),
            turns: Turns::new(),
            engine: web.engine,
            public_url: web.public_url,
            trusted_proxies: web.trusted_proxies,
            shutdown: web.tasks.stopping().clone(),
            tasks: web.tasks,
            texts: Catalogue::load(),
            streams: Streams::default(),
        }))
    }

    /// Whether people reach us by https: cookies are secure then.
    pub(crate) fn is_https(&self) -> bool {
        self.public_url.scheme() == "https"
    }
}

impl std::ops::Deref for Site {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}
