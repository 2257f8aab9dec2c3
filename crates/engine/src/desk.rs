//! What people do with conversations: take them, read them, answer, wrap up.
//!
//! Called by `web`. Each command checks the right of the person, then commits one
//! guarded unit; whoever was slower gets [`DeskError::Gone`] and sees the present
//! state. Only here and in the jobs is sealed content opened.

use std::cell::Cell;
use std::collections::BTreeSet;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use postroom_mail::{Attachment, Mail, attachment_bytes, parse, safe_html, text_to_html};
use postroom_model::{
    ConversationId, MessageId, OutgoingId, Timestamp, UserId,
    acd::{self, WhyWaiting},
    conversation::{ConversationState, OfferState},
    ledger::{MessageState, Reason, Step},
    outbox::SendState,
    user::{Role, RoutingStatus},
};
use postroom_store::{
    DbError, Unit,
    content::{ContentError, outgoing_context},
    conversations::{self, Conversation},
    feed::Topic,
    messages::{self, Message},
    offers,
    outgoing::{self, Outgoing},
    queues::{self, Queue},
    seal, trace,
    users::{self, User},
};
use serde_json::{Value, json};

use crate::{Engine, jobs::Work};

/// Pictures of a mail are shown in its body up to this many bytes in all.
const PICTURES_LIMIT: usize = 10 * 1024 * 1024;
/// What is shown as a picture: no SVG, which is a document.
const PICTURES: [&str; 4] = ["image/png", "image/jpeg", "image/gif", "image/webp"];

/// The longest reply, in bytes.
pub const REPLY_LIMIT: usize = 3 * 1024 * 1024;

