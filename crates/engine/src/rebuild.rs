//! Brings a mail home piece by piece, where Microsoft fails to give its bytes: its
//! properties and text, then each attachment by itself.
//!
//! Called by `fetch` after some tries. Rule kept: what is stored this way is marked
//! `rebuilt` (design invariant 2).

use postroom_graph::{AttachmentMeta, ByteStream, Mailbox as Lane, MessageContent, Person, Priority};
use postroom_mail::{Mailbox, Rebuild, Told, ToldAttachment};
use postroom_store::{
    content::{ContentWriter, Written, message_context},
    messages::Message,
};

use crate::{Engine, jobs::JobError};

/// Stands in place of a file that lies elsewhere: Graph tells its name and nothing else.
const LINK: &str = "This attachment is a link to a file that lies elsewhere; open the mail in the mailbox to follow it.\n\
                    この添付は別の場所にあるファイルへのリンクです。メールボックスでメールを開いてください。\n";

impl Engine {
    /// Puts the mail together and stores it, sealed.
    pub(crate) async fn rebuilt(&self, lane: &Lane, message: &Message) -> Result<Written, JobError> {
        let content = lane.message_content(&message.graph_id, Priority::NewMail).await?;
        let attachments = lane.list_attachments(&message.graph_id, Priority::NewMail).await?;
        let now = self.now();
        let mut writer = self.store().write_content(&message_context(message.id), now)?;
        // A random word stands nowhere in the mails that are attached.
        let boundary = format!("{}x", self.entropy().uuid(now).simple());
        let mut mail = Rebuild::new(&told(content), boundary);
        for attachment in attachments {
            if attachment.is_reference() {
                mail.attach(&described(&attachment, "text/plain", ".txt"));
                mail.write(LINK.as_bytes());
            } else {
                let bytes =
                    lane.attachment_stream(&message.graph_id, &attachment.id, Priority::NewMail).await?;
                copy(&mut mail, &attachment, bytes, &mut writer).await?;
            }
        }
        writer.write(&mail.finish()).await?;
        Ok(writer.finish().await?)
    }
}

async fn copy(
    mail: &mut Rebuild,
    attachment: &AttachmentMeta,
    mut bytes: ByteStream,
    writer: &mut ContentWriter<'_>,
) -> Result<(), JobError> {
    let mut piece = bytes.next().await?;
    let begin = piece.as_deref().unwrap_or_default();
    mail.attach(&match attachment.is_item() {
        // Of items, Graph tells no type: an appointment comes as iCalendar, a contact as vCard, a mail as MIME.
        true if begin.starts_with(b"BEGIN:VCALENDAR") => described(attachment, "text/calendar", ".ics"),
        true if begin.starts_with(b"BEGIN:VCARD") => described(attachment, "text/vcard", ".vcf"),
        true => described(attachment, "message/rfc822", ".eml"),
        false => described(attachment, attachment.content_type.as_deref().unwrap_or_default(), ""),
    });
    while let Some(some) = piece {
        mail.write(&some);
        writer.write(&mail.take()).await?;
        piece = bytes.next().await?;
    }
    Ok(())
}

fn described(attachment: &AttachmentMeta, content_type: &str, extension: &str) -> ToldAttachment {
    let name = attachment.name.clone().unwrap_or_default();
    let named = name.is_empty() || name.to_lowercase().ends_with(extension);
    ToldAttachment {
        name: if named { name } else { name + extension },
        content_type: content_type.to_owned(),
        content_id: attachment.content_id.clone(),
        inline: attachment.is_inline,
    }
}

fn told(content: MessageContent) -> Told {
    let body = content.body.unwrap_or_default();
    Told {
        from: content.from.map(mailbox),
        sender: content.sender.map(mailbox),
        to: content.to.into_iter().map(mailbox).collect(),
        cc: content.cc.into_iter().map(mailbox).collect(),
        bcc: content.bcc.into_iter().map(mailbox).collect(),
        reply_to: content.reply_to.into_iter().map(mailbox).collect(),
        subject: content.subject,
        date: content.sent_at.or(content.received_at),
        message_id: content.internet_message_id,
        headers: content
            .headers
            .into_iter()
            .map(|header| (header.name, header.value.unwrap_or_default()))
            .collect(),
        html: body.content_type.eq_ignore_ascii_case("html"),
        body: body.content.unwrap_or_default(),
    }
}

fn mailbox(person: Person) -> Mailbox {
    let named = person.email_address;
    Mailbox { name: named.name, address: named.address.unwrap_or_default() }
}
