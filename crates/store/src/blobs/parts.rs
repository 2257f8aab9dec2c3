//! Files of objects that are half written: `<name>#<number>` beside where the object is to stand.
//!
//! The object store makes and renames them and hides them from its lists, so those that a killed
//! process left are found here.

use std::{ffi::OsStr, io, path::Path};

use tokio::fs;

/// The names of the objects of which something is half written below `folder`.
pub(super) async fn list(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    let mut folders = fs::read_dir(folder).await?;
    while let Some(entry) = folders.next_entry().await? {
        if entry.file_type().await?.is_dir() {
            names.extend(read(&entry.path()).await?.into_iter().map(|(name, _)| name));
        }
    }
    Ok(names)
}

/// Deletes what is half written of the object that is to stand at `path`.
pub(super) async fn delete(path: &Path) -> io::Result<()> {
    let Some(folder) = path.parent() else { return Ok(()) };
    for (name, file) in read(folder).await? {
        if path.file_name() == Some(OsStr::new(&name)) {
            match fs::remove_file(folder.join(file)).await {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
    Ok(())
}

/// The half-written files of one folder: the object's name and the file's.
async fn read(folder: &Path) -> io::Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    let mut files = match fs::read_dir(folder).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        files => files?,
    };
    while let Some(entry) = files.next_entry().await? {
        if let Ok(file) = entry.file_name().into_string()
            && let Some((name, _)) = file.split_once('#')
        {
            found.push((name.to_owned(), file.clone()));
        }
    }
    Ok(found)
}
