//! Live updates: one stream for each open page, that tells what changed and never
//! what it says. The page then asks for the fragment that shows it.
//!
//! Rules kept: a person hears only of what they may know ([`may_know`]); every new
//! connection begins with `hello`, upon which the page reads all anew, so nothing is
//! missed between two; a session has a bounded number of streams, and they end with it.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use axum::{
    extract::{Query, State},
    response::{IntoResponse as _, Response, Sse, sse::Event},
};
use futures_util::stream;
use postroom_model::{ConversationId, user::Role};
use postroom_store::{
    feed::{Change, Topic},
    users::User,
};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    time::{Interval, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use crate::{failure::Failure, site::Site, visitor::Visitor};

/// A sign of life, and a look whether the session still stands.
const BEAT_EVERY: Duration = Duration::from_secs(15);
/// A browser that has lost the stream comes back after this time.
const RETRY: Duration = Duration::from_secs(1);
/// Open pages of one session.
const STREAMS: usize = 12;

/// What a page wants to hear of beside what its reader always hears.
#[derive(Deserialize)]
pub(crate) struct Ask {
    conversation: Option<ConversationId>,
}

/// `GET /live`
pub(crate) async fn follow(
    State(site): State<Site>,
    visitor: Visitor,
    Query(ask): Query<Ask>,
) -> Result<Response, Failure> {
    let (Some(user), Some(token)) = (visitor.user, visitor.token) else {
        // A refusal would be asked again and again; this sends the page to sign-in.
        return Ok(Sse::new(stream::iter([Ok::<_, Infallible>(ended())])).into_response());
    };
    if let Some(conversation) = ask.conversation {
        site.engine.may_read(&user, conversation).await?;
    }
    let place = site.streams.open(&token).ok_or(Failure::TooMany)?;
    let mut beat = interval(BEAT_EVERY);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    beat.reset();
    let follower = Follower {
        changes: site.engine.changes(),
        site,
        user: (*user).clone(),
        token,
        conversation: ask.conversation,
        place,
        beat,
        told: Told::Nothing,
    };
    let events = stream::unfold(follower, |mut follower| async move {
        let event = follower.next().await?;
        Some((Ok::<_, Infallible>(event), follower))
    });
    Ok(Sse::new(events).into_response())
}

fn hello() -> Event {
    Event::default().event("hello").data("").retry(RETRY)
}

fn ended() -> Event {
    Event::default().event("ended").data("")
}

#[derive(PartialEq, Eq)]
enum Told {
    Nothing,
    Hello,
    Ended,
}

/// One open stream.
struct Follower {
    site: Site,
    user: User,
    token: Arc<SecretString>,
    conversation: Option<ConversationId>,
    changes: Receiver<Change>,
    place: Place,
    beat: Interval,
    told: Told,
}

impl Follower {
    async fn next(&mut self) -> Option<Event> {
        match self.told {
            Told::Nothing => {
                self.told = Told::Hello;
                return Some(hello());
            }
            Told::Ended => return None,
            Told::Hello => {}
        }
        loop {
            tokio::select! {
                () = self.site.shutdown.cancelled() => return None,
                () = self.place.end.cancelled() => return Some(self.end()),
                _ = self.beat.tick() => return Some(self.beat().await),
                change = self.changes.recv() => match change {
                    Ok(change) if may_know(&self.user, self.conversation, &change) => {
                        return Some(Event::default().event(change.topic.as_str()).data(change.subject));
                    }
                    Ok(_) => {}
                    // Too slow: what was missed is read anew.
                    Err(RecvError::Lagged(_)) => return Some(hello()),
                    Err(RecvError::Closed) => return None,
                },
            }
        }
    }

    /// A comment, unless the session has ended elsewhere. Roles may have changed.
    async fn beat(&mut self) -> Event {
        match self.site.engine.find_session(self.token.expose_secret()).await {
            Ok(Some(user)) => self.user = user,
            Ok(None) => return self.end(),
            Err(error) => {
                tracing::warn!(error = %error, "A live connection could not look after its session")
            }
        }
        Event::default().comment("")
    }

    fn end(&mut self) -> Event {
        self.told = Told::Ended;
        ended()
    }
}

/// Whether a person hears of a change: agents of themselves and of the conversation
/// they have open, supervisors of queues and people, administrators of mailboxes and
/// messages.
fn may_know(user: &User, conversation: Option<ConversationId>, change: &Change) -> bool {
    let is = |role| user.roles.contains(&role);
    match change.topic {
        Topic::User => is(Role::Supervisor) || change.subject == user.id.to_string(),
        Topic::Conversation => conversation.is_some_and(|id| change.subject == id.to_string()),
        Topic::Queue => is(Role::Supervisor),
        Topic::Mailbox | Topic::Message => is(Role::Admin),
        Topic::Organization => is(Role::Admin) || is(Role::Supervisor),
    }
}

/// The open streams, by session.
#[derive(Clone, Default)]
pub(crate) struct Streams(Arc<Mutex<BTreeMap<Vec<u8>, Open>>>);

#[derive(Default)]
struct Open {
    count: usize,
    end: CancellationToken,
}

/// A stream's place among those of its session; given back when dropped.
struct Place {
    streams: Streams,
    session: Vec<u8>,
    end: CancellationToken,
}

impl Streams {
    fn open(&self, token: &SecretString) -> Option<Place> {
        let session = key(token);
        let mut streams = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let open = streams.entry(session.clone()).or_default();
        if open.count >= STREAMS {
            return None;
        }
        open.count += 1;
        Some(Place { streams: self.clone(), session, end: open.end.clone() })
    }

    /// Ends all streams of a session.
    pub(crate) fn end(&self, token: &SecretString) {
        if let Some(open) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&key(token)) {
            open.end.cancel();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut streams = self.streams.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = streams.get_mut(&self.session) {
            open.count = open.count.saturating_sub(1);
            if open.count == 0 {
                streams.remove(&self.session);
            }
        }
    }
}

fn key(token: &SecretString) -> Vec<u8> {
    digest(&SHA256, token.expose_secret().as_bytes()).as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use postroom_model::{Timestamp, UserId, user::RoutingStatus};
    use postroom_store::users::User;

    use super::*;

    fn user(roles: &[Role]) -> User {
        User {
            id: "usr_00000000000000000000000000000001".parse::<UserId>().unwrap(),
            email: "ann@contoso.example".into(),
            name: "Ann".into(),
            roles: roles.iter().copied().collect(),
            email_capacity: 1,
            locale: None,
            routing_status: RoutingStatus::OffQueue,
            status_since: Timestamp::UNIX_EPOCH,
        }
    }

    fn change(topic: Topic, subject: &str) -> Change {
        Change { at: Default::default(), topic, subject: subject.into() }
    }

    #[test]
    fn an_agent_hears_of_nobody_else() {
        let agent = user(&[Role::Agent]);
        assert!(may_know(&agent, None, &change(Topic::User, &agent.id.to_string())));
        assert!(!may_know(&agent, None, &change(Topic::User, "usr_00000000000000000000000000000002")));
        for topic in [Topic::Queue, Topic::Mailbox, Topic::Message, Topic::Conversation, Topic::Organization]
        {
            assert!(!may_know(&agent, None, &change(topic, "x")), "{topic:?}");
        }
    }

    #[test]
    fn only_the_open_conversation_is_heard_of() {
        let id: ConversationId = "cnv_00000000000000000000000000000001".parse().unwrap();
        let agent = user(&[Role::Agent]);
        assert!(may_know(&agent, Some(id), &change(Topic::Conversation, &id.to_string())));
        assert!(!may_know(&agent, Some(id), &change(Topic::Conversation, "cnv_2")));
    }

    #[test]
    fn a_session_has_so_many_streams_and_all_end_with_it() {
        let streams = Streams::default();
        let token = SecretString::from("token");
        let mut places: Vec<_> = (0..STREAMS).map(|_| streams.open(&token).expect("there is room")).collect();
        assert!(streams.open(&token).is_none());
        assert!(streams.open(&SecretString::from("other")).is_some());
        places.pop();
        let again = streams.open(&token).expect("a place was given back");
        streams.end(&token);
        assert!(again.end.is_cancelled() && places.iter().all(|place| place.end.is_cancelled()));
        drop((again, places));
        assert!(streams.0.lock().unwrap().is_empty());
    }
}
