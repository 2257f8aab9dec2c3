//! The sample organisation and the sample mails, for the demo and the tests.

/// The organisation file. [`TOKEN_ENDPOINT`], [`GRAPH_URL`] and [`SECRET`] stand for the simulator's.
pub const ORGANIZATION: &str = include_str!("../samples/organization.yaml");
/// The token endpoint in [`ORGANIZATION`].
pub const TOKEN_ENDPOINT: &str = "http://127.0.0.1:1/11111111-1111-1111-1111-111111111111/oauth2/v2.0/token";
/// Graph's address in [`ORGANIZATION`].
pub const GRAPH_URL: &str = "http://127.0.0.1:1/graph";
/// The reference to the client secret in [`ORGANIZATION`].
pub const SECRET: &str = "file:graph-secret";

/// A sample mail and the address it is delivered to.
pub struct SampleMail {
    /// Address of the mailbox.
    pub to: &'static str,
    /// The mail's bytes.
    pub mime: &'static [u8],
}

macro_rules! mails {
    ($($to:literal: $file:literal,)*) => {
        &[$(SampleMail { to: concat!($to, "@contoso.example"), mime: include_bytes!(concat!("../samples/", $file)) },)*]
    };
}

/// The sample mails in the order of their arrival.
pub const MAILS: &[SampleMail] = mails! {
    "support": "plain.eml",
    "support": "inline-picture.eml",
    "billing": "attachments.eml",
    "support": "japanese-iso-2022-jp.eml",
    "sales": "japanese-utf-8.eml",
    "support": "thread-reply.eml",
    "sales": "out-of-office.eml",
};

/// The mail with a Message-ID of its own, so that it may arrive again: without
/// references, else it would join the conversation of its first arrival.
pub fn renewed(mime: &[u8], word: &str) -> Vec<u8> {
    let text = String::from_utf8_lossy(mime);
    let (head, body) = text.split_once("\r\n\r\n").or_else(|| text.split_once("\n\n")).unwrap_or((&text, ""));
    let mut kept = String::new();
    let mut dropping = false;
    for line in head.lines() {
        let folded = line.starts_with([' ', '\t']);
        if !folded {
            let name = line.split(':').next().unwrap_or_default().to_ascii_lowercase();
            dropping = matches!(name.as_str(), "message-id" | "in-reply-to" | "references" | "date");
        }
        if !dropping {
            kept.push_str(line);
            kept.push_str("\r\n");
        }
    }
    format!("Message-ID: <{word}@customer.example>\r\n{kept}\r\n{body}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_renewed_mail_keeps_all_but_its_names() {
        let mail = b"From: a@b.example\nMessage-ID: <old@b.example>\nReferences: <x@y>\n <z@y>\nSubject: S\n\nText\n\nMore\n";
        let renewed = String::from_utf8(renewed(mail, "new")).unwrap();
        assert_eq!(
            renewed,
            "Message-ID: <new@customer.example>\r\nFrom: a@b.example\r\nSubject: S\r\n\r\nText\n\nMore\n"
        );
    }
}
