use encoding_rs::{EUC_JP, ISO_2022_JP, SHIFT_JIS};
use proptest::prelude::*;

use super::*;
use crate::{AutomaticKind, attachment_bytes};

#[test]
fn a_plain_mail_is_read() {
    let mail = parse(
        b"From: Ann Example <ann@customer.example>\r\nTo: Support <support@contoso.example>, b@x.example\r\n\
          Cc: c@x.example\r\nReply-To: desk@customer.example\r\nSubject: Printer\r\nMessage-ID: <3@customer.example>\r\n\
          In-Reply-To: <2@x>\r\nReferences: <1@x> <2@x>\r\nDate: Mon, 2 Mar 2026 10:00:00 +0100\r\n\
          Delivered-To: billing@contoso.example\r\n\r\nIt smokes.\r\n",
    );
    assert_eq!(
        mail.from,
        Some(Mailbox { name: Some("Ann Example".into()), address: "ann@customer.example".into() })
    );
    assert_eq!(mail.to.len(), 2);
    assert_eq!(mail.cc[0].address, "c@x.example");
    assert_eq!(mail.reply_to[0].address, "desk@customer.example");
    assert_eq!((mail.subject.as_str(), mail.text.trim()), ("Printer", "It smokes."));
    assert_eq!(mail.message_id.as_deref(), Some("3@customer.example"));
    assert_eq!(
        (mail.in_reply_to, mail.references),
        (vec!["2@x".to_owned()], vec!["1@x".to_owned(), "2@x".to_owned()])
    );
    assert_eq!(mail.delivered_to, ["billing@contoso.example"]);
    assert_eq!(mail.date.map(|date| date.to_string()).as_deref(), Some("2026-03-02T09:00:00Z"));
    assert_eq!(mail.problems, []);
}

#[test]
fn what_is_missing_is_named() {
    let mail = parse(b"Subject: x\r\n\r\n");
    assert_eq!(mail.problems, [Problem::NoFrom, Problem::NoMessageId, Problem::BadDate]);
    assert!(parse(b"").problems.contains(&Problem::NoFrom));
}

/// A Japanese mail in a character set, with the declaration given.
fn japanese(set: &'static encoding_rs::Encoding, declared: &str) -> Vec<u8> {
    let text = "お世話になっております。\r\nプリンターの件でご連絡しました。ｶﾅ\r\n";
    let (body, _, _) = set.encode(text);
    let mut mail = format!(
        "From: ann@customer.example\r\nMessage-ID: <1@x>\r\nDate: Mon, 2 Mar 2026 10:00:00 +0100\r\n\
         Content-Type: text/plain; charset={declared}\r\nSubject: x\r\n\r\n"
    )
    .into_bytes();
    mail.extend_from_slice(&body);
    mail
}

#[test]
fn japanese_is_read_in_each_of_its_character_sets() {
    for (set, declared) in [(SHIFT_JIS, "Shift_JIS"), (EUC_JP, "EUC-JP")] {
        let mail = parse(&japanese(set, declared));
        assert!(mail.text.contains("プリンターの件でご連絡しました。ｶﾅ"), "{declared}: {}", mail.text);
        assert_eq!(mail.problems, []);
    }
    let mail = parse(&japanese(ISO_2022_JP, "ISO-2022-JP"));
    assert!(mail.text.contains("プリンターの件でご連絡しました。"), "{}", mail.text);
}

#[test]
fn a_character_set_that_is_a_lie_is_found_out() {
    for set in [SHIFT_JIS, EUC_JP, ISO_2022_JP] {
        let mail = parse(&japanese(set, "utf-8"));
        assert!(mail.text.contains("プリンターの件でご連絡しました。"), "{}: {}", set.name(), mail.text);
        assert_eq!(mail.problems, [Problem::WrongCharset], "{}", set.name());
    }
}

#[test]
fn japanese_headers_are_read_encoded_or_raw() {
    let encoded = parse(
        b"From: =?ISO-2022-JP?B?GyRCOzNFRBsoQiAbJEJCQE86GyhC?= <yamada@customer.example>\r\n\
          Subject: =?ISO-2022-JP?B?GyRCQEE1YT1xJE43bxsoQg==?=\r\n\r\n",
    );
    assert_eq!(encoded.subject, "請求書の件");
    assert_eq!(encoded.from.and_then(|from| from.name).as_deref(), Some("山田 太郎"));
    for set in [SHIFT_JIS, EUC_JP, ISO_2022_JP] {
        let (subject, _, _) = set.encode("請求書の件");
        let mut raw = b"From: a@b.example\r\nSubject: ".to_vec();
        raw.extend_from_slice(&subject);
        raw.extend_from_slice(b"\r\nMessage-ID: <1@x>\r\n\r\nx\r\n");
        assert_eq!(parse(&raw).subject, "請求書の件", "{}", set.name());
    }
}

