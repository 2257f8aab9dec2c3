//! From the bytes of a mail to its meaning, and from an agent's text to a reply.
//!
//! Called by the engine. Rule kept: nothing a mail contains makes reading it
//! fail; what can't be read is left out and named in [`Mail::problems`]. Knows
//! no database and no network.

mod attachment;
mod automatic;
mod charset;
mod head;
mod html;
mod parse;
mod rebuild;
mod reply;

pub use attachment::{Attachment, attachment_bytes};
pub use automatic::{Automatic, AutomaticKind};
pub use head::Head;
pub use html::{SafeHtml, safe_html, text_to_html};
pub use parse::{Mail, Mailbox, Problem, parse};
pub use rebuild::{Rebuild, Told, ToldAttachment};
pub use reply::{Quoted, reply_html, reply_subject};
