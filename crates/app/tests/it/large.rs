//! A mail as large as Exchange lets pass, looked at from outside: the server's memory.

use std::time::Duration;

use anyhow::ensure;
use aws_lc_rs::digest::{SHA256, digest};
use serde_json::Value;

use crate::{
    kills::hex,
    pair::{OTHER, Pair},
};

/// What Exchange Online takes at most.
/// <https://learn.microsoft.com/en-us/office365/servicedescriptions/exchange-online-service-description/exchange-online-limits>
const MAIL: usize = 150 * 1024 * 1024;
/// What one mail on its way in may add to the server's memory, in MB.
const ADDED: f64 = 32.0;

/// A mail with one attachment in base64.
fn large_mail() -> Vec<u8> {
    let mut mail =
        b"Received: from mx.customer.example by mx.contoso.example; Mon, 2 Nov 2026 10:00:00 +0900\r\n\
        From: Ann <ann@customer.example>\r\nTo: other@contoso.example\r\nSubject: Film\r\n\
        Message-ID: <film@customer.example>\r\nMIME-Version: 1.0\r\n\
        Content-Type: application/octet-stream; name=film.bin\r\n\
        Content-Transfer-Encoding: base64\r\n\r\n"
            .to_vec();
    let line = [b"QUJD".repeat(19), b"\r\n".to_vec()].concat();
    while mail.len() + line.len() <= MAIL {
        mail.extend_from_slice(&line);
    }
    mail
}

#[tokio::test]
async fn a_mail_of_150_megabytes_comes_in_and_never_stands_whole_in_memory_on_its_way() -> anyhow::Result<()>
{
    let mut pair = Pair::start(None, 4).await?;
    let mail = large_mail();
    let sha256 = hex(digest(&SHA256, &mail).as_ref());
    let before = pair.peak_mb()?;
    pair.deliver(OTHER, mail).await?;
    let (mut on_its_way, mut looks) = (before, 0);
    pair.until("the mail is stored", async |pair| {
        loop {
            let peak = pair.peak_mb()?;
            // The peak was measured before the state was read: then the mail was still on its way.
            match pair.ledger()?.first() {
                Some(row) if row["state"] != "seen" => return Ok(true),
                Some(_) => (on_its_way, looks) = (peak, looks + 1),
                None => return Ok(false),
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await?;
    ensure!(looks > 4, "the mail came too quickly to be looked at: {looks} times");
    ensure!(on_its_way < before + ADDED, "{before:.0} MB before, {on_its_way:.0} MB on its way");
    pair.until("the mail is routed", async |pair| {
        Ok(pair.ledger()?.first().is_some_and(|row| row["state"] == "routed" && row["marked_read"] == true))
    })
    .await?;
    let rows: Vec<Value> = pair.ledger()?;
    ensure!(rows.len() == 1 && rows[0]["sha256"] == *sha256, "other bytes");
    Ok(())
}
