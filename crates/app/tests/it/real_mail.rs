//! Every mail of the test data through the whole system, on each store.

use std::path::{Path, PathBuf};

use postroom_app::world::{Ground, Plan, World};
use postroom_store::testing::{PostgresDatabase, skip};

use crate::laws::{assert_taken_once, deliver};
use crate::take_in::connected;

/// The mails of the test data, or nothing where they are not.
pub(crate) fn mails(test: &str) -> Option<Vec<(PathBuf, Vec<u8>)>> {
    let folder = match postroom_app::effects::environment("POSTROOM_TEST_DATA") {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"),
    };
    let mut found = Vec::new();
    let mut folders = vec![folder.join("mail")];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.expect("the test data can be listed").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "eml") {
                let bytes = std::fs::read(&path).expect("the test data can be read");
                found.push((path, bytes));
            }
        }
    }
    if found.is_empty() {
        skip(test, "no test data folder");
        return None;
    }
    found.sort();
    Some(found)
}

async fn all_mails_on(test: &str, ground: Ground) -> anyhow::Result<()> {
    let Some(mails) = mails(test) else { return Ok(()) };
    let world = World::start(Plan::sample(ground)).await?;
    connected(&world).await?;
    let delivered: Vec<_> =
        mails.into_iter().map(|(_, mime)| deliver(&world, "support@contoso.example", mime)).collect();
    world
        .until("every mail is read", || async {
            Ok(world.simulator.messages("support@contoso.example")?.iter().all(|message| message.is_read))
        })
        .await?;
    world.settle().await?;
    assert_taken_once(&world, &delivered).await?;
    world.assert_quiet().await
}

#[tokio::test(start_paused = true)]
async fn every_mail_of_the_test_data_on_inline_sqlite() -> anyhow::Result<()> {
    all_mails_on("every_mail_of_the_test_data_on_inline_sqlite", Ground::Virtual).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_mail_of_the_test_data_on_sqlite() -> anyhow::Result<()> {
    all_mails_on("every_mail_of_the_test_data_on_sqlite", Ground::Sqlite).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_mail_of_the_test_data_on_postgres() -> anyhow::Result<()> {
    let test = "every_mail_of_the_test_data_on_postgres";
    let Some(database) = PostgresDatabase::create().await else {
        skip(test, "POSTROOM_TEST_POSTGRES names no PostgreSQL server");
        return Ok(());
    };
    // Fewer connections than jobs at once: nothing may wait for what itself holds up.
    all_mails_on(test, Ground::Postgres(database.config(3))).await?;
    database.drop().await;
    Ok(())
}
