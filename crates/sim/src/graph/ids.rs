//! The ids that clients see.
//!
//! A default id says mailbox, folder and place, so it ends with a move; an
//! immutable id says mailbox and item. Both look like the real ones (length,
//! alphabet, first letters) and carry a digest, so that a truncated id or one
//! in the wrong case is recognised as malformed.
//! Source: <https://learn.microsoft.com/en-us/graph/outlook-immutable-id>.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use jiff::Timestamp;
use uuid::Uuid;

use crate::mailbox::{FolderKey, Item, ItemKey};
use crate::random::{digest, mix};

/// First bytes of a default id, of an immutable one, of a folder's and of a conversation's.
const PLACE: &[u8] = &[0x00, 0x03, 0x24, 0x00];
const ITEM: &[u8] = &[0x00, 0x09, 0x00, 0x2e, 0x00];
const CONVERSATION: &[u8] = &[0x00, 0x04, 0x24, 0x00];

/// Lengths before base64; each ends in one `=`, as most real ids do.
const PLACE_LENGTH: usize = 113;
const ITEM_LENGTH: usize = 68;
const FOLDER_LENGTH: usize = 89;

/// The key that no folder has.
const NO_FOLDER: FolderKey = FolderKey(0);

/// Which of an item's two ids is meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum IdKind {
    #[default]
    Default,
    Immutable,
}

/// What an item's id says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Named {
    Place {
        folder: FolderKey,
        place: u64,
        item: ItemKey,
    },
    Item(ItemKey),
    /// An item of another mailbox.
    Foreign,
}

pub(crate) fn item(kind: IdKind, mailbox: Uuid, item: &Item) -> String {
    item_at(kind, mailbox, item.folder, item.place, item.key)
}

pub(crate) fn item_at(kind: IdKind, mailbox: Uuid, folder: FolderKey, place: u64, item: ItemKey) -> String {
    match kind {
        IdKind::Default => sealed(PLACE, mailbox, &[folder.0, place, item], PLACE_LENGTH),
        IdKind::Immutable => sealed(ITEM, mailbox, &[item], ITEM_LENGTH),
    }
}

pub(crate) fn folder(mailbox: Uuid, folder: FolderKey) -> String {
    sealed(PLACE, mailbox, &[folder.0], FOLDER_LENGTH)
}

pub(crate) fn conversation(mailbox: Uuid, conversation: u64) -> String {
    sealed(CONVERSATION, mailbox, &[conversation], FOLDER_LENGTH)
}

/// The attachment's id extends the message's.
pub(crate) fn attachment(message: &str, number: u32) -> String {
    format!("{}BEgAQ{number:04}=", message.trim_end_matches('='))
}

/// The number of the attachment, if the id belongs to this message.
pub(crate) fn parse_attachment(message: &str, id: &str) -> Option<u32> {
    let number = id.strip_prefix(message.trim_end_matches('='))?.strip_prefix("BEgAQ")?;
    number.strip_suffix('=')?.parse().ok()
}

/// Reads a message id of either kind; `None` if it is malformed.
pub(crate) fn parse_item(mailbox: Uuid, id: &str) -> Option<Named> {
    if let Some((owner, [item])) = opened(ITEM, id, ITEM_LENGTH) {
        return Some(if owner == mailbox { Named::Item(item) } else { Named::Foreign });
    }
    let (owner, [folder, place, item]) = opened(PLACE, id, PLACE_LENGTH)?;
    Some(if owner == mailbox {
        Named::Place { folder: FolderKey(folder), place, item }
    } else {
        Named::Foreign
    })
}

/// Reads a folder id; one of another mailbox names no folder of this one. `None` if it is malformed.
pub(crate) fn parse_folder(mailbox: Uuid, id: &str) -> Option<FolderKey> {
    let (owner, [folder]) = opened(PLACE, id, FOLDER_LENGTH)?;
    Some(if owner == mailbox { FolderKey(folder) } else { NO_FOLDER })
}

