//! One mailbox: folders, the items in them, and what changed in each folder.
//!
//! Every way to put, change, move or remove an item goes through here, so that
//! the change log behind delta queries can miss nothing. The log holds one entry
//! an item, its latest, and never touches contents: a delta page of ids is cheap.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::content::{Content, Person};

/// Name of an item inside the simulator; its immutable id follows from it.
pub(crate) type ItemKey = u64;

/// Number of a folder, the same in every mailbox for a well-known one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FolderKey(pub(crate) u64);

pub(crate) const ROOT: FolderKey = FolderKey(1);
pub(crate) const INBOX: FolderKey = FolderKey(2);
pub(crate) const DRAFTS: FolderKey = FolderKey(3);
pub(crate) const SENT_ITEMS: FolderKey = FolderKey(4);
pub(crate) const DELETED_ITEMS: FolderKey = FolderKey(5);
pub(crate) const OUTBOX: FolderKey = FolderKey(8);
/// Where what was deleted from Deleted Items goes; no list shows it.
pub(crate) const RECOVERABLE: FolderKey = FolderKey(10);
/// Folders that users make have greater keys than this.
pub(crate) const LAST_WELL_KNOWN: u64 = 99;

/// Folders of a fresh mailbox: key, parent, well-known name, English display name, whether it is hidden.
/// Source: <https://learn.microsoft.com/en-us/graph/api/resources/mailfolder>.
const WELL_KNOWN: [(u64, u64, &str, &str, bool); 17] = [
    (1, 0, "msgfolderroot", "Top of Information Store", false),
    (2, 1, "inbox", "Inbox", false),
    (3, 1, "drafts", "Drafts", false),
    (4, 1, "sentitems", "Sent Items", false),
    (5, 1, "deleteditems", "Deleted Items", false),
    (6, 1, "junkemail", "Junk Email", false),
    (7, 1, "archive", "Archive", false),
    (8, 1, "outbox", "Outbox", false),
    (9, 1, "conversationhistory", "Conversation History", false),
    (10, 0, "recoverableitemsdeletions", "Deletions", true),
    (11, 1, "clutter", "Clutter", true),
    (12, 0, "searchfolders", "Search Folders", true),
    (13, 1, "scheduled", "Scheduled", true),
    (14, 1, "syncissues", "Sync Issues", true),
    (15, 14, "conflicts", "Conflicts", true),
    (16, 14, "localfailures", "Local Failures", true),
    (17, 14, "serverfailures", "Server Failures", true),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChangeKind {
    Created,
    Updated,
    Deleted,
}

impl ChangeKind {
    pub(crate) const ALL: [Self; 3] = [Self::Created, Self::Updated, Self::Deleted];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Deleted => "deleted",
        }
    }
}

/// A mail in a folder.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Item {
    pub(crate) key: ItemKey,
    pub(crate) folder: FolderKey,
    /// Changes with every move; the default id follows from it.
    pub(crate) place: u64,
    /// Version stamp behind `changeKey` and the etag.
    pub(crate) version: u64,
    pub(crate) created: Timestamp,
    pub(crate) modified: Timestamp,
    pub(crate) received: Timestamp,
    pub(crate) sent: Option<Timestamp>,
    /// Reads find the item from this moment on.
    pub(crate) visible_from: Timestamp,
    /// Thread key inside the mailbox.
    pub(crate) conversation: u64,
    pub(crate) is_read: bool,
    pub(crate) is_draft: bool,
    /// Not in the focused half of the Inbox.
    pub(crate) is_other: bool,
    pub(crate) wants_read_receipt: bool,
    /// Unknown for received mail.
    pub(crate) wants_delivery_receipt: Option<bool>,
    pub(crate) importance: Importance,
    pub(crate) categories: Vec<String>,
    /// The `flag` property as it was set; absent means not flagged.
    pub(crate) flag: Option<Value>,
    /// Extended properties: canonical name to name as given and value.
    pub(crate) properties: BTreeMap<String, (String, String)>,
    /// Extended properties with several values, alike.
    pub(crate) multi_properties: BTreeMap<String, (String, Vec<String>)>,
    pub(crate) content: Arc<Content>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Importance {
    Low,
    #[default]
    Normal,
    High,
}

impl Importance {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Normal => "normal",
            Self::High => "high",
        }
    }
}

