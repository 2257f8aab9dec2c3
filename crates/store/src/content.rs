//! Sealed content of one thing: small in the row, large in the blob store.
//!
//! Rule kept here: bytes first. Large content is durable in the blob store before
//! the row that names it is committed; what a crash leaves without a row is an
//! orphan that the engine removes after a day (design invariant 2).

use bytes::Bytes;
use postroom_model::{BlobId, MessageId, OutgoingId, Timestamp};

use crate::{DbError, Store, blobs::BlobError, seal, seal::SealError};

/// Sealed content up to this size, in bytes, stands in the row itself.
pub const INLINE_LIMIT: usize = 16 * 1024;

/// Where a sealed content is.
#[derive(Debug, Clone)]
pub enum Content {
    /// In the row.
    Inline(Vec<u8>),
    /// In the blob store.
    Blob(BlobId),
}

impl Content {
    /// The two columns in which a row keeps it.
    pub(crate) fn columns(&self) -> (Option<&[u8]>, Option<BlobId>) {
        match self {
            Content::Inline(sealed) => (Some(sealed), None),
            Content::Blob(id) => (None, Some(*id)),
        }
    }
}

/// Content could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// The blob store failed.
    #[error("the blob store could not be reached or refused")]
    Blob(#[from] BlobError),
    /// The bytes don't open: damaged, or sealed with another key.
    #[error("the sealed content can't be opened; check the key file and the storage")]
    Seal(#[from] SealError),
    /// The row could not be read.
    #[error("the content's row could not be read")]
    Db(#[from] DbError),
    /// There is no content.
    #[error("there is no content")]
    Missing,
}

/// What binds the bytes of a message to it, so that one can't be put in place of another.
pub fn message_context(id: MessageId) -> String {
    format!("message/{id}/mime")
}

/// What binds the text of an outgoing mail to it.
pub fn outgoing_context(id: OutgoingId) -> String {
    format!("outgoing/{id}")
}

impl Store {
    /// Seals `plain`; if it is large, also writes it to the blob store, synced.
    ///
    /// # Errors
    /// When sealing or the blob store fails.
    pub async fn seal_content(
        &self,
        context: &str,
        plain: &[u8],
        now: Timestamp,
    ) -> Result<Content, ContentError> {
        let sealed = seal::seal(&self.keys, &self.entropy, context, plain)?;
        if sealed.len() <= INLINE_LIMIT {
            return Ok(Content::Inline(sealed));
        }
        let id = BlobId::from_uuid(self.entropy.uuid(now));
        self.blobs.put(id, Bytes::from(sealed)).await?;
        Ok(Content::Blob(id))
    }

    /// Reads and opens content.
    ///
    /// # Errors
    /// When it can't be read, or doesn't open.
    pub async fn open_content(&self, context: &str, content: &Content) -> Result<Vec<u8>, ContentError> {
        match content {
            Content::Inline(sealed) => Ok(seal::open(&self.keys, context, sealed)?),
            Content::Blob(id) => {
                let sealed = self.blobs.get(*id).await?;
                Ok(seal::open(&self.keys, context, &sealed)?)
            }
        }
    }
}
