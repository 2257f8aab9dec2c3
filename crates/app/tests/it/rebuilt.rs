//! Mails whose bytes Microsoft can't give: put together from what it tells of them,
//! marked as such, and otherwise taken like all others.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use postroom_app::world::World;
use postroom_mail::{Mail, attachment_bytes, parse};
use postroom_model::ledger::{MessageState, Reason, Step};
use postroom_store::{
    content::message_context,
    messages::{self, Message},
    trace, users,
};
use serde_json::json;

use crate::{
    laws::{Delivered, deliver, ledger, pause},
    real_mail::mails,
    take_in::world,
};

const SUPPORT: &str = "support@contoso.example";

async fn stored(world: &World, row: &Message) -> anyhow::Result<Vec<u8>> {
    let store = world.engine().store();
    let (content, _) = messages::find_content(&store.db, row.id).await?.context("it has no content")?;
    Ok(store.open_content(&message_context(row.id), &content).await?)
}

async fn row_of(world: &World, mail: &Delivered) -> anyhow::Result<Message> {
    let rows = ledger(world.db()).await?;
    let mut rows = rows.into_iter().filter(|row| row.graph_id == mail.graph_id);
    let row = rows.next().context("a mail is lost")?;
    ensure!(rows.next().is_none(), "a mail stands twice");
    Ok(row)
}

/// The bytes of each attachment that is no mail.
fn files(mime: &[u8], mail: &Mail) -> Vec<Vec<u8>> {
    let files = mail.attachments.iter().filter(|file| file.content_type != "message/rfc822");
    let mut files: Vec<_> =
        files.filter_map(|file| attachment_bytes(mime, file.index)).map(|(_, bytes)| bytes).collect();
    files.sort();
    files
}

fn with_file(subject: &str, file: &str) -> String {
    format!(
        "From: 山田 <taro@customer.example>\r\nTo: support@contoso.example\r\nSubject: {subject}\r\n\
         Message-ID: <{subject}@customer.example>\r\nDate: Mon, 2 Nov 2026 10:00:00 +0900\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/html; charset=utf-8\r\n\r\n\
         <p>請求書を送ります <img src=\"cid:logo\"></p>\r\n--b\r\nContent-Type: image/png\r\nContent-ID: <logo>\r\n\
         Content-Disposition: inline; filename=logo.png\r\nContent-Transfer-Encoding: base64\r\n\r\niVBORw0KGgo=\r\n\
         --b\r\nContent-Type: application/pkcs7-mime; name=smime.p7m\r\nContent-Transfer-Encoding: base64\r\n\
         Content-Disposition: attachment; filename=smime.p7m\r\n\r\n{file}\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n\
         From: a@x.example\r\nSubject: inner\r\n\r\ninside\r\n--b--\r\n"
    )
}

#[tokio::test(start_paused = true)]
async fn mails_whose_bytes_can_not_be_had_are_rebuilt_and_marked() -> anyhow::Result<()> {
    let world = world().await?;
    pause(10).await;
    world.simulator.set_switch("value.broken_rate", json!(1.0))?;
    let signed = deliver(&world, SUPPORT, with_file("signed", "MIIBszCC"));
    pause(3).await;
    world.simulator.set_switch("value.broken_rate", json!(0.0))?;
    let whole = deliver(&world, SUPPORT, with_file("whole", "MIIBszCC"));
    pause(5).await;
    world.settle().await?;

    let row = row_of(&world, &signed).await?;
    ensure!(row.state == MessageState::Routed && row.rebuilt && row.touched_at.is_some(), "{row:?}");
    let story = trace::list_of_message(world.db(), row.id).await?;
    let how: Vec<_> =
        story.iter().filter(|entry| entry.step == Step::Stored).map(|entry| entry.reason).collect();
    ensure!(how == [Reason::Rebuilt], "{how:?}");
    let mime = stored(&world, &row).await?;
    let (mail, told) = (parse(&mime), parse(&signed.mime));
    ensure!((&mail.subject, &mail.from) == (&told.subject, &told.from), "{mail:?}");
    ensure!((&mail.message_id, mail.date) == (&told.message_id, told.date), "{mail:?}");
    ensure!(mail.html.as_deref().is_some_and(|html| html.contains("請求書を送ります")), "{:?}", mail.html);
    ensure!(files(&mime, &mail) == files(&signed.mime, &told), "an attachment differs");
    ensure!(mail.attachments.iter().any(|file| file.content_id.as_deref() == Some("logo") && file.inline));
    ensure!(
        mail.attachments.iter().any(|file| file.content_type == "message/rfc822"),
        "{:?}",
        mail.attachments
    );

    // The next one can be had and is as it was given.
    ensure!(!row_of(&world, &whole).await?.rebuilt, "it was rebuilt without need");
    world.assert_quiet().await
}

