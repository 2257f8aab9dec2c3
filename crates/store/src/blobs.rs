//! Large sealed objects: files beside the database, or memory for tests.
//!
//! Called by `content` and by the engine, which removes orphans. Keeps the rule *bytes first*: an object
//! is on the disk, and so is its name, before `put` or `complete` returns. Objects are never
//! changed; what they hold is sealed before it comes here. What a killed process leaves of an
//! object half written is listed and deleted like an object.

mod parts;

use std::{fs, path::Path as FilePath, path::PathBuf, sync::Arc};

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use object_store::{
    Error, MultipartUpload, ObjectStore, ObjectStoreExt as _, PutPayload, local::LocalFileSystem,
    memory::InMemory, path::Path,
};
use postroom_model::{BlobId, Timestamp};
use uuid::Uuid;

/// The blob store failed.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The folder can't be used.
    #[error("the blob folder can't be opened; check that it can be written")]
    Open(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// There is no such object.
    #[error("the object {0} is missing from the blob store")]
    Missing(BlobId),
    /// The object is there and could not be read.
    #[error("the object {id} can't be read from the blob store")]
    Unreadable {
        /// Which.
        id: BlobId,
        /// Why.
        #[source]
        cause: Error,
    },
    /// The object could not be written or deleted.
    #[error("the blob store failed at the object {id}")]
    Object {
        /// Which.
        id: BlobId,
        /// Why.
        #[source]
        cause: Error,
    },
    /// The objects could not be listed.
    #[error("the objects of the blob store can't be listed")]
    List(#[source] Error),
}

/// Objects above this many bytes are written and read in pieces of it.
pub(crate) const PIECE: usize = 1024 * 1024;

/// Where objects are. Cheap to clone; clones share the objects.
#[derive(Clone)]
pub struct Blobs {
    objects: Arc<dyn ObjectStore>,
    /// The folder of files.
    folder: Option<PathBuf>,
}

/// An object that is written piece by piece. It is nothing until [`Upload::complete`]; dropped, it
/// leaves nothing behind.
pub struct Upload {
    id: BlobId,
    parts: Box<dyn MultipartUpload>,
}

impl Upload {
    /// Writes the next piece.
    ///
    /// # Errors
    /// When it can't be written.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), BlobError> {
        let written = self.parts.put_part(PutPayload::from_bytes(bytes)).await;
        written.map_err(|cause| BlobError::Object { id: self.id, cause })
    }

    /// Makes it an object, synced.
    ///
    /// # Errors
    /// When it can't be written.
    pub async fn complete(mut self) -> Result<BlobId, BlobError> {
        let done = self.parts.complete().await;
        done.map(|_| self.id).map_err(|cause| BlobError::Object { id: self.id, cause })
    }
}

impl Blobs {
    /// Objects as files below `folder`, which is made if it is absent.
    ///
    /// # Errors
    /// [`BlobError::Open`] if the folder can't be made or found.
    pub fn files(folder: &FilePath) -> Result<Self, BlobError> {
        fs::create_dir_all(folder).map_err(|error| BlobError::Open(error.into()))?;
        let files =
            LocalFileSystem::new_with_prefix(folder).map_err(|error| BlobError::Open(error.into()))?;
        // Syncs the file, then its name and every folder that was made for it.
        Ok(Self { objects: Arc::new(files.with_fsync(true)), folder: Some(folder.to_owned()) })
    }

    /// Objects in memory: they live as long as a clone does, a simulated kill included.
    pub fn memory() -> Self {
        Self { objects: Arc::new(InMemory::new()), folder: None }
    }

    /// Writes an object, synced.
    ///
    /// # Errors
    /// When it can't be written.
    pub async fn put(&self, id: BlobId, bytes: Bytes) -> Result<(), BlobError> {
        let written = self.objects.put(&path_of(id), PutPayload::from_bytes(bytes)).await;
        written.map(|_| ()).map_err(|cause| BlobError::Object { id, cause })
    }

