//! The simulator as its embedder sees it.
//!
//! Made by `postroom sim`, the demo and tests. Everything a client may do goes
//! through the routers; everything a person may do to the world goes through the
//! methods here, which the control API calls too.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use http::{Method, Request, header};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use thiserror::Error;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::content::Content;
use crate::figures::{Figures, RequestLog};
use crate::graph::ids::{self, IdKind};
use crate::notify::Batch;
use crate::state::{State, read};
use crate::switches::{SwitchError, Switches};

/// How long an endpoint may take for a notification, and for one that is tried again.
const PATIENCE: Duration = Duration::from_secs(3);
const PATIENCE_RETRY: Duration = Duration::from_secs(10);

/// A Microsoft 365 tenant in memory. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct Simulator {
    pub(crate) config: Arc<Config>,
    state: Arc<Mutex<State>>,
    wake: Arc<Notify>,
}

/// There is no such mailbox.
#[derive(Debug, Error)]
#[error("no mailbox of the tenant has the address {0}")]
pub struct NoMailbox(pub String);

/// One mail in a mailbox, as an inspector sees it.
#[derive(Clone, Debug, Serialize)]
pub struct MessageView {
    /// Immutable id.
    pub id: String,
    /// Well-known name of its folder.
    pub folder: &'static str,
    /// Whether it is read.
    pub is_read: bool,
    /// Whether it is a draft.
    pub is_draft: bool,
    /// Subject.
    pub subject: String,
    /// Address of who wrote it.
    pub from: Option<String>,
    /// Message-ID with angle brackets.
    pub internet_message_id: Option<String>,
    /// When it was received.
    pub received_at: Timestamp,
    /// The bytes; a draft has none.
    #[serde(skip)]
    pub mime: Option<Bytes>,
}

/// What was counted, with the latest requests one by one.
#[derive(Clone, Debug, Serialize)]
pub struct Requests {
    /// Counts.
    #[serde(flatten)]
    pub figures: Figures,
    /// The latest requests, oldest first.
    pub log: Vec<RequestLog>,
}

