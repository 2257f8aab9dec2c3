//! What every handler shares: the engine, the texts, and the small bounded states
//! that live only in memory.

use std::sync::Arc;

use postroom_engine::Engine;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::{Web, live::Streams, texts::Catalogue, tries::Tries};

/// Shared by all handlers. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Site(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) engine: Engine,
    pub(crate) public_url: Url,
    pub(crate) shutdown: CancellationToken,
    pub(crate) texts: Catalogue,
    pub(crate) tries: Tries,
    pub(crate) streams: Streams,
}

impl Site {
    pub(crate) fn new(web: Web) -> Self {
        Self(Arc::new(Inner {
            tries: Tries::new(web.engine.clock().clone()),
            engine: web.engine,
            public_url: web.public_url,
            shutdown: web.shutdown,
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
