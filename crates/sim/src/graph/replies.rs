//! The drafts that answer or forward a mail, before the client has written anything.
//!
//! Source: <https://learn.microsoft.com/en-us/graph/api/message-createreply>.

use crate::content::{Body, Content, Format, Person};

/// The draft that answers a mail.
pub(crate) fn reply(original: &Content, own: &[String], to_all: bool) -> Content {
    let sender = original.from.clone().or_else(|| original.sender.clone());
    let to =
        if original.reply_to.is_empty() { sender.into_iter().collect() } else { original.reply_to.clone() };
    let is_other = |person: &&Person| {
        !own.contains(&person.address.to_lowercase())
            && !to.iter().any(|first| first.address.eq_ignore_ascii_case(&person.address))
    };
    let others = original.to.iter().chain(&original.cc).filter(is_other).cloned();
    let cc = if to_all { others.collect() } else { Vec::new() };
    Content { to, cc, ..following(original, "RE: ") }
}

/// The draft that passes a mail on, with everything attached to it.
pub(crate) fn forward(original: &Content) -> Content {
    let attached = original.attachments();
    let has_attachments = original.has_attachments;
    Content { attached, has_attachments, ..following(original, "FW: ") }
}

/// What replies and forwards share: thread, subject and the quoted text.
fn following(original: &Content, prefix: &str) -> Content {
    let has_prefix =
        original.subject.get(..3).is_some_and(|start| start.eq_ignore_ascii_case(prefix.trim_end()));
    let prefix = if has_prefix { "" } else { prefix };
    let mut references = original.references.clone();
    references.extend(original.message_id.clone());
    let quoted = original.body.to_format(Format::Html);
    let body = Body { format: Format::Html, content: format!("<html><body><hr>{quoted}</body></html>") };
    Content {
        subject: format!("{prefix}{}", original.subject),
        preview: body.preview(),
        body,
        in_reply_to: original.message_id.clone(),
        references,
        ..Content::default()
    }
}

/// Puts the client's comment before the quoted text, as an immediate reply or forward does.
pub(crate) fn comment(content: &mut Content, comment: &str) {
    let own = Body { format: Format::Text, content: comment.to_owned() };
    let own = own.to_format(Format::Html).into_owned();
    let own = own.trim_start_matches("<html><body>").trim_end_matches("</body></html>");
    content.body.content = content.body.content.replacen("<body>", &format!("<body>{own}"), 1);
    content.preview = content.body.preview();
}