impl Simulator {
    /// A fresh tenant. Nothing is delivered to subscribers before [`Simulator::run`].
    pub fn new(config: Config) -> Self {
        let state = State::new(&config);
        Self { config: Arc::new(config), state: Arc::new(Mutex::new(state)), wake: Arc::new(Notify::new()) }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the delivery look for work.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Delivers notifications and sent mails until told to stop.
    pub async fn run(&self, stop: CancellationToken) {
        let mut posts = FuturesUnordered::new();
        loop {
            let wait = {
                let mut state = self.state();
                state.finish_sending();
                for batch in state.take_due() {
                    posts.push(self.post(batch));
                }
                let wait = state.next_due().map(|due| due.duration_since(state.now()));
                wait.map(|wait| Duration::try_from(wait).unwrap_or(Duration::ZERO))
            };
            let due = async {
                match wait {
                    Some(wait) => tokio::time::sleep(wait).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                Some(()) = posts.next(), if !posts.is_empty() => {}
                () = due => {}
                () = self.wake.notified() => {}
            }
        }
    }

    async fn post(&self, batch: Batch) {
        let patience = if batch.is_retry() { PATIENCE_RETRY } else { PATIENCE };
        let request = Request::builder()
            .method(Method::POST)
            .uri(&batch.url)
            .header(header::CONTENT_TYPE, "application/json; charset=utf-8")
            .body(Bytes::from(batch.body().to_string()));
        let taken = match request {
            Ok(request) => match tokio::time::timeout(patience, self.config.outgoing.send(request)).await {
                Ok(Ok(answer)) => answer.status().is_success(),
                Ok(Err(_)) | Err(_) => false,
            },
            Err(_) => false,
        };
        self.state().note_delivery(batch, taken);
        self.wake();
    }

    /// Puts a mail into the Inbox of the mailbox with this address, whatever its headers say.
    /// Returns its immutable id.
    ///
    /// # Errors
    /// When no mailbox has the address.
    pub fn deliver(&self, address: &str, mime: impl Into<Bytes>) -> Result<String, NoMailbox> {
        let content = read(mime.into());
        let mut state = self.state();
        let mailbox = state.find_recipient(address).ok_or_else(|| NoMailbox(address.to_owned()))?;
        let item = state.deliver(mailbox, content);
        let owner = state.mailboxes.get(mailbox);
        let found = owner.and_then(|owner| Some((owner.guid, owner.find_item(item?)?)));
        let id = found.map(|(guid, item)| ids::item(IdKind::Immutable, guid, item));
        drop(state);
        self.wake();
        id.ok_or_else(|| NoMailbox(address.to_owned()))
    }

    /// Brings a mail to everybody it is addressed to, as a server outside would.
    pub fn post_mail(&self, mime: impl Into<Bytes>) {
        let content = read(mime.into());
        self.post_content(content);
    }

    pub(crate) fn post_content(&self, content: Arc<Content>) {
        self.state().post(&content);
        self.wake();
    }

    /// The bytes of all mails that somebody outside received, oldest first.
    pub fn outside(&self, address: &str) -> Vec<Bytes> {
        let state = self.state();
        let mails = state.outside.get(&address.to_lowercase());
        mails.into_iter().flatten().filter_map(|mail| mail.content.mime.clone()).collect()
    }

    /// Addresses outside the tenant that received something.
    pub fn outside_addresses(&self) -> Vec<String> {
        self.state().outside.keys().cloned().collect()
    }

    /// Primary addresses of the mailboxes.
    pub fn mailboxes(&self) -> Vec<String> {
        self.state().mailboxes.iter().map(|mailbox| mailbox.address.clone()).collect()
    }

    /// Everything in the mailbox with this address, newest first.
    ///
    /// # Errors
    /// When no mailbox has the address.
    pub fn messages(&self, address: &str) -> Result<Vec<MessageView>, NoMailbox> {
        let state = self.state();
        let owner = state
            .find_recipient(address)
            .and_then(|mailbox| state.mailboxes.get(mailbox))
            .ok_or_else(|| NoMailbox(address.to_owned()))?;
        let items = owner.newest_first(None, Timestamp::MAX);
        Ok(items
            .map(|item| MessageView {
                id: ids::item(IdKind::Immutable, owner.guid, item),
                folder: owner.find_folder(item.folder).map_or("", |folder| folder.name),
                is_read: item.is_read,
                is_draft: item.is_draft,
                subject: item.content.subject.clone(),
                from: item.content.from.as_ref().map(|from| from.address.clone()),
                internet_message_id: item.content.message_id.clone(),
                received_at: item.received,
                mime: item.content.mime.clone(),
            })
            .collect())
    }

    /// Marks a mail read or unread as a person at the mailbox would.
    ///
    /// # Errors
    /// When no mailbox has the address.
    pub fn mark_by_hand(&self, address: &str, id: &str, is_read: bool) -> Result<(), NoMailbox> {
        let mut state = self.state();
        let mailbox = state.find_recipient(address).ok_or_else(|| NoMailbox(address.to_owned()))?;
        let guid = state.mailboxes.get(mailbox).map(|owner| owner.guid).unwrap_or_default();
        if let Some(ids::Named::Item(item)) = ids::parse_item(guid, id) {
            state.edit(mailbox, item, |item| item.is_read = is_read);
        }
        drop(state);
        self.wake();
        Ok(())
    }

    /// What was counted since the start or the last reset.
    pub fn figures(&self) -> Figures {
        self.state().record.figures.clone()
    }

    /// Counts and the latest requests.
    pub fn requests(&self) -> Requests {
        let state = self.state();
        Requests { figures: state.record.figures.clone(), log: state.record.log() }
    }

    /// Begins to count anew.
    pub fn reset_requests(&self) {
        self.state().record = Default::default();
    }

    /// All switches with their present values.
    pub fn switches(&self) -> Switches {
        self.state().switches.clone()
    }

    /// Sets a switch by its name.
    ///
    /// # Errors
    /// When there is no such switch or it does not take the value.
    pub fn set_switch(&self, name: &str, value: Value) -> Result<(), SwitchError> {
        let mut state = self.state();
        state.switches.set(name, value)?;
        if std::mem::take(&mut state.switches.delta_expire) {
            state.forget_tokens();
        }
        if std::mem::take(&mut state.switches.sub_silent_death) {
            state.subscriptions.values_mut().for_each(|subscription| subscription.is_mute = true);
        }
        Ok(())
    }

    /// Moves the simulator's time forward.
    pub fn advance(&self, by: Duration) {
        self.state().clock.advance(by);
        self.wake();
    }

    /// Sends a lifecycle event (`reauthorizationRequired`, `subscriptionRemoved`, `missed`) to
    /// the subscribers of a mailbox.
    ///
    /// # Errors
    /// When no mailbox has the address.
    pub fn lifecycle(&self, address: &str, event: &str) -> Result<(), NoMailbox> {
        let mut state = self.state();
        let mailbox = state.find_recipient(address).ok_or_else(|| NoMailbox(address.to_owned()))?;
        state.tell_lifecycle(mailbox, event);
        drop(state);
        self.wake();
        Ok(())
    }

    /// Whether a notification or a sent mail is still on its way.
    pub fn is_busy(&self) -> bool {
        self.state().next_due().is_some()
    }

    /// Ids of the subscriptions that have not expired.
    pub fn subscriptions(&self) -> Vec<String> {
        let state = self.state();
        let now = state.now();
        let living = state.subscriptions.values().filter(|subscription| subscription.expires > now);
        living.map(|subscription| subscription.id.to_string()).collect()
    }
}