#[test]
fn attachments_have_names_that_are_safe_and_never_empty() {
    let mail = b"From: a@b.example\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nText\r\n\
        --b\r\nContent-Type: application/pdf\r\nContent-Disposition: attachment; filename=\"../../etc/p.pdf\"\r\n\
        Content-Transfer-Encoding: base64\r\n\r\nJVBERg==\r\n\
        --b\r\nContent-Type: application/pdf; name=\"=?ISO-2022-JP?B?GyRCQEE1YT1xGyhCLnBkZg==?=\"\r\n\
        Content-Disposition: attachment\r\nContent-Transfer-Encoding: base64\r\n\r\nJVBERg==\r\n\
        --b\r\nContent-Type: image/png\r\nContent-ID: <logo@x>\r\nContent-Transfer-Encoding: base64\r\n\r\nAAEC\r\n\
        --b\r\nContent-Type: message/rfc822\r\n\r\nSubject: Inside\r\n\r\nx\r\n--b--\r\n";
    let read = parse(mail);
    let names: Vec<&str> = read.attachments.iter().map(|attachment| attachment.name.as_str()).collect();
    assert_eq!(names, ["_.._etc_p.pdf", "請求書.pdf", "attachment-3.png", "Inside.eml"]);
    assert!(read.attachments[2].inline && read.attachments[2].content_id.as_deref() == Some("logo@x"));
    let (attachment, bytes) = attachment_bytes(mail, 0).unwrap();
    assert_eq!((attachment.content_type.as_str(), &bytes[..]), ("application/pdf", &b"%PDF"[..]));
    assert!(attachment_bytes(mail, 4).is_none());
}

#[test]
fn a_mail_of_a_machine_is_known_by_its_headers() {
    for (header, kind) in [
        ("Auto-Submitted: auto-replied (vacation)", Some(AutomaticKind::Reply)),
        ("Auto-Submitted: auto-generated", Some(AutomaticKind::Generated)),
        ("Auto-Submitted: no", None),
        ("X-Autoreply: yes", Some(AutomaticKind::Reply)),
        ("Precedence: bulk", Some(AutomaticKind::List)),
        ("List-Id: <news.example>", Some(AutomaticKind::List)),
        ("Return-Path: <>", Some(AutomaticKind::Bounce)),
        (
            "Content-Type: multipart/report; report-type=delivery-status; boundary=b",
            Some(AutomaticKind::Bounce),
        ),
        ("X-Mailer: Postroom", None),
    ] {
        let mail = parse(format!("From: a@b.example\r\n{header}\r\n\r\nx").as_bytes());
        assert_eq!(mail.automatic.map(|automatic| automatic.kind), kind, "{header}");
    }
}

#[test]
fn html_alone_gives_readable_text() {
    let mail = parse(b"From: a@b.example\r\nContent-Type: text/html\r\n\r\n<p>It <b>smokes</b>.</p>");
    assert_eq!(mail.text.trim(), "It smokes.");
    assert!(mail.html.is_some());
}

proptest! {
    #[test]
    fn any_bytes_are_a_mail(bytes in proptest::collection::vec(any::<u8>(), 0..800)) {
        let mail = parse(&bytes);
        prop_assert!(mail.attachments.iter().all(|attachment| !attachment.name.is_empty()));
    }

    #[test]
    fn a_spoiled_mail_is_a_mail(at in 0_usize..700, byte in any::<u8>(), cut in 0_usize..700) {
        let mut mail = japanese(ISO_2022_JP, "ISO-2022-JP");
        mail.extend_from_slice(b"--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n=?utf-8?B?x?=");
        if let Some(spoiled) = mail.get_mut(at) {
            *spoiled = byte;
        }
        mail.truncate(mail.len().saturating_sub(cut));
        for attachment in parse(&mail).attachments {
            prop_assert!(attachment_bytes(&mail, attachment.index).is_some());
        }
    }
}