/// The latest change of one item in one folder.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change {
    pub(crate) item: ItemKey,
    pub(crate) place: u64,
    /// When it came into the folder, as a sequence number.
    pub(crate) born: u64,
    pub(crate) gone: bool,
}

#[derive(Debug)]
pub(crate) struct Folder {
    pub(crate) key: FolderKey,
    pub(crate) parent: FolderKey,
    /// Well-known name; empty for a folder that a user made.
    pub(crate) name: &'static str,
    pub(crate) display_name: Cow<'static, str>,
    pub(crate) is_hidden: bool,
    /// Items by time of receipt.
    pub(crate) members: BTreeSet<(Timestamp, ItemKey)>,
    /// Number of the mailbox's latest change to this folder or to what is in it.
    pub(crate) touched: u64,
    /// Number of the latest change.
    sequence: u64,
    changes: BTreeMap<u64, Change>,
    /// Where in `changes` an item stands.
    latest: BTreeMap<ItemKey, u64>,
    /// Changes that reads do not see yet, with the moment they will.
    lagging: BTreeMap<u64, Timestamp>,
}

impl Folder {
    pub(crate) fn new(
        key: FolderKey,
        parent: FolderKey,
        name: &'static str,
        display_name: impl Into<Cow<'static, str>>,
        is_hidden: bool,
    ) -> Self {
        Self {
            key,
            parent,
            name,
            display_name: display_name.into(),
            is_hidden,
            members: BTreeSet::new(),
            touched: 0,
            sequence: 0,
            changes: BTreeMap::new(),
            latest: BTreeMap::new(),
            lagging: BTreeMap::new(),
        }
    }

    /// Number of the latest change that reads may see now, together with all before it.
    pub(crate) fn horizon(&self, now: Timestamp) -> u64 {
        let hidden = self.lagging.iter().find(|(_, seen_from)| **seen_from > now);
        hidden.map_or(self.sequence, |(sequence, _)| sequence - 1)
    }

    /// Changes after the given number and up to the other, oldest first.
    pub(crate) fn changes(&self, after: u64, up_to: u64) -> impl Iterator<Item = (u64, &Change)> {
        let range = if after < up_to { after + 1..up_to + 1 } else { 0..0 };
        self.changes.range(range).map(|(sequence, change)| (*sequence, change))
    }

    fn log(&mut self, item: &Item, gone: bool, is_new: bool) {
        self.sequence += 1;
        let before = self.latest.insert(item.key, self.sequence).and_then(|at| self.changes.remove(&at));
        let born = match before {
            Some(before) if !is_new => before.born,
            _ => self.sequence,
        };
        self.changes.insert(self.sequence, Change { item: item.key, place: item.place, born, gone });
    }
}

/// Whose a mailbox is: `userPurpose` of its settings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum MailboxKind {
    /// A person's.
    #[default]
    User,
    /// A shared one.
    Shared,
}

/// Whether Graph can use a mailbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MailboxStatus {
    /// It can.
    #[default]
    Active,
    /// The user has no licence for a mailbox.
    Unlicensed,
    /// The mailbox is on a server of the customer's.
    OnPremises,
    /// There is no such user any more.
    Missing,
}

#[derive(Debug)]
pub(crate) struct Mailbox {
    pub(crate) kind: MailboxKind,
    pub(crate) status: MailboxStatus,
    /// Delta and skip tokens of an older generation are unknown.
    pub(crate) generation: u64,
    /// Primary address in lower case.
    pub(crate) address: String,
    pub(crate) display_name: String,
    pub(crate) guid: Uuid,
    /// All addresses in lower case, the primary one first.
    pub(crate) addresses: Vec<String>,
    folders: BTreeMap<FolderKey, Folder>,
    items: BTreeMap<ItemKey, Item>,
    /// Message-ID to conversation.
    threads: BTreeMap<String, u64>,
    /// Number of the latest change to any folder.
    folder_sequence: u64,
    /// Folders that are no more, with the number of that change.
    gone_folders: Vec<(u64, FolderKey)>,
}

