//! Whether a machine wrote a mail, so that nobody answers it by machine again.
//!
//! Source: <https://www.rfc-editor.org/rfc/rfc3834>, and the headers that mail
//! systems use beside it.

use mail_parser::{Message, MimeHeaders as _};

/// What kind of machine wrote a mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AutomaticKind {
    /// An answer without a person: out of office, receipt of a ticket system.
    Reply,
    /// A report about delivery.
    Bounce,
    /// A mailing list or bulk mail.
    List,
    /// Something else that no person wrote.
    Generated,
}

impl AutomaticKind {
    /// Its word in the store, traces and pages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reply => "reply",
            Self::Bounce => "bounce",
            Self::List => "list",
            Self::Generated => "generated",
        }
    }
}

/// That a machine wrote a mail, and how it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Automatic {
    /// What kind.
    pub kind: AutomaticKind,
    /// The header that says so.
    pub header: &'static str,
}

pub(crate) fn automatic(message: &Message<'_>) -> Option<Automatic> {
    let found = |kind, header| Some(Automatic { kind, header });
    if let Some(kind) = message.content_type()
        && kind.ctype().eq_ignore_ascii_case("multipart")
        && kind.subtype().is_some_and(|subtype| subtype.eq_ignore_ascii_case("report"))
        && kind.attribute("report-type").is_some_and(|report| report.eq_ignore_ascii_case("delivery-status"))
    {
        return found(AutomaticKind::Bounce, "Content-Type");
    }
    let value = |name: &str| {
        let header = message.headers_raw().find(|(known, _)| known.eq_ignore_ascii_case(name));
        header.map(|(_, value)| value.trim().to_ascii_lowercase())
    };
    match value("Auto-Submitted") {
        Some(word) if word.starts_with("auto-replied") => {
            return found(AutomaticKind::Reply, "Auto-Submitted");
        }
        Some(word) if !word.starts_with("no") => return found(AutomaticKind::Generated, "Auto-Submitted"),
        _ => {}
    }
    for header in ["X-Autoreply", "X-Autorespond", "X-Auto-Reply-From"] {
        if value(header).is_some() {
            return found(AutomaticKind::Reply, header);
        }
    }
    if value("Return-Path").is_some_and(|path| path == "<>") {
        return found(AutomaticKind::Bounce, "Return-Path");
    }
    match value("Precedence").as_deref() {
        Some("auto_reply") => return found(AutomaticKind::Reply, "Precedence"),
        Some("bulk" | "junk" | "list") => return found(AutomaticKind::List, "Precedence"),
        _ => {}
    }
    for header in ["List-Id", "List-Unsubscribe"] {
        if value(header).is_some() {
            return found(AutomaticKind::List, header);
        }
    }
    None
}