#[tokio::test(start_paused = true)]
async fn every_mail_of_the_test_data_can_be_rebuilt() -> anyhow::Result<()> {
    let Some(mails) = mails("every_mail_of_the_test_data_can_be_rebuilt") else { return Ok(()) };
    let world = world().await?;
    pause(10).await;
    world.simulator.set_switch("value.broken_rate", json!(1.0))?;
    let delivered: Vec<_> =
        mails.into_iter().map(|(path, mime)| (path, deliver(&world, SUPPORT, mime))).collect();
    pause(60).await;
    world.settle().await?;
    for (path, one) in &delivered {
        let row = row_of(&world, one).await?;
        ensure!(row.state == MessageState::Routed && row.rebuilt, "{}: {row:?}", path.display());
        let mime = stored(&world, &row).await?;
        let (mail, told) = (parse(&mime), parse(&one.mime));
        // Microsoft tells addresses of the internet only.
        let address = |mail: &Mail| {
            let address = mail.from.as_ref().map(|from| from.address.to_lowercase());
            address.filter(|address| !address.ends_with(".invalid"))
        };
        ensure!(address(&mail) == address(&told), "{}: {:?} {:?}", path.display(), mail.from, told.from);
        ensure!(files(&mime, &mail) == files(&one.mime, &told), "{}: an attachment differs", path.display());
    }
    world.assert_quiet().await
}

#[tokio::test(start_paused = true)]
async fn a_mail_for_which_the_gateway_has_no_time_is_rebuilt_from_its_parts() -> anyhow::Result<()> {
    let world = world().await?;
    pause(10).await;
    // The whole is too long for the gateway; each part of it is not.
    world.simulator.set_switch("gateway.timeout_bytes", json!(60_000))?;
    let half = "AAAA".repeat(10_000);
    let long = with_file("long", &half).replace("iVBORw0KGgo=", &half);
    let long = deliver(&world, SUPPORT, long);
    let longer = deliver(&world, SUPPORT, with_file("longer", &half.repeat(3)));
    let awaited = deliver(&world, SUPPORT, with_file("awaited", &half.repeat(3)));
    pause(180).await;
    let row = row_of(&world, &long).await?;
    ensure!(row.state == MessageState::Routed && row.rebuilt, "{row:?}");
    // What can't be had in any way is held with the reason; the mailbox goes on.
    let row = row_of(&world, &longer).await?;
    ensure!(row.state == MessageState::Held && row.reason == Reason::TooManyTries, "{row:?}");
    ensure!(row.detail.as_deref().is_some_and(|detail| detail.contains("504")), "{row:?}");
    let short = deliver(&world, SUPPORT, with_file("short", "MIIBszCC"));
    pause(5).await;
    ensure!(!row_of(&world, &short).await?.rebuilt, "it was rebuilt without need");
    // It is tried each hour, without a word more in its story, and taken once it can be had.
    pause(5 * 60).await;
    let story = trace::list_of_message(world.db(), row.id).await?;
    ensure!(story.iter().filter(|entry| entry.step == Step::Held).count() == 1, "{story:?}");
    world.simulator.set_switch("gateway.timeout_bytes", json!(0))?;
    // Nobody has to wait for the hour.
    let admin = users::find_by_email(world.db(), "admin@contoso.example").await?.context("no admin")?;
    world.engine().release(&admin, row_of(&world, &awaited).await?.id).await?;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let row = row_of(&world, &awaited).await?;
    ensure!(row.state == MessageState::Routed, "{row:?}");
    pause(75).await;
    let row = row_of(&world, &longer).await?;
    ensure!(row.state == MessageState::Routed && !row.rebuilt, "{row:?}");
    world.assert_quiet().await
}
