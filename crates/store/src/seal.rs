//! Seals content so that it can be read only with a key of the key file.
//!
//! Called by `content` and whoever keeps credentials. Each object has a data key
//! of its own (AES-256-GCM), wrapped by a named key. Content is cut into chunks;
//! each chunk's nonce is its number and whether it is the last, and each is bound
//! to the object's context, so that a change, a cut, another order, and an object
//! put in another's place are all noticed.
//!
//! Layout: version (1 byte), length of the key's name (1), the name, nonce (12),
//! wrapped data key (32 + 16), then chunks of 64 KiB (the last: 0 to 64 KiB) with 16
//! bytes of tag each. Everything before the nonce is bound to the wrapped key.

mod keys;

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    error::Unspecified,
};
use postroom_model::Entropy;
use zeroize::{Zeroize, Zeroizing};

pub use self::keys::{KeyFileError, Keys};

const VERSION: u8 = 1;
const KEY_LEN: usize = 32;
const TAG_LEN: usize = 16;
const CHUNK: usize = 64 * 1024;
const SEALED_CHUNK: usize = CHUNK + TAG_LEN;

/// Content could not be sealed or opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// A later version of the program sealed it.
    #[error("sealed in form {0}, which this program does not know; start the newer program")]
    Version(u8),
    /// It was sealed with a key that is not in the key file.
    #[error("sealed with the key \"{name}\", which the key file does not hold")]
    UnknownKey {
        /// The key's name.
        name: String,
    },
    /// The key of that name is another one, or the first bytes are damaged.
    #[error(
        "the key \"{name}\" of the key file does not fit; it is another one than sealed this, or the object is damaged"
    )]
    WrongKey {
        /// The key's name.
        name: String,
    },
    /// Bytes are not those that were sealed here: changed, in another order, or of another object.
    #[error("chunk {chunk} is damaged, or the object belongs in another place")]
    Damaged {
        /// Which chunk of 64 KiB, from 0.
        chunk: u64,
    },
    /// The end is missing.
    #[error("the end of the object is missing")]
    Truncated,
    /// The cipher itself failed.
    #[error("the cipher failed")]
    Cipher,
}

/// Seals `plain` for `context`, such as `message/msg_…/mime`, with the current key.
///
/// # Errors
/// [`SealError::Cipher`] only.
pub fn seal(keys: &Keys, entropy: &Entropy, context: &str, plain: &[u8]) -> Result<Vec<u8>, SealError> {
    let mut sealer = Sealer::new(keys, entropy, context)?;
    let mut sealed = Vec::with_capacity(plain.len() + TAG_LEN * (plain.len() / CHUNK + 8) + KEY_LEN);
    sealer.update(plain, &mut sealed)?;
    sealer.finish(&mut sealed)?;
    Ok(sealed)
}

/// Opens what was sealed for the same `context`.
///
/// # Errors
/// Unless `sealed` is exactly what [`seal`] gave, with a key of the same name and bytes.
pub fn open(keys: &Keys, context: &str, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
    let mut opener = Opener::new(keys, context);
    let mut plain = Vec::with_capacity(sealed.len());
    opener.update(sealed, &mut plain)?;
    opener.finish(&mut plain)?;
    Ok(plain)
}

/// Seals content that comes piece by piece.
pub struct Sealer {
    chunks: Chunks,
    header: Vec<u8>,
    /// What may be the last chunk: never more than one.
    held: Zeroizing<Vec<u8>>,
}

