//! Large sealed objects: files beside the database, or memory for tests.
//!
//! Called by `content` and by the engine, which removes orphans. Keeps the rule *bytes first*: an object
//! is on the disk, and so is its name, before `put` returns. Objects are never
//! changed; what they hold is sealed before it comes here.

use std::{fs, path::Path as FilePath, sync::Arc};

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use object_store::{
    Error, ObjectStore, ObjectStoreExt as _, PutPayload, local::LocalFileSystem, memory::InMemory, path::Path,
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
    /// The object could not be written, read or deleted.
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

/// Where objects are. Cheap to clone; clones share the objects.
#[derive(Clone)]
pub struct Blobs(Arc<dyn ObjectStore>);

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
        Ok(Self(Arc::new(files.with_fsync(true))))
    }

    /// Objects in memory: they live as long as a clone does, a simulated kill included.
    pub fn memory() -> Self {
        Self(Arc::new(InMemory::new()))
    }

    /// Writes an object, synced.
    ///
    /// # Errors
    /// When it can't be written.
    pub async fn put(&self, id: BlobId, bytes: Bytes) -> Result<(), BlobError> {
        let written = self.0.put(&path_of(id), PutPayload::from_bytes(bytes)).await;
        written.map(|_| ()).map_err(|cause| BlobError::Object { id, cause })
    }

    /// Reads an object.
    ///
    /// # Errors
    /// [`BlobError::Missing`] if there is none.
    pub async fn get(&self, id: BlobId) -> Result<Bytes, BlobError> {
        let read = async { self.0.get(&path_of(id)).await?.bytes().await };
        read.await.map_err(|cause| match cause {
            Error::NotFound { .. } => BlobError::Missing(id),
            cause => BlobError::Object { id, cause },
        })
    }

    /// Deletes an object. Fine if there is none.
    ///
    /// # Errors
    /// When it can't be deleted.
    pub async fn delete(&self, id: BlobId) -> Result<(), BlobError> {
        match self.0.delete(&path_of(id)).await {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(cause) => Err(BlobError::Object { id, cause }),
        }
    }

    /// The objects whose ids were made before `before`, oldest first. The time in the id
    /// counts, not the file's: it is the clock's that everything else goes by.
    ///
    /// # Errors
    /// When they can't be listed.
    pub async fn list_older_than(&self, before: Timestamp) -> Result<Vec<BlobId>, BlobError> {
        let mut ids: Vec<BlobId> = self
            .0
            .list(None)
            .try_filter_map(async |object| Ok(id_of(&object.location).filter(|id| made_before(*id, before))))
            .try_collect()
            .await
            .map_err(BlobError::List)?;
        ids.sort_unstable();
        Ok(ids)
    }
}

/// The last two digits, which are random, spread the files over 256 folders.
fn path_of(id: BlobId) -> Path {
    let name = id.uuid().simple().to_string();
    Path::from_iter([&name[30..], &name])
}

fn id_of(path: &Path) -> Option<BlobId> {
    // What is no object of ours is left alone.
    Uuid::try_parse(path.filename()?).ok().map(BlobId::from_uuid)
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
        assert_eq!(blobs.clone().get(new).await.unwrap(), bytes);
        assert_eq!(blobs.get(old).await.unwrap(), Bytes::from_static(b"again"));

        assert_eq!(blobs.list_older_than(at(1_000)).await.unwrap(), []);
        assert_eq!(blobs.list_older_than(at(1_500)).await.unwrap(), [old]);
        assert_eq!(blobs.list_older_than(at(3_000)).await.unwrap(), [old, new]);

        blobs.delete(old).await.unwrap();
        blobs.delete(old).await.unwrap();
        assert!(matches!(blobs.get(old).await, Err(BlobError::Missing(id)) if id == old));
        assert_eq!(blobs.list_older_than(at(3_000)).await.unwrap(), [new]);
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
}