/// A command was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum DeskError {
    /// The person has no right to it.
    #[error("this is not for you to do")]
    NotAllowed,
    /// The conversation is with somebody else.
    #[error("this conversation is not with you")]
    NotYours,
    /// It is not there, or stands elsewhere by now.
    #[error("this has changed meanwhile")]
    Gone,
    /// The reply is too long.
    #[error("the reply is longer than {limit} bytes")]
    TooLong {
        /// The longest reply, in bytes.
        limit: usize,
    },
    /// The reply has no text.
    #[error("the reply is empty")]
    Empty,
    /// The queue has no such wrap-up code, or needs one.
    #[error("this is not a wrap-up code of the queue")]
    NoSuchCode,
    /// The store failed.
    #[error("the store failed")]
    Store(#[source] DbError),
    /// Sealed content could not be opened.
    #[error("the mail could not be opened")]
    Content(#[from] ContentError),
}

impl From<DbError> for DeskError {
    fn from(error: DbError) -> Self {
        match error {
            DbError::Lost => DeskError::Gone,
            other => DeskError::Store(other),
        }
    }
}

/// A conversation with all that was said in it.
#[derive(Debug, Clone)]
pub struct ConversationView {
    /// Where it stands.
    pub conversation: Conversation,
    /// Its queue.
    pub queue: Queue,
    /// The codes with which it can be wrapped up.
    pub wrap_up_codes: Vec<String>,
    /// The customer's mails, oldest first.
    pub mails: Vec<MailView>,
    /// Mails that the reader has already and that were not opened, oldest first.
    pub known: Vec<Message>,
    /// Our replies, oldest first.
    pub replies: Vec<ReplyView>,
    /// When the alert ends, while it alerts the reader.
    pub offer_deadline: Option<Timestamp>,
    /// Why it waits, while it waits.
    pub why: Option<WhyWaiting>,
}

/// One mail of the customer, opened.
#[derive(Debug, Clone)]
pub struct MailView {
    /// Its ledger row.
    pub message: Message,
    /// Display name and address of who wrote it.
    pub from: Option<(Option<String>, String)>,
    /// Addresses it was sent to.
    pub to: Vec<String>,
    /// Addresses that got a copy.
    pub cc: Vec<String>,
    /// Its readable text.
    pub text: String,
    /// Whether it has a body in HTML.
    pub has_html: bool,
    /// How many things that it wanted to load from elsewhere are blocked.
    pub blocked_remote: usize,
    /// Its attachments.
    pub attachments: Vec<Attachment>,
    /// What was odd about it, as stable words.
    pub problems: Vec<&'static str>,
}

/// One reply, opened.
#[derive(Debug, Clone)]
pub struct ReplyView {
    /// Its outbox entry.
    pub outgoing: Outgoing,
    /// Its text.
    pub text: String,
    /// Who wrote it.
    pub by_name: String,
}

/// An attachment with its bytes.
#[derive(Debug, Clone)]
pub struct AttachmentView {
    /// Name, type, size.
    pub attachment: Attachment,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl Engine {
    /// Goes on or off queue. Going off takes back what is being offered.
    ///
    /// # Errors
    /// [`DeskError::NotAllowed`] for somebody who is no agent.
    pub async fn set_routing_status(&self, by: &User, status: RoutingStatus) -> Result<(), DeskError> {
        if !by.roles.contains(&Role::Agent) || status == RoutingStatus::NotResponding {
            return Err(DeskError::NotAllowed);
        }
        let now = self.now();
        let mut unit = Unit::new().with(users::record_routing_status(by.id, status, now));
        unit.changed(now, Topic::User, by.id);
        self.store().commit_guarded(unit).await?;
        if status == RoutingStatus::OffQueue {
            for offer in offers::list_open(&self.store().db).await?.iter().filter(|o| o.user == by.id) {
                let unit = self.returned_unit(offer, OfferState::Withdrawn, Reason::ByPerson).await?;
                self.store().commit_guarded(unit).await?;
            }
        }
        Ok(())
    }

    /// Takes a conversation that is being offered.
    ///
    /// # Errors
    /// [`DeskError::Gone`] if it is not being offered to this person any more.
    pub async fn accept(&self, by: &User, id: ConversationId) -> Result<(), DeskError> {
        let offer = offers::find_open(&self.store().db, id).await?.ok_or(DeskError::Gone)?;
        if offer.user != by.id {
            return Err(DeskError::NotYours);
        }
        let unit = Unit::new()
            .with(offers::record_answer(offer.id, OfferState::Accepted, self.now()))
            .with(conversations::record_accepted(id, by.id));
        self.commit_step(unit, by.id, id, Step::Accepted, json!({})).await
    }

    /// Refuses a conversation that is being offered: it goes back to its queue,
    /// and the agent is *not responding* until back on queue.
    ///
    /// # Errors
    /// [`DeskError::Gone`] if it is not being offered to this person any more.
    pub async fn decline(&self, by: &User, id: ConversationId) -> Result<(), DeskError> {
        let offer = offers::find_open(&self.store().db, id).await?.ok_or(DeskError::Gone)?;
        if offer.user != by.id {
            return Err(DeskError::NotYours);
        }
        let unit = self.returned_unit(&offer, OfferState::Declined, Reason::ByPerson).await?;
        self.store().commit(unit).await?;
        Ok(())
    }

    /// Gives a conversation back to its queue, where it waits with its old arrival time.
    ///
    /// # Errors
    /// [`DeskError::NotYours`] if it is not with this person.
    pub async fn return_to_queue(&self, by: &User, id: ConversationId) -> Result<(), DeskError> {
        self.connected_to(by, id).await?;
        let unit = Unit::new().with(conversations::record_returned(id, by.id));
        self.commit_step(unit, by.id, id, Step::Returned, json!({})).await
    }

    /// Puts a reply in the outbox. The conversation stays with the agent.
    ///
    /// # Errors
    /// [`DeskError::Empty`] or [`DeskError::TooLong`] for a text that can't be sent.
    pub async fn reply(&self, by: &User, id: ConversationId, text: &str) -> Result<OutgoingId, DeskError> {
        if text.trim().is_empty() {
            return Err(DeskError::Empty);
        }
        if text.len() > REPLY_LIMIT {
            return Err(DeskError::TooLong { limit: REPLY_LIMIT });
        }
        let conversation = self.connected_to(by, id).await?;
        let mut mails = messages::list_of_conversation(&self.store().db, id).await?;
        // The answer leaves from the conversation's mailbox, so it answers a mail that lies there.
        if mails.iter().any(|m| m.mailbox == conversation.mailbox) {
            mails.retain(|m| m.mailbox == conversation.mailbox);
        }
        // An out-of-office answer is not what the agent answers.
        let answered = mails.iter().rev().find(|m| m.automatic.is_none()).or(mails.last());
        let reply_to = answered.ok_or(DeskError::Gone)?;
        let now = self.now();
        let outgoing_id = OutgoingId::from_uuid(self.entropy().uuid(now));
        let sealed =
            seal::seal(&self.store().keys, self.entropy(), &outgoing_context(outgoing_id), text.as_bytes())
                .map_err(ContentError::from)?;
        let entry = Outgoing {
            id: outgoing_id,
            conversation: id,
            reply_to: reply_to.id,
            mailbox: reply_to.mailbox,
            user: by.id,
            state: SendState::Queued,
            reason: None,
            detail: None,
            marker: outgoing_id.to_string(),
            draft_id: None,
            internet_message_id: None,
            sealed,
            looks: 0,
            created_at: now,
            sent_at: None,
        };
        let mut unit = Unit::new().with(conversations::guard_agent(id, by.id)).with(outgoing::insert(&entry));
        let send = Work::Send { mailbox: entry.mailbox, outgoing: outgoing_id };
        unit.enqueue(&send.job(self.entropy(), now));
        let data = json!({ "outgoing": outgoing_id });
        self.commit_step(unit, by.id, id, Step::ReplyQueued, data).await?;
        Ok(outgoing_id)
    }

    /// Ends the agent's work on a conversation. A queue with wrap-up codes wants one of them.
    ///
    /// # Errors
    /// [`DeskError::NoSuchCode`] for a code that the queue does not have; [`DeskError::Gone`] if the
    /// customer has written meanwhile what the agent has not seen.
    pub async fn wrap_up(&self, by: &User, id: ConversationId, code: Option<&str>) -> Result<(), DeskError> {
        let conversation = self.connected_to(by, id).await?;
        let codes = queues::list_wrap_up_codes(&self.store().db, conversation.queue).await?;
        let good = match code {
            Some(code) => codes.iter().any(|c| c == code),
            None => codes.is_empty(),
        };
        if !good {
            return Err(DeskError::NoSuchCode);
        }
        let unit = Unit::new().with(conversations::record_wrapped_up(id, by.id, code, self.now()));
        self.commit_step(unit, by.id, id, Step::WrappedUp, json!({ "code": code })).await
    }

    /// Opens a conversation with all its mails. Its agent has thereby read them.
    ///
    /// # Errors
    /// [`DeskError::NotYours`] if the person has no part in it.
    pub async fn read_conversation(
        &self,
        by: &User,
        id: ConversationId,
    ) -> Result<ConversationView, DeskError> {
        self.read_news(by, id, &BTreeSet::new()).await
    }

    /// Opens a conversation for a reader who has some of its mails already: those are
    /// named in `known` and not opened again.
    ///
    /// # Errors
    /// [`DeskError::NotYours`] if the person has no part in it.
    pub async fn read_news(
        &self,
        by: &User,
        id: ConversationId,
        known: &BTreeSet<MessageId>,
    ) -> Result<ConversationView, DeskError> {
        let db = &self.store().db;
        let conversation = self.readable(by, id).await?;
        let queue = queues::find(db, conversation.queue).await?.ok_or(DeskError::Gone)?;
        let mut mails = Vec::new();
        let mut known_mails = Vec::new();
        for message in messages::list_of_conversation(db, id).await? {
            if known.contains(&message.id) {
                known_mails.push(message);
                continue;
            }
            let mail = self.read_mail(message.id).await?;
            mails.push(self.tasks().cpu(move || mail_view(mail, message)).await);
        }
        let mut replies = Vec::new();
        for entry in outgoing::list_of_conversation(db, id).await? {
            let by_name = users::find(db, entry.user).await?.map(|user| user.name).unwrap_or_default();
            replies.push(ReplyView { text: self.open_outgoing(&entry)?, outgoing: entry, by_name });
        }
        if conversation.agent == Some(by.id) && conversation.unread > 0 {
            let now = self.now();
            // Counted before the mails were listed: one that came since stays unread.
            let mut unit = Unit::new().with(conversations::record_read(id, by.id, conversation.unread));
            unit.changed(now, Topic::User, by.id);
            self.store().commit_guarded(unit).await?;
        }
        let offer = offers::find_open(db, id).await?.filter(|offer| offer.user == by.id);
        Ok(ConversationView {
            queue,
            wrap_up_codes: queues::list_wrap_up_codes(db, conversation.queue).await?,
            mails,
            known: known_mails,
            replies,
            offer_deadline: offer.map(|offer| offer.deadline_at),
            why: self.why_waiting(&conversation).await?,
            conversation,
        })
    }

    /// The body of a mail as HTML that can do no harm. The mail's own pictures stand in
    /// it as `data:` addresses: the sandboxed frame that shows it can ask for nothing.
    ///
    /// # Errors
    /// [`DeskError::NotYours`] if the person has no part in its conversation.
    pub async fn read_mail_html(&self, by: &User, id: MessageId) -> Result<String, DeskError> {
        self.readable_message(by, id).await?;
        Ok(self.read_bytes(id, body_html).await?)
    }

    /// An attachment with its bytes.
    ///
    /// # Errors
    /// [`DeskError::Gone`] if the mail has no such attachment.
    pub async fn read_attachment(
        &self,
        by: &User,
        id: MessageId,
        index: usize,
    ) -> Result<AttachmentView, DeskError> {
        self.readable_message(by, id).await?;
        let found = self.read_bytes(id, move |bytes| attachment_bytes(bytes, index)).await?;
        let (attachment, bytes) = found.ok_or(DeskError::Gone)?;
        Ok(AttachmentView { attachment, bytes })
    }

    /// Lets a held message go on: its bytes are fetched, or it is routed, again.
    ///
    /// # Errors
    /// [`DeskError::Gone`] if it is not held.
    pub async fn release(&self, by: &User, id: MessageId) -> Result<(), DeskError> {
        if !by.roles.contains(&Role::Admin) {
            return Err(DeskError::NotAllowed);
        }
        let message = messages::find(&self.store().db, id).await?.ok_or(DeskError::Gone)?;
        if message.state != MessageState::Held {
            return Err(DeskError::Gone);
        }
        let now = self.now();
        let work = match message.stored_at {
            Some(_) => Work::Process { message: id },
            None => Work::Fetch { mailbox: message.mailbox, message: id },
        };
        let mut unit = Unit::new().with(trace::record(&trace::NewEntry {
            at: now,
            message: Some(id),
            conversation: None,
            step: Step::Released,
            reason: Reason::ByPerson,
            data: json!({ "user": by.id }),
        }));
        // One that is tried each hour meanwhile has its job already.
        unit.enqueue_now(&work.job(self.entropy(), now));
        self.store().commit(unit).await?;
        Ok(())
    }

    /// Says whether a person may read a conversation.
    ///
    /// # Errors
    /// [`DeskError::NotYours`] if the person has no part in it.
    pub async fn may_read(&self, by: &User, id: ConversationId) -> Result<(), DeskError> {
        self.readable(by, id).await.map(drop)
    }

    /// Why a conversation waits; nothing if it doesn't.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn why_waiting(&self, conversation: &Conversation) -> Result<Option<WhyWaiting>, DbError> {
        if conversation.state != ConversationState::Waiting {
            return Ok(None);
        }
        let db = &self.store().db;
        let Some(waiting) = conversations::find_waiting(db, conversation.id).await? else { return Ok(None) };
        let agents = users::list_agents(db).await?;
        Ok(Some(acd::why_waiting(&waiting, &agents)))
    }

    async fn commit_step(
        &self,
        mut unit: Unit,
        by: UserId,
        id: ConversationId,
        step: Step,
        mut data: Value,
    ) -> Result<(), DeskError> {
        let now = self.now();
        data["user"] = json!(by);
        unit.push(trace::record(&trace::NewEntry {
            at: now,
            message: None,
            conversation: Some(id),
            step,
            reason: Reason::ByPerson,
            data,
        }));
        unit.changed(now, Topic::User, by);
        unit.changed(now, Topic::Conversation, id);
        if let Some(conversation) = conversations::find(&self.store().db, id).await? {
            unit.changed(now, Topic::Queue, conversation.queue);
        }
        self.store().commit(unit).await?;
        Ok(())
    }

    async fn connected_to(&self, by: &User, id: ConversationId) -> Result<Conversation, DeskError> {
        let conversation = conversations::find(&self.store().db, id).await?.ok_or(DeskError::Gone)?;
        match (conversation.agent == Some(by.id), conversation.state) {
            (true, ConversationState::Connected) => Ok(conversation),
            (true, _) => Err(DeskError::Gone),
            (false, _) => Err(DeskError::NotYours),
        }
    }

    /// Who has or had a conversation may read it; supervisors and administrators all.
    async fn readable(&self, by: &User, id: ConversationId) -> Result<Conversation, DeskError> {
        let conversation = conversations::find(&self.store().db, id).await?.ok_or(DeskError::Gone)?;
        let watches = by.roles.contains(&Role::Supervisor) || by.roles.contains(&Role::Admin);
        let takes_part = conversation.agent == Some(by.id) || conversation.last_agent == Some(by.id);
        if watches || takes_part { Ok(conversation) } else { Err(DeskError::NotYours) }
    }

    async fn readable_message(&self, by: &User, id: MessageId) -> Result<(), DeskError> {
        let message = messages::find(&self.store().db, id).await?.ok_or(DeskError::Gone)?;
        match message.conversation {
            Some(conversation) => self.readable(by, conversation).await.map(drop),
            None if by.roles.contains(&Role::Admin) => Ok(()),
            None => Err(DeskError::NotAllowed),
        }
    }
}

/// The body of a mail as safe HTML with its own pictures in it.
fn body_html(raw: &[u8]) -> String {
    let mail = parse(raw);
    let Some(html) = &mail.html else { return text_to_html(&mail.text) };
    let room = Cell::new(PICTURES_LIMIT);
    let picture = |content_id: &str| {
        let found = mail.attachments.iter().find(|a| a.content_id.as_deref() == Some(content_id))?;
        let shown = PICTURES.contains(&found.content_type.as_str()) && found.size <= room.get();
        let (_, bytes) = attachment_bytes(raw, found.index).filter(|_| shown)?;
        room.set(room.get() - found.size);
        Some(format!("data:{};base64,{}", found.content_type, BASE64.encode(bytes)))
    };
    safe_html(html, &picture).html
}

fn mail_view(mail: Mail, message: Message) -> MailView {
    let blocked_remote = mail.html.as_deref().map_or(0, |html| safe_html(html, &|_| None).blocked_remote);
    MailView {
        message,
        from: mail.from.map(|from| (from.name, from.address)),
        to: mail.to.into_iter().map(|to| to.address).collect(),
        cc: mail.cc.into_iter().map(|cc| cc.address).collect(),
        text: mail.text,
        has_html: mail.html.is_some(),
        blocked_remote,
        attachments: mail.attachments,
        problems: mail.problems.iter().map(|problem| problem.as_str()).collect(),
    }
}