impl Sealer {
    /// Begins an object.
    ///
    /// # Errors
    /// [`SealError::Cipher`] only.
    pub fn new(keys: &Keys, entropy: &Entropy, context: &str) -> Result<Self, SealError> {
        let current = keys.current();
        let mut data_key = Zeroizing::new(entropy.bytes::<KEY_LEN>());
        let chunks = Chunks::new(&data_key, context)?;

        let name = current.name.as_bytes();
        let name_len = u8::try_from(name.len()).expect("the key file refuses names of more than 64 bytes");
        let mut header = vec![VERSION, name_len];
        header.extend_from_slice(name);
        let nonce = entropy.bytes::<NONCE_LEN>();
        let tag = current
            .cipher
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(header.as_slice()),
                data_key.as_mut(),
            )
            .map_err(cipher_failed)?;
        header.extend_from_slice(&nonce);
        header.extend_from_slice(data_key.as_ref());
        header.extend_from_slice(tag.as_ref());
        Ok(Self { chunks, header, held: Zeroizing::new(Vec::new()) })
    }

    /// Takes more content and adds to `sealed` what is complete.
    ///
    /// # Errors
    /// [`SealError::Cipher`] only.
    pub fn update(&mut self, mut plain: &[u8], sealed: &mut Vec<u8>) -> Result<(), SealError> {
        sealed.append(&mut self.header);
        while self.held.len() + plain.len() > CHUNK {
            let (fitting, rest) = plain.split_at(CHUNK - self.held.len());
            self.held.extend_from_slice(fitting);
            self.chunks.seal(false, &self.held, sealed)?;
            self.held.clear();
            plain = rest;
        }
        self.held.extend_from_slice(plain);
        Ok(())
    }

    /// Ends the object.
    ///
    /// # Errors
    /// [`SealError::Cipher`] only.
    pub fn finish(mut self, sealed: &mut Vec<u8>) -> Result<(), SealError> {
        sealed.append(&mut self.header);
        self.chunks.seal(true, &self.held, sealed)
    }
}

/// Opens content that comes piece by piece.
///
/// What it gives is genuine and in order, but only [`Opener::finish`] says that
/// nothing is missing.
pub struct Opener<'a> {
    keys: &'a Keys,
    context: &'a str,
    /// Absent until the header is complete.
    chunks: Option<Chunks>,
    held: Vec<u8>,
}

impl<'a> Opener<'a> {
    /// Begins to open an object that was sealed for `context`.
    pub fn new(keys: &'a Keys, context: &'a str) -> Self {
        Self { keys, context, chunks: None, held: Vec::new() }
    }

    /// Takes more of the object and adds to `plain` what could be opened.
    ///
    /// # Errors
    /// As [`open`], except that a missing end does not show yet.
    pub fn update(&mut self, sealed: &[u8], plain: &mut Vec<u8>) -> Result<(), SealError> {
        self.held.extend_from_slice(sealed);
        let mut at = 0;
        if self.chunks.is_none() {
            let Some((chunks, header_len)) = read_header(self.keys, self.context, &self.held)? else {
                return Ok(());
            };
            self.chunks = Some(chunks);
            at = header_len;
        }
        if let Some(chunks) = &mut self.chunks {
            // A chunk that may be the last is held until more comes.
            while self.held.len() - at > SEALED_CHUNK {
                chunks.open(false, &self.held[at..at + SEALED_CHUNK], plain)?;
                at += SEALED_CHUNK;
            }
        }
        self.held.drain(..at);
        Ok(())
    }

    /// Opens the last chunk.
    ///
    /// # Errors
    /// As [`open`].
    pub fn finish(self, plain: &mut Vec<u8>) -> Result<(), SealError> {
        let mut chunks = self.chunks.ok_or(SealError::Truncated)?;
        if self.held.len() < TAG_LEN {
            return Err(SealError::Truncated);
        }
        chunks.open(true, &self.held, plain).map_err(|error| {
            // A sound chunk that is not the last one tells a cut from damage.
            match chunks.open(false, &self.held, &mut Vec::new()) {
                Ok(()) => SealError::Truncated,
                Err(_) => error,
            }
        })
    }
}

/// The data key of one object and the number of its next chunk.
struct Chunks {
    cipher: LessSafeKey,
    context: Vec<u8>,
    next: u64,
}

impl Chunks {
    fn new(data_key: &[u8; KEY_LEN], context: &str) -> Result<Self, SealError> {
        Ok(Self { cipher: cipher(data_key)?, context: context.as_bytes().to_vec(), next: 0 })
    }

    /// Each chunk of an object has another nonce, and each object another key.
    fn nonce(&self, last: bool) -> Nonce {
        let mut nonce = [0; NONCE_LEN];
        nonce[0] = u8::from(last);
        nonce[NONCE_LEN - 8..].copy_from_slice(&self.next.to_be_bytes());
        Nonce::assume_unique_for_key(nonce)
    }

