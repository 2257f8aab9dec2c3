//! The simulator as its embedder sees it.
//!
//! Made by `postroom sim`, the demo and tests. Everything a client may do goes
//! through the routers; everything a person may do to the world goes through the
//! methods here, which the control API calls too.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use http::{Method, Request, header};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};
use thiserror::Error;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::content::Content;
use crate::entra::keys::KeyFault;
use crate::figures::{Figures, RequestLog};
use crate::graph::ids::{self, IdKind};
use crate::mailbox::{Folder, ROOT};
use crate::notify::{Batch, LATE};
use crate::state::{State, read};
use crate::switches::{Profile, SwitchError, Switches};

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
    /// Well-known name of its folder, or the name that a user gave it.
    pub folder: String,
    /// Its categories.
    pub categories: Vec<String>,
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

    /// Signs tokens with the key in `folder`, which is made if there is none.
    ///
    /// # Errors
    /// When it can't be made, read or written.
    pub fn keep_signing_key(&self, folder: &Path) -> Result<(), KeyFault> {
        let keys = Arc::clone(&self.state().keys);
        keys.keep(folder)
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
                state.warn_lapsing();
                for batch in state.take_due() {
                    posts.push(self.post(batch));
                }
                let next = state.next_due().into_iter().chain(state.first_warning()).min();
                let wait = next.map(|due| due.duration_since(state.now()));
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
        let request = Request::builder()
            .method(Method::POST)
            .uri(&batch.url)
            .header(header::CONTENT_TYPE, "application/json; charset=utf-8")
            .body(Bytes::from(batch.body().to_string()));
        let begun = self.state().now();
        let patience = LATE.unsigned_abs();
        let is_success = match request {
            Ok(request) => match tokio::time::timeout(patience, self.config.outgoing.send(request)).await {
                Ok(Ok(answer)) => answer.status().is_success(),
                Ok(Err(_)) | Err(_) => false,
            },
            Err(_) => false,
        };
        let mut state = self.state();
        let took = state.now().duration_since(begun);
        state.note_delivery(batch, is_success, took);
        drop(state);
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
                folder: owner.find_folder(item.folder).map(named).unwrap_or_default(),
                categories: item.categories.clone(),
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

    /// Makes a folder beside the Inbox as a person at the mailbox would.
    ///
    /// # Errors
    /// When no mailbox has the address.
    pub fn make_folder(&self, address: &str, name: &str) -> Result<(), NoMailbox> {
        let mut state = self.state();
        let mailbox = state.find_recipient(address).ok_or_else(|| NoMailbox(address.to_owned()))?;
        let _made = state.make_folder(mailbox, ROOT, name, false);
        Ok(())
    }

    /// Makes a draft in Drafts as a person at the mailbox would.
    ///
    /// # Errors
    /// When no mailbox has the address.
    pub fn make_draft(&self, address: &str, subject: &str) -> Result<(), NoMailbox> {
        let mut state = self.state();
        let mailbox = state.find_recipient(address).ok_or_else(|| NoMailbox(address.to_owned()))?;
        let draft = state.blank_draft(Content { subject: subject.to_owned(), ..Content::default() });
        let _made = state.insert_draft(mailbox, draft);
        drop(state);
        self.wake();
        Ok(())
    }

    /// Ends every subscription of a mailbox without a word.
    ///
    /// # Errors
    /// When no mailbox has the address.
    pub fn end_subscriptions(&self, address: &str) -> Result<(), NoMailbox> {
        let mut state = self.state();
        let mailbox = state.find_recipient(address).ok_or_else(|| NoMailbox(address.to_owned()))?;
        state.subscriptions.retain(|_, subscription| subscription.mailbox != mailbox);
        Ok(())
    }

    /// Moves a mail to the folder of this name as a person at the mailbox would; nothing happens where
    /// there is no such mail or folder.
    ///
    /// # Errors
    /// When no mailbox has the address.
    pub fn move_by_hand(&self, address: &str, id: &str, folder: &str) -> Result<(), NoMailbox> {
        let mut state = self.state();
        let mailbox = state.find_recipient(address).ok_or_else(|| NoMailbox(address.to_owned()))?;
        let found = state.mailboxes.get(mailbox).and_then(|owner| {
            let to = owner.children(ROOT).find(|child| named(child) == folder)?.key;
            Some((owner.guid, to))
        });
        if let Some((guid, to)) = found
            && let Some(ids::Named::Item(item)) = ids::parse_item(guid, id)
        {
            state.move_to(mailbox, item, to);
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

    /// The tenant's switches with their present values.
    pub fn switches(&self) -> Switches {
        self.state().board.tenant().clone()
    }

    /// Sets a switch of the tenant by its name.
    ///
    /// # Errors
    /// When there is no such switch or it does not take the value.
    pub fn set_switch(&self, name: &str, value: Value) -> Result<(), SwitchError> {
        let mut state = self.state();
        state.board.set(name, value)?;
        state.random.forget_turns(name);
        let all: Vec<usize> = (0..state.mailboxes.len()).collect();
        state.throw(&all);
        drop(state);
        self.wake();
        Ok(())
    }

    /// Sets a switch of one mailbox by its name; `null` gives it the tenant's value again.
    ///
    /// # Errors
    /// When there is no such mailbox or switch, or it does not take the value.
    pub fn set_mailbox_switch(&self, address: &str, name: &str, value: Value) -> Result<(), SwitchError> {
        let mut state = self.state();
        let mailbox =
            state.find_recipient(address).ok_or_else(|| SwitchError::Mailbox(address.to_owned()))?;
        let primary = state.mailboxes.get(mailbox).map(|owner| owner.address.clone()).unwrap_or_default();
        state.board.set_own(&primary, name, value)?;
        state.random.forget_turns_of(&primary, name);
        state.throw(&[mailbox]);
        drop(state);
        self.wake();
        Ok(())
    }

    /// What a mailbox has of its own beside the tenant's switches.
    ///
    /// # Errors
    /// When no mailbox has the address.
    pub fn mailbox_switches(&self, address: &str) -> Result<Map<String, Value>, NoMailbox> {
        let state = self.state();
        let mailbox = state.find_recipient(address).and_then(|mailbox| state.mailboxes.get(mailbox));
        mailbox.map(|owner| state.board.own(&owner.address)).ok_or_else(|| NoMailbox(address.to_owned()))
    }

    /// Sets all switches of the tenant to a profile's.
    pub fn set_profile(&self, profile: Profile) {
        self.state().board.replace(profile.switches());
        self.wake();
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

fn named(folder: &Folder) -> String {
    if folder.name.is_empty() { folder.display_name.to_string() } else { folder.name.to_owned() }
}