    /// Begins an object that is written piece by piece.
    ///
    /// # Errors
    /// When it can't be written.
    pub async fn upload(&self, id: BlobId) -> Result<Upload, BlobError> {
        let begun = self.objects.put_multipart(&path_of(id)).await;
        begun.map(|parts| Upload { id, parts }).map_err(|cause| BlobError::Object { id, cause })
    }

    /// Reads an object, and hands its bytes out in order, a large one in pieces of 1 MiB.
    /// Tells first how many there are.
    ///
    /// # Errors
    /// [`BlobError::Missing`] if there is none; the error of `take`, made of a [`BlobError`] if need be.
    pub async fn read<E: From<BlobError>>(
        &self,
        id: BlobId,
        mut take: impl FnMut(u64, Bytes) -> Result<(), E>,
    ) -> Result<(), E> {
        let path = path_of(id);
        let failed = |cause| match cause {
            Error::NotFound { .. } => BlobError::Missing(id),
            cause => BlobError::Unreadable { id, cause },
        };
        let found = self.objects.get(&path).await.map_err(failed)?;
        let size = found.meta.size;
        if size <= PIECE as u64 {
            return take(size, found.bytes().await.map_err(failed)?);
        }
        drop(found);
        let mut at = 0;
        while at < size {
            let end = size.min(at + PIECE as u64);
            take(size, self.objects.get_range(&path, at..end).await.map_err(failed)?)?;
            at = end;
        }
        Ok(())
    }

    /// Deletes an object, with whatever was begun of it. Fine if there is none.
    ///
    /// # Errors
    /// When it can't be deleted.
    pub async fn delete(&self, id: BlobId) -> Result<(), BlobError> {
        let failed = |cause| BlobError::Object { id, cause };
        match self.objects.delete(&path_of(id)).await {
            Ok(()) | Err(Error::NotFound { .. }) => {}
            Err(cause) => return Err(failed(cause)),
        }
        let Some(folder) = &self.folder else { return Ok(()) };
        let cause = |source: std::io::Error| Error::Generic { store: "files", source: source.into() };
        parts::delete(&folder.join(path_of(id).as_ref())).await.map_err(|error| failed(cause(error)))
    }

    /// The objects whose ids were made before `before`, those half written included, oldest first.
    /// The time in the id counts, not the file's: it is the clock's that everything else goes by.
    ///
    /// # Errors
    /// When they can't be listed.
    pub async fn list_older_than(&self, before: Timestamp) -> Result<Vec<BlobId>, BlobError> {
        let mut ids: Vec<BlobId> = self
            .objects
            .list(None)
            .try_filter_map(async |object| Ok(object.location.filename().and_then(id_of)))
            .try_collect()
            .await
            .map_err(BlobError::List)?;
        if let Some(folder) = &self.folder {
            let begun = parts::list(folder).await.map_err(|error| BlobError::Open(error.into()))?;
            ids.extend(begun.iter().filter_map(|name| id_of(name)));
        }
        ids.retain(|id| made_before(*id, before));
        ids.sort_unstable();
        ids.dedup();
        Ok(ids)
    }
}

/// The last two digits, which are random, spread the files over 256 folders.
fn path_of(id: BlobId) -> Path {
    let name = id.uuid().simple().to_string();
    Path::from_iter([&name[30..], &name])
}

fn id_of(name: &str) -> Option<BlobId> {
    // What is no object of ours is left alone.
    Uuid::try_parse(name).ok().map(BlobId::from_uuid)
}

fn made_before(id: BlobId, before: Timestamp) -> bool {
    let Some((seconds, nanos)) = id.uuid().get_timestamp().map(|time| time.to_unix()) else { return false };
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| Timestamp::new(seconds, i32::try_from(nanos).ok()?).ok())
        .is_some_and(|made| made < before)
}

