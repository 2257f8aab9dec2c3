//! Sealed content of one thing: small in the row, large in the blob store.
//!
//! Rules kept here: bytes first. Large content is durable in the blob store before
//! the row that names it is committed; what a crash leaves without a row is an
//! orphan that the engine removes after a day (design invariant 2). Content on its
//! way in is sealed and written as it comes and is never whole in memory.

use std::mem;

use aws_lc_rs::digest::{self, Digest, SHA256};
use postroom_model::{BlobId, MessageId, OutgoingId, Timestamp};

use crate::{
    DbError, Store,
    blobs::{BlobError, PIECE, Upload},
    seal,
    seal::{Opener, SealError, Sealer},
};

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

/// Content that was sealed and, if it is large, written and synced.
#[derive(Debug)]
pub struct Written {
    /// Where it is.
    pub content: Content,
    /// SHA-256 of the bytes as they came.
    pub sha256: Digest,
    /// How many came.
    pub size: u64,
}

/// Takes content piece by piece. Dropped before [`ContentWriter::finish`], it leaves nothing behind;
/// killed, a file half written that goes with the orphans.
pub struct ContentWriter<'a> {
    store: &'a Store,
    id: BlobId,
    sealer: Sealer,
    sha256: digest::Context,
    size: u64,
    /// Sealed and not written yet: never more than a piece and a chunk.
    sealed: Vec<u8>,
    upload: Option<Upload>,
}

impl ContentWriter<'_> {
    /// Takes the next bytes.
    ///
    /// # Errors
    /// When sealing or the blob store fails.
    pub async fn write(&mut self, plain: &[u8]) -> Result<(), ContentError> {
        for plain in plain.chunks(PIECE) {
            self.sha256.update(plain);
            self.size += plain.len() as u64;
            self.sealer.update(plain, &mut self.sealed)?;
            if self.sealed.len() >= PIECE {
                let piece = mem::replace(&mut self.sealed, Vec::with_capacity(PIECE + PIECE / 8));
                let upload = match &mut self.upload {
                    Some(upload) => upload,
                    None => self.upload.insert(self.store.blobs.upload(self.id).await?),
                };
                upload.write(piece.into()).await?;
            }
        }
        Ok(())
    }

    /// Ends the content: small content is for the row, large content is in the blob store, synced.
    ///
    /// # Errors
    /// When sealing or the blob store fails.
    pub async fn finish(mut self) -> Result<Written, ContentError> {
        self.sealer.finish(&mut self.sealed)?;
        let content = match self.upload {
            None if self.sealed.len() <= INLINE_LIMIT => Content::Inline(self.sealed),
            None => {
                self.store.blobs.put(self.id, self.sealed.into()).await?;
                Content::Blob(self.id)
            }
            Some(mut upload) => {
                upload.write(self.sealed.into()).await?;
                Content::Blob(upload.complete().await?)
            }
        };
        Ok(Written { content, sha256: self.sha256.finish(), size: self.size })
    }
}

impl Store {
    /// Begins to take content for `context`.
    ///
    /// # Errors
    /// When sealing fails.
    pub fn write_content(&self, context: &str, now: Timestamp) -> Result<ContentWriter<'_>, ContentError> {
        Ok(ContentWriter {
            store: self,
            id: BlobId::from_uuid(self.entropy.uuid(now)),
            sealer: Sealer::new(&self.keys, &self.entropy, context)?,
            sha256: digest::Context::new(&SHA256),
            size: 0,
            sealed: Vec::new(),
            upload: None,
        })
    }

    /// Removes content that no row names.
    ///
    /// # Errors
    /// When the blob store fails.
    pub async fn forget_content(&self, content: &Content) -> Result<(), ContentError> {
        match content {
            Content::Inline(_) => Ok(()),
            Content::Blob(id) => Ok(self.blobs.delete(*id).await?),
        }
    }

    /// Reads and opens content: sealed, no more than a piece of it is in memory.
    ///
    /// # Errors
    /// When it can't be read, or doesn't open.
    pub async fn open_content(&self, context: &str, content: &Content) -> Result<Vec<u8>, ContentError> {
        match content {
            Content::Inline(sealed) => Ok(seal::open(&self.keys, context, sealed)?),
            Content::Blob(id) => {
                let mut opener = Opener::new(&self.keys, context);
                let mut plain = Vec::new();
                self.blobs
                    .read(*id, |size, piece| {
                        plain.reserve_exact(
                            usize::try_from(size).unwrap_or_default().saturating_sub(plain.len()),
                        );
                        opener.update(&piece, &mut plain).map_err(ContentError::from)
                    })
                    .await?;
                opener.finish(&mut plain)?;
                Ok(plain)
            }
        }
    }
}

#[cfg(test)]
mod tests;