impl Mailbox {
    pub(crate) fn new(addresses: Vec<String>, display_name: String, guid: Uuid) -> Self {
        Self {
            kind: MailboxKind::default(),
            status: MailboxStatus::default(),
            generation: 149,
            address: addresses.first().cloned().unwrap_or_default(),
            display_name,
            guid,
            addresses,
            folders: WELL_KNOWN
                .into_iter()
                .map(|(key, parent, name, shown, is_hidden)| {
                    let key = FolderKey(key);
                    (key, Folder::new(key, FolderKey(parent), name, shown, is_hidden))
                })
                .collect(),
            items: BTreeMap::new(),
            threads: BTreeMap::new(),
            // Above what a folder that never changed carries.
            folder_sequence: 1,
            gone_folders: Vec::new(),
        }
    }

    /// The mailbox as a sender.
    pub(crate) fn person(&self) -> Person {
        Person::new(&self.display_name, &self.address)
    }

    /// Folders directly below another, in their order.
    pub(crate) fn children(&self, parent: FolderKey) -> impl Iterator<Item = &Folder> {
        self.folders.values().filter(move |folder| folder.parent == parent)
    }

    /// Folders below another at any depth, with itself.
    pub(crate) fn tree(&self, root: FolderKey) -> Vec<FolderKey> {
        let mut tree = vec![root];
        let mut at = 0;
        while let Some(parent) = tree.get(at).copied() {
            tree.extend(self.children(parent).map(|folder| folder.key));
            at += 1;
        }
        tree
    }

    /// Puts a folder in place, new or changed.
    pub(crate) fn put_folder(&mut self, folder: Folder) {
        let key = folder.key;
        self.folders.insert(key, folder);
        self.touch(key);
    }

    /// Changes a folder's name or parent.
    pub(crate) fn edit_folder(&mut self, key: FolderKey, edit: impl FnOnce(&mut Folder)) {
        if let Some(folder) = self.folders.get_mut(&key) {
            edit(folder);
        }
        self.touch(key);
    }

    /// Forgets an empty folder.
    pub(crate) fn remove_folder(&mut self, key: FolderKey) {
        if self.folders.remove(&key).is_some() {
            self.folder_sequence += 1;
            self.gone_folders.push((self.folder_sequence, key));
        }
    }

    /// Number of the latest change to any folder.
    pub(crate) fn folder_sequence(&self) -> u64 {
        self.folder_sequence
    }

    /// Folders that changed after a number, and those that went, oldest change first;
    /// of a fresh mailbox all of them.
    pub(crate) fn folder_changes(&self, after: u64) -> Vec<(u64, Result<&Folder, FolderKey>)> {
        let changed = self.folders.values().filter(|folder| after == 0 || folder.touched > after);
        let gone = self.gone_folders.iter().filter(|(at, _)| *at > after);
        let mut all: Vec<_> = changed
            .map(|folder| (folder.touched, Ok(folder)))
            .chain(gone.map(|(at, key)| (*at, Err(*key))))
            .collect();
        all.sort_by_key(|(at, folder)| (*at, folder.as_ref().map_or_else(|key| *key, |folder| folder.key)));
        all
    }

    fn touch(&mut self, key: FolderKey) {
        self.folder_sequence += 1;
        if let Some(folder) = self.folders.get_mut(&key) {
            folder.touched = self.folder_sequence;
        }
    }

    pub(crate) fn find_folder(&self, key: FolderKey) -> Option<&Folder> {
        self.folders.get(&key)
    }

    /// Finds a folder by its well-known name, in any case.
    pub(crate) fn find_well_known(&self, name: &str) -> Option<&Folder> {
        let named = |folder: &&Folder| !folder.name.is_empty() && folder.name.eq_ignore_ascii_case(name);
        self.folders.values().find(named)
    }

    pub(crate) fn find_item(&self, key: ItemKey) -> Option<&Item> {
        self.items.get(&key)
    }

