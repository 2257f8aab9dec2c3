use std::{fs, path::Path};

use aws_lc_rs::digest::digest;
use postroom_model::Entropy;
use proptest::prelude::*;

use super::*;
use crate::{Db, DbConfig, SqliteMode, blobs::Blobs, seal::Keys};

const CONTEXT: &str = "message/1/mime";

fn entropy() -> Entropy {
    let mut state = 1_u64;
    Entropy::new(move |buffer| {
        for byte in buffer {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *byte = state.to_be_bytes()[0];
        }
    })
}

async fn store(folder: &Path) -> Store {
    let config = DbConfig::Sqlite { path: folder.join("postroom.db"), mode: SqliteMode::Inline };
    let db = Db::open(&config).await.unwrap();
    let blobs = Blobs::files(&folder.join("blobs")).unwrap();
    Store::new(db, blobs, Keys::generate(&entropy()), entropy())
}

async fn write(store: &Store, plain: &[u8], piece: usize) -> Written {
    let mut writer = store.write_content(CONTEXT, Timestamp::UNIX_EPOCH).unwrap();
    for piece in plain.chunks(piece) {
        writer.write(piece).await.unwrap();
    }
    writer.finish().await.unwrap()
}

/// The files below a folder.
fn files(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries.map(|entry| if entry.path().is_dir() { files(&entry.path()) } else { 1 }).sum()
}

fn sizes() -> impl Strategy<Value = usize> {
    prop_oneof![
        0..100_usize,
        INLINE_LIMIT - 300..INLINE_LIMIT + 10,
        PIECE - 1000..PIECE + 1000,
        2 * PIECE..3 * PIECE
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn content_in_any_pieces_opens_to_the_same_with_its_size_and_digest(
        size in sizes(),
        piece in prop_oneof![200..2_000_usize, 10_000..2_000_000_usize],
    ) {
        let plain: Vec<u8> = (0..size).map(|place| (place % 251) as u8).collect();
        tokio::runtime::Runtime::new().unwrap().block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let store = store(folder.path()).await;
            let written = write(&store, &plain, piece).await;
            assert_eq!(written.size, size as u64);
            assert_eq!(written.sha256.as_ref(), digest(&SHA256, &plain).as_ref());
            assert!(store.open_content(CONTEXT, &written.content).await.unwrap() == plain);
            // As before: what is sealed in up to 16 KiB is for the row and leaves no file.
            let sealed = seal::seal(&store.keys, &entropy(), CONTEXT, &plain).unwrap().len();
            let inline = matches!(written.content, Content::Inline(_));
            assert_eq!((inline, files(&folder.path().join("blobs"))), (sealed <= INLINE_LIMIT, usize::from(sealed > INLINE_LIMIT)));
            store.db.close().await;
        });
    }
}

#[tokio::test]
async fn content_that_breaks_off_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path()).await;
    let blobs = folder.path().join("blobs");
    let mut writer = store.write_content(CONTEXT, Timestamp::UNIX_EPOCH).unwrap();
    writer.write(&vec![1; 5 * PIECE]).await.unwrap();
    assert_eq!(files(&blobs), 1);
    drop(writer);
    // The file is removed on the blocking pool.
    while files(&blobs) > 0 {
        tokio::task::yield_now().await;
    }
    store.db.close().await;
}

#[tokio::test]
async fn content_on_its_way_holds_no_more_than_a_piece() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path()).await;
    let mut writer = store.write_content(CONTEXT, Timestamp::UNIX_EPOCH).unwrap();
    for _ in 0..400 {
        writer.write(&[7; 50_000]).await.unwrap();
        assert!(writer.sealed.capacity() <= 2 * PIECE, "{}", writer.sealed.capacity());
    }
    let written = writer.finish().await.unwrap();
    assert_eq!(written.size, 20_000_000);
    store.db.close().await;
}