/// The version stamp as `changeKey`; in quotes with `W/` before it, it is the etag.
pub(crate) fn change_key(version: u64) -> String {
    let mut bytes = vec![0x09, 0x00, 0x00, 0x00, 0x16, 0x00, 0x00, 0x00];
    bytes.extend(mix(version).to_be_bytes());
    bytes.extend([0x00, 0x00]);
    bytes.extend(version.to_be_bytes());
    STANDARD.encode(bytes)
}

/// The position of a mail in its thread: the time in 65,536 ticks of 100 ns, then the thread.
pub(crate) fn conversation_index(conversation: u64, at: Timestamp) -> String {
    let since_1601 = (at.as_second() + 11_644_473_600).max(0).unsigned_abs() * 10_000_000;
    let mut bytes = since_1601.to_be_bytes()[..6].to_vec();
    bytes.extend(mix(conversation).to_be_bytes());
    bytes.extend(mix(!conversation).to_be_bytes());
    STANDARD.encode(bytes)
}

/// `head`, mailbox, numbers and digest, filled up to `length`.
fn sealed(head: &[u8], mailbox: Uuid, numbers: &[u64], length: usize) -> String {
    let mut bytes = Vec::with_capacity(length);
    bytes.extend_from_slice(head);
    bytes.extend_from_slice(mailbox.as_bytes());
    for number in numbers {
        bytes.extend_from_slice(&number.to_be_bytes());
    }
    let mut filler = digest(&bytes);
    while bytes.len() < length {
        let room = (length - bytes.len()).min(8);
        bytes.extend_from_slice(&filler.to_be_bytes()[..room]);
        filler = mix(filler);
    }
    URL_SAFE.encode(bytes)
}

/// Undoes [`sealed`]; `None` if that is not where the text comes from.
fn opened<const N: usize>(head: &[u8], id: &str, length: usize) -> Option<(Uuid, [u64; N])> {
    let bytes = URL_SAFE.decode(id).ok().filter(|bytes| bytes.len() == length)?;
    let rest = bytes.strip_prefix(head)?;
    let (mailbox, rest) = rest.split_first_chunk()?;
    let mailbox = Uuid::from_bytes(*mailbox);
    let mut numbers = [0; N];
    for (number, chunk) in numbers.iter_mut().zip(rest.chunks_exact(8)) {
        *number = u64::from_be_bytes(chunk.try_into().ok()?);
    }
    (sealed(head, mailbox, &numbers, length) == id).then_some((mailbox, numbers))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAILBOX: Uuid = Uuid::from_u128(7);

    #[test]
    fn ids_look_like_the_real_ones() {
        let default = item_at(IdKind::Default, MAILBOX, FolderKey(2), 5, 6);
        let immutable = item_at(IdKind::Immutable, MAILBOX, FolderKey(2), 5, 6);
        assert!(default.starts_with("AAMk") && default.ends_with('=') && default.len() == 152, "{default}");
        assert!(immutable.starts_with("AAkALg") && immutable.ends_with('='), "{immutable}");
        assert!(conversation(MAILBOX, 1).starts_with("AAQk"));
    }

    #[test]
    fn an_id_in_the_wrong_case_or_cut_is_malformed() {
        let id = item_at(IdKind::Immutable, MAILBOX, FolderKey(2), 5, 6);
        assert_eq!(parse_item(MAILBOX, &id), Some(Named::Item(6)));
        assert_eq!(parse_item(MAILBOX, &id.to_lowercase()), None);
        assert_eq!(parse_item(MAILBOX, &id[..id.len() - 4]), None);
        assert_eq!(parse_item(Uuid::from_u128(8), &id), Some(Named::Foreign));
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in any::<String>()) {
            parse_item(MAILBOX, &text);
            parse_folder(MAILBOX, &text);
        }

        #[test]
        fn what_an_id_says_can_be_read(folder in 0_u64.., place in 0_u64.., item in 0_u64..) {
            let id = item_at(IdKind::Default, MAILBOX, FolderKey(folder), place, item);
            let named = Named::Place { folder: FolderKey(folder), place, item };
            prop_assert_eq!(parse_item(MAILBOX, &id), Some(named));
            prop_assert_eq!(parse_folder(MAILBOX, &id), None);
            let attachment = attachment(&id, 3);
            prop_assert_eq!(parse_attachment(&id, &attachment), Some(3));
        }
    }
}
