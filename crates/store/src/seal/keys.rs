//! The named keys that wrap every object's own key, and the file they are in.
//!
//! The last key of the file seals, all of them open: a new key is added at the
//! end, an old one stays as long as something is sealed with it.

use std::{
    fmt,
    fs::{File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use aws_lc_rs::{aead::LessSafeKey, hmac};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use postroom_model::Entropy;
use zeroize::Zeroizing;

use super::{KEY_LEN, cipher};

const HEADING: &str = "\
# Keys of Postroom. Without this file nobody can read the sealed mail again:
# back it up now, and not beside the store.
# One key in a line, its name and 256 bits in base64. The last one seals, all open.
";

/// Longest name of a key, in bytes.
const MAX_NAME: usize = 64;

/// The key file can't be read or written.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It can't be read.
    #[error("the key file {path} can't be read")]
    Read {
        /// Where it should be.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// It can't be written; an existing one is never replaced.
    #[error("the key file {path} can't be written")]
    Write {
        /// Where it should be.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// A line is no key.
    #[error("line {line} of the key file {path} is not a name and 32 bytes in base64, or repeats a name")]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// There is no key in it.
    #[error("the key file {path} holds no key; put back the copy you made")]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

/// The keys that wrap other keys. At least one. Cheap to clone; overwritten in memory at the end.
#[derive(Clone)]
pub struct Keys(Arc<Vec<Key>>);

pub(super) struct Key {
    pub(super) name: String,
    bytes: Zeroizing<[u8; KEY_LEN]>,
    pub(super) cipher: LessSafeKey,
}

impl Keys {
    /// One new key.
    pub fn generate(entropy: &Entropy) -> Self {
        let [a, b, c, d] = entropy.bytes();
        let name = format!("key-{a:02x}{b:02x}{c:02x}{d:02x}");
        Self(Arc::new(vec![Key::new(name, Zeroizing::new(entropy.bytes()))]))
    }

    /// Reads a key file.
    ///
    /// # Errors
    /// When it is absent, or anything in it is no key.
    pub fn load(path: &Path) -> Result<Self, KeyFileError> {
        let text = std::fs::read_to_string(path)
            .map(Zeroizing::new)
            .map_err(|cause| KeyFileError::Read { path: path.to_owned(), cause })?;
        let mut keys: Vec<Key> = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line_text = line.trim();
            if line_text.is_empty() || line_text.starts_with('#') {
                continue;
            }
            let key = Key::read(line_text)
                .filter(|key| keys.iter().all(|other| other.name != key.name))
                .ok_or_else(|| KeyFileError::Line { path: path.to_owned(), line: index + 1 })?;
            keys.push(key);
        }
        if keys.is_empty() {
            return Err(KeyFileError::Empty { path: path.to_owned() });
        }
        Ok(Self(Arc::new(keys)))
    }

    /// Writes a new key file that only its owner may read, synced.
    ///
    /// # Errors
    /// When it exists, or can't be written.
    pub fn save(&self, path: &Path) -> Result<(), KeyFileError> {
        let mut text = Zeroizing::new(HEADING.to_owned());
        for key in self.0.iter() {
            text.push_str(&key.name);
            text.push(' ');
            text.push_str(&Zeroizing::new(STANDARD.encode(&key.bytes[..])));
            text.push('\n');
        }
        let write = || {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            // The name must outlive a power failure as well.
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
        };
        write().map_err(|cause| KeyFileError::Write { path: path.to_owned(), cause })
    }

    /// What tells the current key from others without showing it: to be kept in the
    /// store, so that a missing or wrong key is noticed at start.
    pub fn fingerprint(&self) -> String {
        self.current().fingerprint()
    }

    /// Whether one of the keys has this fingerprint.
    pub fn has_fingerprint(&self, fingerprint: &str) -> bool {
        self.0.iter().any(|key| key.fingerprint() == fingerprint)
    }

    pub(super) fn current(&self) -> &Key {
        self.0.last().expect("there is at least one key")
    }

    pub(super) fn find(&self, name: &str) -> Option<&Key> {
        self.0.iter().find(|key| key.name == name)
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|key| &key.name)).finish()
    }
}

impl Key {
    fn new(name: String, bytes: Zeroizing<[u8; KEY_LEN]>) -> Self {
        let cipher = cipher(&bytes).expect("32 bytes are a key of AES-256");
        Self { name, bytes, cipher }
    }

    fn read(line: &str) -> Option<Self> {
        let (name, encoded) = line.split_once(char::is_whitespace)?;
        let decoded = Zeroizing::new(STANDARD.decode(encoded.trim()).ok()?);
        let bytes = <[u8; KEY_LEN]>::try_from(decoded.as_slice()).ok()?;
        (name.len() <= MAX_NAME).then(|| Self::new(name.to_owned(), Zeroizing::new(bytes)))
    }

    fn fingerprint(&self) -> String {
        let tag =
            hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &self.bytes[..]), b"postroom key fingerprint");
        let hex: String = tag.as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{}:{hex}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::{
        super::{SealError, open, seal},
        *,
    };

    fn entropy(seed: u8) -> Entropy {
        let mut next = seed;
        Entropy::new(move |buffer| {
            for byte in buffer {
                next = next.wrapping_mul(13).wrapping_add(7);
                *byte = next;
            }
        })
    }

    #[test]
    fn a_saved_file_loads_is_private_and_is_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        let keys = Keys::generate(&entropy(1));
        keys.save(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(std::fs::read_to_string(&path).unwrap().contains("back it up"));

        let loaded = Keys::load(&path).unwrap();
        assert_eq!(loaded.fingerprint(), keys.fingerprint());
        let sealed = seal(&keys, &entropy(2), "c", b"text").unwrap();
        assert_eq!(open(&loaded, "c", &sealed).unwrap(), b"text");
        assert!(matches!(keys.save(&path), Err(KeyFileError::Write { .. })));
    }

    #[test]
    fn the_last_key_seals_and_the_older_ones_open() {
        let folder = tempfile::tempdir().unwrap();
        let (path, both) = (folder.path().join("old"), folder.path().join("both"));
        let old = Keys::generate(&entropy(1));
        let new = Keys::generate(&entropy(3));
        old.save(&path).unwrap();
        new.save(&both).unwrap();
        let lines = std::fs::read_to_string(&path).unwrap() + &std::fs::read_to_string(&both).unwrap();
        std::fs::write(&both, lines).unwrap();

        let both = Keys::load(&both).unwrap();
        assert_eq!(both.fingerprint(), new.fingerprint());
        assert!(both.has_fingerprint(&old.fingerprint()) && !old.has_fingerprint(&new.fingerprint()));
        let before = seal(&old, &entropy(2), "c", b"text").unwrap();
        assert_eq!(open(&both, "c", &before).unwrap(), b"text");
        let after = seal(&both, &entropy(2), "c", b"text").unwrap();
        assert_eq!(open(&new, "c", &after).unwrap(), b"text");
        assert!(matches!(open(&old, "c", &after), Err(SealError::UnknownKey { .. })));
    }

    #[test]
    fn a_key_of_the_same_name_but_other_bytes_is_told() {
        let keys = Keys::generate(&entropy(1));
        let name = keys.current().name.clone();
        let other = Keys(Arc::new(vec![Key::new(name.clone(), Zeroizing::new([9; KEY_LEN]))]));
        let sealed = seal(&keys, &entropy(2), "c", b"text").unwrap();
        assert_eq!(open(&other, "c", &sealed), Err(SealError::WrongKey { name }));
        assert!(!other.has_fingerprint(&keys.fingerprint()));
    }

    #[test]
    fn what_is_no_key_is_refused_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        let load = |text: &str| {
            std::fs::write(&path, text).unwrap();
            Keys::load(&path).unwrap_err()
        };
        assert!(matches!(load("# only a comment\n"), KeyFileError::Empty { .. }));
        assert!(matches!(load("# heading\n\nname AAAA\n"), KeyFileError::Line { line: 3, .. }));
        let key = STANDARD.encode([1; KEY_LEN]);
        assert!(matches!(load(&format!("a {key}\na {key}\n")), KeyFileError::Line { line: 2, .. }));
        assert!(matches!(Keys::load(&folder.path().join("absent")), Err(KeyFileError::Read { .. })));
    }

    #[test]
    fn debug_shows_names_only() {
        let keys = Keys::generate(&entropy(1));
        let shown = format!("{keys:?}");
        assert!(shown.contains("key-") && shown.len() < 20, "{shown}");
    }
}