#[cfg(test)]
mod tests {
    use postroom_model::Entropy;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn id_made_at(second: i64, salt: u8) -> BlobId {
        BlobId::from_uuid(Entropy::new(move |buffer| buffer.fill(salt)).uuid(at(second)))
    }

    async fn objects_are_kept_found_by_age_and_deleted(blobs: Blobs) {
        let (old, new) = (id_made_at(1_000, 1), id_made_at(2_000, 2));
        let bytes = Bytes::from(vec![7; 100_000]);
        blobs.put(new, bytes.clone()).await.unwrap();
        blobs.put(old, Bytes::from_static(b"")).await.unwrap();
        blobs.put(old, Bytes::from_static(b"again")).await.unwrap();
        assert_eq!(whole(&blobs.clone(), new).await.unwrap(), bytes);
        assert_eq!(whole(&blobs, old).await.unwrap(), Bytes::from_static(b"again"));

        assert_eq!(blobs.list_older_than(at(1_000)).await.unwrap(), []);
        assert_eq!(blobs.list_older_than(at(1_500)).await.unwrap(), [old]);
        assert_eq!(blobs.list_older_than(at(3_000)).await.unwrap(), [old, new]);

        blobs.delete(old).await.unwrap();
        blobs.delete(old).await.unwrap();
        assert!(matches!(whole(&blobs, old).await, Err(BlobError::Missing(id)) if id == old));
        assert_eq!(blobs.list_older_than(at(3_000)).await.unwrap(), [new]);

        let piece = Bytes::from(vec![9; PIECE - 7]);
        let mut upload = blobs.upload(old).await.unwrap();
        upload.write(piece.clone()).await.unwrap();
        assert!(matches!(whole(&blobs, old).await, Err(BlobError::Missing(_))));
        upload.write(piece.clone()).await.unwrap();
        assert_eq!(upload.complete().await.unwrap(), old);
        assert_eq!(whole(&blobs, old).await.unwrap(), [piece.clone(), piece].concat());
        blobs.delete(old).await.unwrap();
    }

    async fn whole(blobs: &Blobs, id: BlobId) -> Result<Vec<u8>, BlobError> {
        let mut all = Vec::new();
        blobs
            .read(id, |size, piece| {
                all.extend_from_slice(&piece);
                assert!(piece.len() <= PIECE && all.len() as u64 <= size);
                Ok::<(), BlobError>(())
            })
            .await?;
        Ok(all)
    }

    #[tokio::test]
    async fn in_memory() {
        objects_are_kept_found_by_age_and_deleted(Blobs::memory()).await;
    }

    #[tokio::test]
    async fn in_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("blobs");
        objects_are_kept_found_by_age_and_deleted(Blobs::files(&path).unwrap()).await;
        fs::write(path.join("README"), "not ours").unwrap();
        let found = Blobs::files(&path).unwrap().list_older_than(at(9_000)).await.unwrap();
        assert_eq!(found.len(), 1);
    }
    #[tokio::test]
    async fn what_a_killed_process_left_half_written_is_listed_by_age_and_deleted() {
        let folder = tempfile::tempdir().unwrap();
        let (begun, whole) = (id_made_at(1_000, 1), id_made_at(1_001, 2));
        let blobs = Blobs::files(folder.path()).unwrap();
        blobs.put(whole, Bytes::from_static(b"whole")).await.unwrap();
        let mut upload = blobs.upload(begun).await.unwrap();
        upload.write(Bytes::from_static(b"begun")).await.unwrap();
        std::mem::forget(upload);

        let restarted = Blobs::files(folder.path()).unwrap();
        assert_eq!(restarted.list_older_than(at(1_000)).await.unwrap(), []);
        assert_eq!(restarted.list_older_than(at(2_000)).await.unwrap(), [begun, whole]);
        restarted.delete(begun).await.unwrap();
        assert_eq!(restarted.list_older_than(at(2_000)).await.unwrap(), [whole]);
    }
}
