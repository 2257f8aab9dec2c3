//! The whole state of the simulator behind one lock, and the ways mail moves in it.
//!
//! Called by the Graph handlers, the control API and the pages. Rule kept: every
//! item is made, changed and removed here, so that each change reaches the
//! change log of its folder and the subscriptions on it in one place.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use uuid::Uuid;

use crate::clock::{Clock, later, whole_seconds};
use crate::compose;
use crate::config::Config;
use crate::content::{Content, Person};
use crate::directory::{Access, Application, Permission};
use crate::entra::{authorize::Code, keys::SigningKeys};
use crate::figures::Record;
use crate::mailbox::{
    ChangeKind, DELETED_ITEMS, DRAFTS, Folder, FolderKey, INBOX, Importance, Item, ItemKey, LAST_WELL_KNOWN,
    Mailbox, MailboxStatus, OUTBOX, RECOVERABLE, ROOT, SENT_ITEMS,
};
use crate::notify::{Deliveries, Subscription};
use crate::random::Random;
use crate::switches::{Board, Switches};
use crate::throttle::Gate;

/// A mail that somebody outside the tenant received.
#[derive(Clone, Debug)]
pub(crate) struct OutsideMail {
    pub(crate) received: Timestamp,
    pub(crate) content: Arc<Content>,
}

/// A sent mail that stands in the Outbox until its time.
#[derive(Clone, Copy, Debug)]
struct Leaving {
    mailbox: usize,
    item: ItemKey,
    due: Timestamp,
    /// Whether a copy stays in Sent Items.
    is_kept: bool,
}

/// What a token stands for.
#[derive(Clone, Debug)]
pub(crate) struct Grant {
    pub(crate) client_id: Uuid,
    pub(crate) roles: BTreeSet<String>,
    pub(crate) expires: Timestamp,
    /// When it was revoked, if it was.
    pub(crate) revoked: Option<Timestamp>,
    /// Whether the client understands a claims challenge.
    pub(crate) knows_claims: bool,
}

pub(crate) struct State {
    /// Codes of people who signed in, not yet redeemed.
    pub(crate) codes: BTreeMap<String, Code>,
    pub(crate) clock: Clock,
    pub(crate) tenant: String,
    pub(crate) random: Random,
    pub(crate) mailboxes: Vec<Mailbox>,
    pub(crate) outside: BTreeMap<String, Vec<OutsideMail>>,
    pub(crate) subscriptions: BTreeMap<Uuid, Subscription>,
    /// Subscriptions that were deleted, as a stale list still shows them.
    pub(crate) former: VecDeque<Subscription>,
    pub(crate) deliveries: Deliveries,
    pub(crate) applications: Vec<Application>,
    pub(crate) keys: Arc<SigningKeys>,
    pub(crate) tokens: HashMap<String, Arc<Grant>>,
    /// When each client asked for a token of late.
    pub(crate) token_requests: BTreeMap<String, VecDeque<Timestamp>>,
    pub(crate) board: Board,
    pub(crate) gate: Gate,
    pub(crate) record: Record,
    leaving: VecDeque<Leaving>,
    names: u64,
}