    fn seal(&mut self, last: bool, plain: &[u8], sealed: &mut Vec<u8>) -> Result<(), SealError> {
        let start = sealed.len();
        sealed.extend_from_slice(plain);
        let context = Aad::from(self.context.as_slice());
        let outcome = self.cipher.seal_in_place_separate_tag(self.nonce(last), context, &mut sealed[start..]);
        match outcome {
            Ok(tag) => sealed.extend_from_slice(tag.as_ref()),
            Err(error) => {
                sealed[start..].zeroize();
                return Err(cipher_failed(error));
            }
        }
        self.next += 1;
        Ok(())
    }

    fn open(&mut self, last: bool, sealed: &[u8], plain: &mut Vec<u8>) -> Result<(), SealError> {
        let (content, tag) = sealed.split_at(sealed.len() - TAG_LEN);
        let start = plain.len();
        plain.resize(start + content.len(), 0);
        let context = Aad::from(self.context.as_slice());
        let opened =
            self.cipher.open_separate_gather(self.nonce(last), context, content, tag, &mut plain[start..]);
        if opened.is_err() {
            plain.truncate(start);
            return Err(SealError::Damaged { chunk: self.next });
        }
        self.next += 1;
        Ok(())
    }
}

/// The data key and the header's length; nothing if there are not enough bytes yet.
fn read_header(keys: &Keys, context: &str, held: &[u8]) -> Result<Option<(Chunks, usize)>, SealError> {
    match held.first() {
        None => return Ok(None),
        Some(&VERSION) => {}
        Some(&other) => return Err(SealError::Version(other)),
    }
    let Some(name_len) = held.get(1).map(|&len| usize::from(len)) else { return Ok(None) };
    let bound_len = 2 + name_len;
    let header_len = bound_len + NONCE_LEN + KEY_LEN + TAG_LEN;
    let Some(header) = held.get(..header_len) else { return Ok(None) };
    let (bound, wrapped) = header.split_at(bound_len);
    let (nonce, wrapped) = wrapped.split_at(NONCE_LEN);
    let (wrapped, tag) = wrapped.split_at(KEY_LEN);

    let name = String::from_utf8_lossy(&bound[2..]).into_owned();
    let Some(key) = keys.find(&name) else { return Err(SealError::UnknownKey { name }) };
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(cipher_failed)?;
    let mut data_key = Zeroizing::new([0; KEY_LEN]);
    key.cipher
        .open_separate_gather(nonce, Aad::from(bound), wrapped, tag, data_key.as_mut())
        .map_err(|_: Unspecified| SealError::WrongKey { name })?;
    Ok(Some((Chunks::new(&data_key, context)?, header_len)))
}

fn cipher(key: &[u8; KEY_LEN]) -> Result<LessSafeKey, SealError> {
    UnboundKey::new(&AES_256_GCM, key).map(LessSafeKey::new).map_err(cipher_failed)
}