    /// Items of a folder, or of the whole mailbox, that reads see now, newest first.
    pub(crate) fn newest_first(
        &self,
        folder: Option<FolderKey>,
        now: Timestamp,
    ) -> Box<dyn Iterator<Item = &Item> + '_> {
        let visible = move |item: &&Item| item.visible_from <= now;
        match folder {
            Some(folder) => Box::new(
                self.folders
                    .get(&folder)
                    .into_iter()
                    .flat_map(|folder| folder.members.iter().rev())
                    .filter_map(|(_, key)| self.items.get(key))
                    .filter(visible),
            ),
            None => {
                let shown = |item: &&Item| item.folder != RECOVERABLE;
                let mut items: Vec<&Item> = self.items.values().filter(shown).filter(visible).collect();
                items.sort_by_key(|item| std::cmp::Reverse((item.received, item.key)));
                Box::new(items.into_iter())
            }
        }
    }

    /// Folders that users made, each with its parent, parents first.
    pub(crate) fn made_folders(&self) -> impl Iterator<Item = (FolderKey, FolderKey)> {
        let made = self.folders.values().filter(|folder| folder.key.0 > LAST_WELL_KNOWN && !folder.is_hidden);
        made.map(|folder| (folder.key, folder.parent))
    }

    /// The conversation of any mail with this subject.
    pub(crate) fn find_conversation_by_subject(&self, subject: &str) -> Option<u64> {
        self.items.values().find(|item| item.content.subject == subject).map(|item| item.conversation)
    }

    /// The conversation that holds any of these Message-IDs.
    pub(crate) fn find_conversation<'a>(&self, ids: impl IntoIterator<Item = &'a String>) -> Option<u64> {
        ids.into_iter().find_map(|id| self.threads.get(id)).copied()
    }

    pub(crate) fn insert(&mut self, item: Item) {
        if let Some(id) = &item.content.message_id {
            self.threads.entry(id.clone()).or_insert(item.conversation);
        }
        if let Some(folder) = self.folders.get_mut(&item.folder) {
            folder.members.insert((item.received, item.key));
            folder.log(&item, false, true);
            folder.lagging.retain(|_, seen_from| *seen_from > item.created);
            if item.visible_from > item.created {
                folder.lagging.insert(folder.sequence, item.visible_from);
            }
        }
        self.touch(item.folder);
        self.items.insert(item.key, item);
    }

    /// Takes an item out of its folder and out of the mailbox.
    pub(crate) fn remove(&mut self, key: ItemKey) -> Option<Item> {
        let item = self.items.remove(&key)?;
        if let Some(folder) = self.folders.get_mut(&item.folder) {
            folder.members.remove(&(item.received, key));
            folder.log(&item, true, false);
        }
        self.touch(item.folder);
        Some(item)
    }

    /// Changes an item where it is. `edit` must leave key, folder and time of receipt alone.
    pub(crate) fn edit(&mut self, key: ItemKey, edit: impl FnOnce(&mut Item)) {
        let Some(item) = self.items.get_mut(&key) else { return };
        edit(item);
        if let Some(id) = &item.content.message_id {
            self.threads.entry(id.clone()).or_insert(item.conversation);
        }
        if let Some(folder) = self.folders.get_mut(&item.folder) {
            folder.log(item, false, false);
        }
        let folder = item.folder;
        self.touch(folder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(key: ItemKey, place: u64) -> Item {
        let at = Timestamp::UNIX_EPOCH;
        Item {
            key,
            folder: INBOX,
            place,
            version: 1,
            created: at,
            modified: at,
            received: at,
            sent: None,
            visible_from: at,
            conversation: key,
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
            content: Arc::default(),
        }
    }

    fn mailbox() -> Mailbox {
        Mailbox::new(vec!["a@x.example".into()], "A".into(), Uuid::nil())
    }

    fn changes(mailbox: &Mailbox, after: u64) -> Vec<(ItemKey, bool)> {
        let inbox = mailbox.find_folder(INBOX).unwrap();
        let horizon = inbox.horizon(Timestamp::UNIX_EPOCH);
        inbox.changes(after, horizon).map(|(_, change)| (change.item, change.gone)).collect()
    }

    #[test]
    fn the_log_holds_the_latest_change_of_each_item() {
        let mut mailbox = mailbox();
        mailbox.insert(item(1, 1));
        mailbox.insert(item(2, 2));
        mailbox.edit(1, |item| item.is_read = true);
        assert_eq!(changes(&mailbox, 0), [(2, false), (1, false)]);
        assert_eq!(changes(&mailbox, 3), []);
        mailbox.remove(2);
        assert_eq!(changes(&mailbox, 3), [(2, true)]);
        let inbox = mailbox.find_folder(INBOX).unwrap();
        assert!(inbox.changes(0, 9).all(|(_, change)| change.born <= 2));
    }

    #[test]
    fn a_change_that_lags_hides_everything_after_it() {
        let mut mailbox = mailbox();
        mailbox.insert(item(1, 1));
        mailbox.insert(Item { visible_from: Timestamp::MAX, ..item(2, 2) });
        mailbox.insert(item(3, 3));
        assert_eq!(changes(&mailbox, 0), [(1, false)]);
    }
}
