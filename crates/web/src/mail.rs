//! A mail's body in its frame, and its attachments.
//!
//! Three walls stand around what strangers wrote, each enough by itself: the HTML is
//! made safe by `mail::html`, the frame is a sandbox without scripts, and the answer
//! carries a policy that loads nothing.

use std::fmt::Write as _;

use axum::{
    extract::{Path, State},
    http::{HeaderValue, header},
    response::{Html, IntoResponse as _, Response},
};
use postroom_model::MessageId;

use crate::{failure::Failure, headers::MAIL_POLICY, site::Site, visitor::Person};

/// Stands before the body. Mails are written for white paper.
const HEAD: &str = "<!doctype html><html><head><meta charset=\"utf-8\"><meta name=\"color-scheme\" content=\"light\">\
     <meta name=\"viewport\" content=\"width=device-width\"><style>\
     html{background:#fff;color:#1c2126}body{margin:12px;font:15px/1.55 system-ui,'Hiragino Sans','Noto Sans CJK JP',\
     'Noto Sans JP','Yu Gothic UI',Meiryo,sans-serif;overflow-wrap:anywhere}\
     img{max-width:100%;height:auto}table{max-width:100%}pre{white-space:pre-wrap}\
     blockquote{margin:0 0 0 4px;padding-left:10px;border-left:3px solid #d5dade;color:#4d565e}</style></head><body>";
const TAIL: &str = "</body></html>";

/// `GET /mails/{id}/body`
pub(crate) async fn body(
    State(site): State<Site>,
    person: Person,
    Path(id): Path<MessageId>,
) -> Result<Response, Failure> {
    let html = site.engine.read_mail_html(&person.user, id).await?;
    let policy = [(header::CONTENT_SECURITY_POLICY, MAIL_POLICY)];
    Ok((policy, Html(format!("{HEAD}{html}{TAIL}"))).into_response())
}

/// `GET /mails/{id}/attachments/{index}`: always saved, never shown.
pub(crate) async fn attachment(
    State(site): State<Site>,
    person: Person,
    Path((id, index)): Path<(MessageId, usize)>,
) -> Result<Response, Failure> {
    let found = site.engine.read_attachment(&person.user, id, index).await?;
    let kind = HeaderValue::from_str(&found.attachment.content_type)
        .unwrap_or(HeaderValue::from_static("application/octet-stream"));
    let disposition =
        HeaderValue::from_str(&disposition(&found.attachment.name)).map_err(|_| Failure::Broken)?;
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_DISPOSITION, disposition),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; sandbox")),
    ];
    Ok((headers, found.bytes).into_response())
}

/// The name for browsers of today in UTF-8, and one in ASCII for all others
/// (<https://www.rfc-editor.org/rfc/rfc6266#section-4.3>).
fn disposition(name: &str) -> String {
    let plain: String = name
        .chars()
        .map(|c| if c.is_ascii_graphic() && !"\"\\%;".contains(c) || c == ' ' { c } else { '_' })
        .collect();
    let mut encoded = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"!#$&+-.^_`|~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _infallible = write!(encoded, "%{byte:02X}");
        }
    }
    format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{encoded}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_name_keeps_its_letters_and_can_not_break_out() {
        assert_eq!(
            disposition("見積 1.pdf"),
            "attachment; filename=\"__ 1.pdf\"; filename*=UTF-8''%E8%A6%8B%E7%A9%8D%201.pdf"
        );
        let hostile = disposition("a\"; filename=b.exe\r\nX: y");
        assert!(!hostile.contains('\r') && !hostile.contains('\n'));
        assert_eq!(hostile.matches('"').count(), 2);
    }
}