fn cipher_failed(_: Unspecified) -> SealError {
    SealError::Cipher
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Bytes of a small generator: other ones each time, the same in each run.
    fn entropy(seed: u64) -> Entropy {
        let mut state = seed;
        Entropy::new(move |buffer| {
            for byte in buffer {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                *byte = state.to_be_bytes()[0];
            }
        })
    }

    fn keys() -> Keys {
        Keys::generate(&entropy(1))
    }

    const HEADER: usize = 2 + 12 + NONCE_LEN + KEY_LEN + TAG_LEN;

    fn content() -> impl Strategy<Value = Vec<u8>> {
        let len =
            prop_oneof![0..100_usize, (CHUNK - 2..CHUNK + 3), (2 * CHUNK - 2..2 * CHUNK + 3), 0..4 * CHUNK,];
        (len, any::<u8>()).prop_map(|(len, salt)| (0..len).map(|place| (place % 251) as u8 ^ salt).collect())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_was_sealed_opens_to_the_same(plain in content(), seed: u64) {
            let sealed = seal(&keys(), &entropy(seed), "message/1", &plain).unwrap();
            prop_assert_eq!(open(&keys(), "message/1", &sealed).unwrap(), plain);
        }

        #[test]
        fn pieces_of_any_size_give_the_same(plain in content(), piece in 1..100_000_usize) {
            let whole = seal(&keys(), &entropy(2), "c", &plain).unwrap();
            let mut sealer = Sealer::new(&keys(), &entropy(2), "c").unwrap();
            let mut sealed = Vec::new();
            for piece in plain.chunks(piece) {
                sealer.update(piece, &mut sealed).unwrap();
            }
            sealer.finish(&mut sealed).unwrap();
            prop_assert!(sealed == whole);

            let keys = keys();
            let mut opener = Opener::new(&keys, "c");
            let mut opened = Vec::new();
            for piece in sealed.chunks(piece) {
                opener.update(piece, &mut opened).unwrap();
            }
            opener.finish(&mut opened).unwrap();
            prop_assert!(opened == plain);
        }

        #[test]
        fn any_changed_bit_is_noticed(plain in content(), place: prop::sample::Index, bit in 0..8_u8) {
            let mut sealed = seal(&keys(), &entropy(3), "c", &plain).unwrap();
            let place = place.index(sealed.len());
            sealed[place] ^= 1 << bit;
            prop_assert!(open(&keys(), "c", &sealed).is_err());
        }

        #[test]
        fn any_cut_is_noticed(plain in content(), place: prop::sample::Index) {
            let sealed = seal(&keys(), &entropy(4), "c", &plain).unwrap();
            let rest = &sealed[..place.index(sealed.len())];
            prop_assert!(open(&keys(), "c", rest).is_err());
        }
    }

    #[test]
    fn a_cut_between_chunks_is_told_from_damage() {
        let sealed = seal(&keys(), &entropy(5), "c", &vec![7; 3 * CHUNK]).unwrap();
        let cut = &sealed[..HEADER + 2 * SEALED_CHUNK];
        assert_eq!(open(&keys(), "c", cut), Err(SealError::Truncated));
        assert_eq!(open(&keys(), "c", &sealed[..HEADER]), Err(SealError::Truncated));
        assert_eq!(open(&keys(), "c", &sealed[..5]), Err(SealError::Truncated));
        assert_eq!(open(&keys(), "c", b""), Err(SealError::Truncated));
    }

    #[test]
    fn chunks_in_another_order_or_more_of_them_are_noticed() {
        let sealed = seal(&keys(), &entropy(6), "c", &vec![7; 3 * CHUNK]).unwrap();
        let chunk =
            |number: usize| &sealed[HEADER + number * SEALED_CHUNK..HEADER + (number + 1) * SEALED_CHUNK];
        let swapped = [&sealed[..HEADER], chunk(1), chunk(0), chunk(2)].concat();
        assert_eq!(open(&keys(), "c", &swapped), Err(SealError::Damaged { chunk: 0 }));
        let repeated = [&sealed[..HEADER], chunk(0), chunk(1), chunk(1), chunk(2)].concat();
        assert_eq!(open(&keys(), "c", &repeated), Err(SealError::Damaged { chunk: 2 }));
        let continued = [&sealed, chunk(2)].concat();
        assert_eq!(open(&keys(), "c", &continued), Err(SealError::Damaged { chunk: 2 }));
    }

    #[test]
    fn another_place_and_another_key_are_refused() {
        let sealed = seal(&keys(), &entropy(7), "message/1", b"secret").unwrap();
        assert_eq!(open(&keys(), "message/2", &sealed), Err(SealError::Damaged { chunk: 0 }));
        let stranger = Keys::generate(&entropy(8));
        assert!(matches!(open(&stranger, "message/1", &sealed), Err(SealError::UnknownKey { .. })));
        let mut newer = sealed.clone();
        newer[0] = 9;
        assert_eq!(open(&keys(), "message/1", &newer), Err(SealError::Version(9)));
    }

    #[test]
    fn nothing_of_the_content_shows_and_no_two_seals_are_alike() {
        let plain = b"the same words, and the same words again".repeat(10);
        let source = entropy(9);
        let (first, second) =
            (seal(&keys(), &source, "c", &plain).unwrap(), seal(&keys(), &source, "c", &plain).unwrap());
        assert_ne!(first[HEADER..], second[HEADER..]);
        assert!(!first.windows(14).any(|window| window == b"the same words"));
    }
}
