//! A notification endpoint whose manners can be set.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use postroom_sim::OutgoingError;
use serde_json::Value;
use tokio::time::Instant;

/// How the endpoint answers.
#[derive(Clone, Debug)]
pub(crate) struct Manners {
    /// How long the answer to a handshake takes.
    pub(crate) handshake: Duration,
    /// What the answer to a handshake has more than the token.
    pub(crate) slip: &'static str,
    /// How long the answer to a notification takes.
    pub(crate) delay: Duration,
    pub(crate) status: u16,
}

/// One request with notifications.
#[derive(Clone, Debug)]
pub(crate) struct Post {
    /// When it came, since the endpoint was there.
    pub(crate) at: Duration,
    pub(crate) path: String,
    pub(crate) elements: Vec<Value>,
}

/// Everything that came.
pub(crate) struct Endpoint {
    born: Instant,
    manners: Mutex<Manners>,
    posts: Mutex<Vec<Post>>,
    handshakes: Mutex<Vec<String>>,
}

impl Endpoint {
    /// One that answers at once and takes everything.
    pub(crate) fn new() -> Self {
        let manners = Manners { handshake: Duration::ZERO, slip: "", delay: Duration::ZERO, status: 202 };
        Self {
            born: Instant::now(),
            manners: Mutex::new(manners),
            posts: Mutex::default(),
            handshakes: Mutex::default(),
        }
    }

    pub(crate) fn manners(&self) -> MutexGuard<'_, Manners> {
        self.manners.lock().unwrap()
    }

    /// Paths at which a handshake was asked for.
    pub(crate) fn handshakes(&self) -> Vec<String> {
        self.handshakes.lock().unwrap().clone()
    }

    pub(crate) fn posts(&self) -> Vec<Post> {
        self.posts.lock().unwrap().clone()
    }

    pub(crate) fn forget(&self) {
        self.posts.lock().unwrap().clear();
    }

    /// Elements that came to a path beginning like this.
    pub(crate) fn heard_at(&self, path: &str) -> Vec<Value> {
        self.posts()
            .into_iter()
            .filter(|post| post.path.starts_with(path))
            .flat_map(|post| post.elements)
            .collect()
    }

    /// Change notifications of a mailbox.
    pub(crate) fn heard(&self, mailbox: &str) -> Vec<Value> {
        self.heard_at(&format!("/{mailbox}"))
    }

    /// Names of the lifecycle events of a mailbox.
    pub(crate) fn life(&self, mailbox: &str) -> Vec<String> {
        let heard = self.heard_at(&format!("/life/{mailbox}"));
        heard.iter().map(|element| element["lifecycleEvent"].as_str().unwrap().to_owned()).collect()
    }

    pub(crate) async fn answer(&self, request: Request<Bytes>) -> Result<Response<Bytes>, OutgoingError> {
        let manners = self.manners().clone();
        let path = request.uri().path().to_owned();
        let query = request.uri().query().unwrap_or_default();
        let mut pairs = url::form_urlencoded::parse(query.as_bytes());
        if let Some((_, token)) = pairs.find(|(name, _)| name == "validationToken") {
            self.handshakes.lock().unwrap().push(path);
            tokio::time::sleep(manners.handshake).await;
            let answer = Response::builder().header("content-type", "text/plain");
            return Ok(answer.body(format!("{token}{}", manners.slip).into())?);
        }
        let batch: Value = serde_json::from_slice(request.body())?;
        let elements = batch["value"].as_array().cloned().unwrap_or_default();
        self.posts.lock().unwrap().push(Post { at: self.born.elapsed(), path, elements });
        tokio::time::sleep(manners.delay).await;
        Ok(Response::builder().status(manners.status).body(Bytes::new())?)
    }
}
