//! Opens stored mails and lets somebody read their bytes.
//!
//! Called by whatever needs a mail's content again: processing, pages, replies.
//! Rule kept: however many mails are read at once, those in the clear in memory have
//! [`ROOM`] MiB together, or there is one alone that is larger.

use postroom_mail::{Mail, parse};
use postroom_model::MessageId;
use postroom_store::{
    content::{Content, ContentError, message_context},
    messages,
};

use crate::Engine;

/// How many MiB of mails are in the clear at a time.
pub(crate) const ROOM: u32 = 64;
/// Mails above this many bytes are read off the thread that runs the lanes.
const BIG: usize = 64 * 1024;

impl Engine {
    /// Opens and reads a stored mail.
    pub(crate) async fn read_mail(&self, id: MessageId) -> Result<Mail, ContentError> {
        self.read_bytes(id, parse).await
    }

    /// Opens a stored mail and gives what `read` makes of its bytes.
    pub(crate) async fn read_bytes<T: Send + 'static>(
        &self,
        id: MessageId,
        read: impl FnOnce(&[u8]) -> T + Send + 'static,
    ) -> Result<T, ContentError> {
        let found = messages::find_content(&self.store().db, id).await?;
        let (content, size) = found.ok_or(ContentError::Missing)?;
        let room = match content {
            Content::Inline(_) => 0,
            Content::Blob(_) => room_for(size),
        };
        // Never closed, so there is always room in the end.
        let _room = self.0.reading.acquire_many(room).await;
        let bytes = self.store().open_content(&message_context(id), &content).await?;
        if bytes.len() < BIG {
            return Ok(read(&bytes));
        }
        Ok(self.tasks().cpu(move || read(&bytes)).await)
    }
}

/// The MiB that a mail of so many bytes takes of the room.
fn room_for(size: u64) -> u32 {
    u32::try_from(size.div_ceil(1024 * 1024)).unwrap_or(ROOM).min(ROOM)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mail_larger_than_the_room_takes_all_of_it() {
        assert_eq!(room_for(1), 1);
        assert_eq!(room_for(1024 * 1024 + 1), 2);
        assert_eq!(room_for(150 * 1024 * 1024), ROOM);
        assert_eq!(room_for(u64::MAX), ROOM);
    }
}