impl State {
    pub(crate) fn new(config: &Config) -> Self {
        let mut random = Random::new(config.seed);
        let mailboxes = config.mailboxes.iter().map(|mailbox| {
            let addresses = std::iter::once(&mailbox.address).chain(&mailbox.aliases);
            let addresses = addresses.map(|address| address.to_ascii_lowercase()).collect();
            Mailbox::new(addresses, mailbox.display_name.clone(), random.guid())
        });
        let mailboxes = mailboxes.collect();
        let applications = vec![Application::sample(config, config.clock.now(), &mut random)];
        let switches = Switches { latency: config.latency.into(), ..config.switches.clone() };
        Self {
            mailboxes,
            clock: config.clock.clone(),
            codes: BTreeMap::new(),
            tenant: config.tenant_id.clone(),
            random,
            outside: BTreeMap::new(),
            subscriptions: BTreeMap::new(),
            former: VecDeque::new(),
            deliveries: Deliveries::default(),
            applications,
            keys: Arc::default(),
            tokens: HashMap::new(),
            token_requests: BTreeMap::new(),
            board: Board::new(switches),
            gate: Gate::default(),
            record: Record::default(),
            leaving: VecDeque::new(),
            names: 0,
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The mailbox that Graph knows by this name: its GUID or primary address.
    pub(crate) fn find_user(&self, name: &str) -> Option<usize> {
        let guid = Uuid::parse_str(name).ok();
        let name = name.to_lowercase();
        self.mailboxes.iter().position(|mailbox| {
            mailbox.status != MailboxStatus::Missing
                && (mailbox.address == name || Some(mailbox.guid) == guid)
        })
    }

    /// The switches of a mailbox.
    pub(crate) fn switches(&self, mailbox: usize) -> &Switches {
        self.mailboxes.get(mailbox).map_or(self.board.tenant(), |owner| self.board.of(&owner.address))
    }

    /// Whether an application may do something with a mailbox now, by the roles of a token.
    pub(crate) fn decide(
        &self,
        client: Uuid,
        roles: &BTreeSet<String>,
        mailbox: usize,
        needed: Permission,
    ) -> Access {
        let application = self.applications.iter().find(|application| application.client_id == client);
        match (application, self.mailboxes.get(mailbox)) {
            (Some(application), Some(owner)) => application.decide(roles, &owner.address, needed, self.now()),
            _ => Access::Denied,
        }
    }

    /// The mailbox where mail to this address arrives.
    pub(crate) fn find_recipient(&self, address: &str) -> Option<usize> {
        let address = address.to_lowercase();
        self.mailboxes.iter().position(|mailbox| {
            mailbox.status != MailboxStatus::Missing && mailbox.addresses.contains(&address)
        })
    }

    /// The next number that names something.
    pub(crate) fn name(&mut self) -> u64 {
        self.names += 1;
        self.names
    }

    /// Puts a mail into the Inbox of a mailbox, whatever its headers say.
    pub(crate) fn deliver(&mut self, mailbox: usize, content: Arc<Content>) -> Option<ItemKey> {
        let now = self.now();
        let owner = self.mailboxes.get(mailbox)?;
        let collides = self.switches(mailbox).conversation_collide;
        let conversation = owner
            .find_conversation(content.ancestors())
            .or_else(|| collides.then(|| owner.find_conversation_by_subject(&content.subject)).flatten());
        let lag = self.switches(mailbox).replication_lag.duration();
        let item = Item {
            received: whole_seconds(now),
            sent: content.date,
            visible_from: later(now, lag),
            ..self.blank(INBOX, content, conversation)
        };
        self.insert(mailbox, item)
    }

    /// Brings a mail to everybody it is addressed to, in the tenant and outside.
    pub(crate) fn post(&mut self, content: &Arc<Content>) {
        let received = self.now();
        let addresses: Vec<String> =
            content.recipients().map(|person| person.address.to_lowercase()).collect();
        let mut reached = Vec::new();
        for address in addresses {
            match self.find_recipient(&address) {
                Some(mailbox) if reached.contains(&mailbox) => {}
                Some(mailbox) => {
                    reached.push(mailbox);
                    self.deliver(mailbox, Arc::clone(content));
                }
                None => {
                    let mail = OutsideMail { received, content: Arc::clone(content) };
                    self.outside.entry(address).or_default().push(mail);
                }
            }
        }
    }

    /// A draft that is in no folder yet.
    pub(crate) fn blank_draft(&mut self, content: Content) -> Item {
        let draft = self.blank(DRAFTS, Arc::new(content), None);
        Item { is_draft: true, is_read: true, wants_delivery_receipt: Some(false), ..draft }
    }

    /// Puts a draft into Drafts, with what it needs to be sent one day.
    pub(crate) fn insert_draft(&mut self, mailbox: usize, mut draft: Item) -> Option<ItemKey> {
        let owner = self.mailboxes.get(mailbox)?;
        draft.conversation = owner.find_conversation(draft.content.ancestors()).unwrap_or(draft.conversation);
        let mut content = Arc::unwrap_or_clone(draft.content);
        content.from = content.from.or(Some(owner.person()));
        draft.content = Arc::new(self.with_message_id(content));
        self.insert(mailbox, draft)
    }

    /// Writes a mail to be sent: it stands in the Outbox until its time has come, and
    /// in Sent Items afterwards if it is to be kept.
    pub(crate) fn send(&mut self, mailbox: usize, draft: ItemKey, is_kept: bool) {
        let now = self.now();
        let switches = self.switches(mailbox);
        let due = later(now, switches.send_delay.duration());
        let (has_new_name, has_new_message_id) = (switches.send_id_change, switches.send_mid_change);
        let new_name = has_new_name.then(|| self.name());
        let boundary = self.random.text(18);
        let Some(mut item) = self.remove(mailbox, draft) else { return };
        let mut content = Arc::unwrap_or_clone(item.content);
        if has_new_message_id {
            content.message_id = None;
        }
        let mut content = self.with_message_id(content);
        content.mime = Some(match &content.mime {
            Some(given) => compose::finished(given, &content, now),
            None => compose::mime(&content, now, &format!("--{boundary}")),
        });
        content.attached = Vec::new();
        content.date = Some(whole_seconds(now));
        item.content = Arc::new(content);
        item.key = new_name.unwrap_or(item.key);
        item.folder = OUTBOX;
        item.is_draft = false;
        item.sent = Some(whole_seconds(now));
        let leaving = Leaving { mailbox, item: item.key, due, is_kept };
        self.place(mailbox, item);
        self.leaving.push_back(leaving);
        self.finish_sending();
    }

    /// Moves what has waited long enough from the Outbox to Sent Items, and delivers it.
    pub(crate) fn finish_sending(&mut self) {
        let now = self.now();
        while self.leaving.front().is_some_and(|leaving| leaving.due <= now) {
            let Some(leaving) = self.leaving.pop_front() else { return };
            let waiting = self.mailboxes.get(leaving.mailbox).and_then(|owner| owner.find_item(leaving.item));
            let Some(content) = waiting.map(|item| Arc::clone(&item.content)) else { continue };
            if leaving.is_kept {
                self.move_to(leaving.mailbox, leaving.item, SENT_ITEMS);
            } else {
                self.remove(leaving.mailbox, leaving.item);
            }
            self.post(&content);
        }
    }

    /// When the next mail leaves the Outbox.
    pub(crate) fn next_departure(&self) -> Option<Timestamp> {
        self.leaving.front().map(|leaving| leaving.due)
    }

    /// Changes an item where it is, and tells who watches.
    pub(crate) fn edit(&mut self, mailbox: usize, item: ItemKey, edit: impl FnOnce(&mut Item)) {
        let now = self.now();
        let Some(owner) = self.mailboxes.get_mut(mailbox) else { return };
        let before = owner.find_item(item).cloned();
        owner.edit(item, |item| {
            edit(item);
            item.modified = now;
        });
        self.tell_change(mailbox, item, ChangeKind::Updated, before.as_ref());
    }

    /// Marks an item read or unread, which leaves its version and time of change alone.
    pub(crate) fn mark(&mut self, mailbox: usize, item: ItemKey, is_read: bool) {
        let Some(owner) = self.mailboxes.get_mut(mailbox) else { return };
        let before = owner.find_item(item).cloned();
        owner.edit(item, |item| item.is_read = is_read);
        self.tell_change(mailbox, item, ChangeKind::Updated, before.as_ref());
    }

    /// Moves an item; it keeps its key and gets a new place.
    pub(crate) fn move_to(&mut self, mailbox: usize, item: ItemKey, folder: FolderKey) -> Option<ItemKey> {
        let mut moved = self.remove(mailbox, item)?;
        moved.folder = folder;
        self.place(mailbox, moved)
    }

    /// Puts a copy of an item into a folder; it is an item of its own.
    pub(crate) fn copy_to(&mut self, mailbox: usize, item: ItemKey, folder: FolderKey) -> Option<ItemKey> {
        let original = self.mailboxes.get(mailbox)?.find_item(item)?.clone();
        let copy = Item { key: self.name(), created: self.now(), folder, ..original };
        self.place(mailbox, copy)
    }

    /// Deletes an item: into Deleted Items, and from there to where only recovery finds it.
    pub(crate) fn delete(&mut self, mailbox: usize, item: ItemKey) {
        let owner = self.mailboxes.get(mailbox);
        let folder = owner.and_then(|owner| Some((owner, owner.find_item(item)?.folder)));
        let Some((owner, folder)) = folder else { return };
        let is_deleted = owner.tree(DELETED_ITEMS).contains(&folder);
        self.move_to(mailbox, item, if is_deleted { RECOVERABLE } else { DELETED_ITEMS });
    }

    /// Deletes an item for good.
    pub(crate) fn purge(&mut self, mailbox: usize, item: ItemKey) {
        self.remove(mailbox, item);
    }

    /// Makes an empty folder.
    pub(crate) fn make_folder(
        &mut self,
        mailbox: usize,
        parent: FolderKey,
        name: &str,
        is_hidden: bool,
    ) -> Option<FolderKey> {
        let key = FolderKey(LAST_WELL_KNOWN + self.name());
        let owner = self.mailboxes.get_mut(mailbox)?;
        owner.put_folder(Folder::new(key, parent, "", name.to_owned(), is_hidden));
        Some(key)
    }

    /// Copies a folder with all that is in it below another one.
    pub(crate) fn copy_folder(
        &mut self,
        mailbox: usize,
        folder: FolderKey,
        parent: FolderKey,
    ) -> Option<FolderKey> {
        let owner = self.mailboxes.get(mailbox)?;
        let original = owner.find_folder(folder)?;
        let (name, is_hidden) = (original.display_name.clone().into_owned(), original.is_hidden);
        let members: Vec<ItemKey> = original.members.iter().map(|(_, item)| *item).collect();
        let children: Vec<FolderKey> = owner.children(folder).map(|child| child.key).collect();
        let copy = self.make_folder(mailbox, parent, &name, is_hidden)?;
        for item in members {
            self.copy_to(mailbox, item, copy);
        }
        for child in children {
            self.copy_folder(mailbox, child, copy);
        }
        Some(copy)
    }

    /// Removes a folder for good, with all that is in it.
    pub(crate) fn purge_folder(&mut self, mailbox: usize, folder: FolderKey) {
        let Some(owner) = self.mailboxes.get(mailbox) else { return };
        let tree = owner.tree(folder);
        let members =
            tree.iter().filter_map(|key| owner.find_folder(*key)).flat_map(|folder| &folder.members);
        for item in members.map(|(_, item)| *item).collect::<Vec<_>>() {
            self.remove(mailbox, item);
        }
        if let Some(owner) = self.mailboxes.get_mut(mailbox) {
            tree.into_iter().for_each(|key| owner.remove_folder(key));
        }
    }

    /// Deletes every folder that a user made in a mailbox and makes it again, with what was in it.
    pub(crate) fn recreate_folders(&mut self, mailbox: usize) {
        let Some(owner) = self.mailboxes.get(mailbox) else { return };
        let made: Vec<(FolderKey, FolderKey)> = owner.made_folders().collect();
        for (folder, parent) in made {
            // A child was copied with its parent and is gone with it.
            let is_there =
                self.mailboxes.get(mailbox).is_some_and(|owner| owner.find_folder(folder).is_some());
            if is_there && self.copy_folder(mailbox, folder, parent).is_some() {
                self.purge_folder(mailbox, folder);
            }
        }
    }

    /// Puts the copy of a Teams chat message into a hidden folder of a mailbox, unless there is one.
    pub(crate) fn put_chat_copy(&mut self, mailbox: usize) {
        const NAME: &str = "TeamsMessagesData";
        let Some(owner) = self.mailboxes.get(mailbox) else { return };
        if owner.children(ROOT).any(|folder| folder.display_name == NAME) {
            return;
        }
        let content = Content { from: Some(owner.person()), subject: "IM".into(), ..Content::default() };
        let Some(folder) = self.make_folder(mailbox, ROOT, NAME, true) else { return };
        let item = self.blank(folder, Arc::new(content), None);
        self.insert(mailbox, item);
    }

    /// Acts on the switches that are thrown rather than set, for some mailboxes, and puts them back.
    pub(crate) fn throw(&mut self, mailboxes: &[usize]) {
        for mailbox in mailboxes {
            let switches = self.switches(*mailbox).clone();
            if switches.delta_expire
                && let Some(owner) = self.mailboxes.get_mut(*mailbox)
            {
                owner.generation += 1;
            }
            if switches.sub_silent_death {
                let of_mailbox = |subscription: &&mut Subscription| subscription.mailbox == *mailbox;
                self.subscriptions.values_mut().filter(of_mailbox).for_each(|one| one.is_mute = true);
            }
            if switches.folder_recreate {
                self.recreate_folders(*mailbox);
            }
            if switches.mailbox_im {
                self.put_chat_copy(*mailbox);
            }
        }
        if self.board.tenant().token_revoke {
            let now = self.now();
            self.tokens.values_mut().for_each(|grant| {
                Arc::make_mut(grant).revoked.get_or_insert(now);
            });
        }
        self.board.put_back();
    }

    fn insert(&mut self, mailbox: usize, item: Item) -> Option<ItemKey> {
        let key = item.key;
        self.mailboxes.get_mut(mailbox)?.insert(item);
        self.tell(mailbox, key, ChangeKind::Created);
        Some(key)
    }

    fn place(&mut self, mailbox: usize, mut item: Item) -> Option<ItemKey> {
        item.place = self.name();
        item.version = self.name();
        item.modified = self.now();
        self.insert(mailbox, item)
    }

    fn remove(&mut self, mailbox: usize, item: ItemKey) -> Option<Item> {
        // Told before it is gone: afterwards nobody knows its place.
        self.tell(mailbox, item, ChangeKind::Deleted);
        self.mailboxes.get_mut(mailbox)?.remove(item)
    }

    fn with_message_id(&mut self, content: Content) -> Content {
        let message_id = match content.message_id {
            Some(message_id) => message_id,
            None => format!("<{}@{}>", self.random.text(18), domain(content.from.as_ref())),
        };
        Content { message_id: Some(message_id), ..content }
    }

    fn blank(&mut self, folder: FolderKey, content: Arc<Content>, conversation: Option<u64>) -> Item {
        let now = self.now();
        Item {
            key: self.name(),
            folder,
            place: self.name(),
            version: self.name(),
            created: now,
            modified: now,
            received: now,
            sent: None,
            visible_from: now,
            conversation: conversation.unwrap_or_else(|| self.name()),
            is_read: false,
            is_draft: false,
            is_other: false,
            wants_read_receipt: false,
            wants_delivery_receipt: None,
            importance: Importance::Normal,
            categories: Vec::new(),
            flag: None,
            properties: BTreeMap::new(),
            multi_properties: BTreeMap::new(),
            content,
        }
    }
}

fn domain(person: Option<&Person>) -> &str {
    person.and_then(|person| person.address.rsplit_once('@')).map_or("mail.example", |(_, domain)| domain)
}

/// Reads a mail from its bytes.
pub(crate) fn read(mime: Bytes) -> Arc<Content> {
    Arc::new(Content::from_mime(mime))
}
