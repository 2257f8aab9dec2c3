//! Reads a stored mail and puts it in a conversation.
//!
//! Carried out by the `process` job. The mail is opened and read, `model` decides
//! thread and route over what the store knows, and one commit says `routed`
//! together with the conversation, its participants, the trace and the feed.
//! Nothing a mail contains can make this fail for good: what can't be read is
//! left out and said in the trace.

use std::collections::BTreeSet;
use std::time::Duration;

use postroom_mail::Mail;
use postroom_model::{
    ConversationId, EmailAddress, MessageId, Timestamp,
    conversation::ConversationState,
    ledger::{MessageState, Reason, Step},
    routing::{self, Recipients, RouteRule},
    threading::{self, Incoming, Known, Threading},
};
use postroom_store::{
    DbError, Unit,
    content::ContentError,
    conversations::{self, Conversation},
    feed::Topic,
    mailboxes,
    messages::{self, Derived, Message},
    routes, trace,
};
use serde_json::{Value, json};

use crate::{Engine, jobs::JobError};

/// How many of the Message-IDs that a mail names are looked up: enough for any
/// honest thread, and a bound against a hostile one.
const REFERENCES_LOOKED_UP: usize = 50;

/// A mail that answers unknown mails waits once, for notifications overtake each other, and up to this
/// often while older mails of its mailbox are not read yet: one of them may be what it answers.
const WAITS_FOR_OLDER: u32 = 5;
const WAIT_FOR_OLDER: Duration = Duration::from_secs(2);

/// Texts that are kept to be searched and shown are cut after this many characters.
const TEXT_KEPT: usize = 500;

/// What is to be committed, and when the mail arrived that comes into its queue by it.
#[derive(Default)]
pub(crate) struct Processed {
    pub(crate) unit: Unit,
    pub(crate) arrived_at: Option<Timestamp>,
}

impl Engine {
    /// Reads a stored mail and puts it in a conversation; `attempts` counts how often this was begun.
    pub(crate) async fn process(&self, id: MessageId, attempts: u32) -> Result<Processed, JobError> {
        let Some(message) = messages::find(&self.store().db, id).await? else {
            return Ok(Processed::default());
        };
        if !matches!(message.state, MessageState::Stored | MessageState::Held) || message.stored_at.is_none()
        {
            return Ok(Processed::default());
        }
        let unit = self.processed(&message, attempts).await?;
        // What was held waited for a person.
        let arrived_at = (message.state == MessageState::Stored).then(|| message.arrived_at());
        Ok(Processed { unit, arrived_at })
    }

    async fn processed(&self, message: &Message, attempts: u32) -> Result<Unit, JobError> {
        let (db, id) = (&self.store().db, message.id);
        let Some(mailbox) = mailboxes::find(db, message.mailbox).await? else {
            return Err(JobError::NotConnected);
        };
        let mail = self.read_mail(id).await?;
        let rules = routes::list(db).await?;
        let recipients = recipients(&mail, &mailbox.address)?;
        let mut incoming = incoming(&mail);
        // Asked before the threads are read: what is not unread any more is found among them.
        let may_come = attempts <= WAITS_FOR_OLDER && !incoming.references.is_empty() && {
            // The announcement of an older mail may itself be on its way still.
            attempts <= 1
                || messages::has_unread_before(db, message.mailbox, id, message.arrived_at()).await?
        };
        let known = self.known_threads(&incoming).await?;
        incoming.is_copy = self.is_copy(&incoming, &known, &mail).await?;

        let mut unit = Unit::new().with(derived(id, &mail)).with(self.step(
            message,
            None,
            Step::Parsed,
            Reason::Done,
            parsed_facts(&mail),
        ));
        let decision = threading::decide(&incoming, &known);
        if may_come && matches!(decision, Threading::New { reason: Reason::UnknownReferences, .. }) {
            return Err(JobError::NotYet(WAIT_FOR_OLDER));
        }
        match decision {
            Threading::Join(conversation, reason) => {
                self.join(&mut unit, message, &mail, conversation, reason).await?;
            }
            Threading::New { linked, reason } => {
                let choice = routing::choose(&rules, &recipients);
                unit.push(self.step(
                    message,
                    None,
                    Step::RouteChosen,
                    choice.reason,
                    json!({
                        "address": choice.chosen.map(|rule| rule.address.as_str()),
                        "others": choice.others.iter().map(|rule| rule.address.as_str()).collect::<Vec<_>>(),
                    }),
                ));
                match choice.chosen {
                    Some(rule) => self.begin(&mut unit, message, &mail, rule, linked, reason),
                    None if message.state == MessageState::Held => return Ok(Unit::new()),
                    None => unit.append(self.held_unit(message, Reason::NoRoute, None)),
                }
            }
        }
        Ok(unit)
    }

    async fn known_threads(&self, incoming: &Incoming) -> Result<Vec<Known>, DbError> {
        let mut known = Vec::new();
        let named: BTreeSet<&String> = incoming.message_id.iter().chain(&incoming.references).collect();
        for message_id in named {
            for (conversation, participants) in messages::list_threads(&self.store().db, message_id).await? {
                known.push(Known { message_id: message_id.clone(), conversation, participants });
            }
        }
        Ok(known)
    }

    /// Whether a mail that bears another's Message-ID says the same: author, date, subject, text and
    /// attachments. A Message-ID alone proves nothing, some programs use one again.
    async fn is_copy(&self, incoming: &Incoming, known: &[Known], mail: &Mail) -> Result<bool, JobError> {
        let Some(namesake) = threading::find_namesake(incoming, known) else { return Ok(false) };
        let bearing =
            messages::list_bearing(&self.store().db, namesake.conversation, &namesake.message_id).await?;
        for id in bearing {
            match self.read_mail(id).await {
                Ok(other) if says_the_same(&other, mail) => return Ok(true),
                // What can't be opened is nobody's copy.
                Ok(_) | Err(ContentError::Blob(_) | ContentError::Seal(_) | ContentError::Missing) => {}
                Err(error @ ContentError::Db(_)) => return Err(error.into()),
            }
        }
        Ok(false)
    }

    async fn join(
        &self,
        unit: &mut Unit,
        message: &Message,
        mail: &Mail,
        id: ConversationId,
        reason: Reason,
    ) -> Result<(), DbError> {
        let now = self.now();
        unit.push(messages::record_routed(message.id, id, reason, now));
        for address in participants(mail) {
            unit.push(conversations::ensure_participant(id, address.as_str()));
        }
        unit.push(self.step(message, Some(id), Step::Threaded, reason, json!({})));
        let Some(conversation) = conversations::find(&self.store().db, id).await? else { return Ok(()) };
        let closed = conversation.state == ConversationState::Closed;
        // A second mailbox's copy says nothing new, and an out-of-office answer asks
        // for nobody: neither opens what an agent has wrapped up.
        let quiet = reason == Reason::SameMail || (closed && mail.automatic.is_some());
        if quiet {
            if closed {
                let why = if reason == Reason::SameMail { reason } else { Reason::Automatic };
                unit.push(self.step(message, Some(id), Step::Ended, why, json!({})));
            }
        } else {
            unit.push(conversations::record_customer_wrote(id, message.arrived_at()));
            if closed {
                unit.push(self.step(message, Some(id), Step::Queued, Reason::CustomerWrote, json!({})));
            }
        }
        self.tell(unit, message.id, &conversation, now);
        Ok(())
    }

    fn begin(
        &self,
        unit: &mut Unit,
        message: &Message,
        mail: &Mail,
        rule: &RouteRule,
        linked: Option<ConversationId>,
        reason: Reason,
    ) {
        let now = self.now();
        let conversation = Conversation {
            id: ConversationId::from_uuid(self.entropy().uuid(now)),
            queue: rule.queue,
            route: Some(rule.id),
            mailbox: message.mailbox,
            state: ConversationState::Waiting,
            priority: rule.priority,
            language: rule.language.clone(),
            subject: cut(&mail.subject),
            customer_address: sender(mail).map(|address| address.to_string()),
            customer_name: mail.from.as_ref().and_then(|from| from.name.as_deref()).map(cut),
            from_name: rule.from_name.clone(),
            agent: None,
            last_agent: None,
            linked,
            arrived_at: message.arrived_at(),
            opened_at: now,
            closed_at: None,
            wrap_up_code: None,
            unread: 1,
        };
        let id = conversation.id;
        unit.push(conversations::insert(&conversation));
        if let (Some(message_id), Some(from)) = (mail.message_id.as_deref().map(cut), sender(mail)) {
            unit.push(conversations::claim_head(id, &message_id, from.as_str()));
        }
        for skill in &rule.skills {
            unit.push(conversations::insert_skill(id, *skill));
        }
        for address in participants(mail) {
            unit.push(conversations::ensure_participant(id, address.as_str()));
        }
        unit.push(messages::record_routed(message.id, id, reason, now));
        let linked = json!({ "linked": linked });
        unit.push(self.step(message, Some(id), Step::Threaded, reason, linked));
        unit.push(self.step(message, Some(id), Step::Queued, Reason::Done, json!({ "queue": rule.queue })));
        self.tell(unit, message.id, &conversation, now);
    }

    fn tell(&self, unit: &mut Unit, message: MessageId, conversation: &Conversation, now: Timestamp) {
        unit.changed(now, Topic::Message, message);
        unit.changed(now, Topic::Conversation, conversation.id);
        unit.changed(now, Topic::Queue, conversation.queue);
        if let Some(agent) = conversation.agent {
            unit.changed(now, Topic::User, agent);
        }
    }

    fn step(
        &self,
        message: &Message,
        conversation: Option<ConversationId>,
        step: Step,
        reason: Reason,
        data: Value,
    ) -> postroom_store::Stmt {
        trace::record(&trace::NewEntry {
            at: self.now(),
            message: Some(message.id),
            conversation,
            step,
            reason,
            data,
        })
    }
}

fn cut(text: &str) -> String {
    // NUL is legal in a mail and not in PostgreSQL's text.
    text.chars().filter(|c| *c != '\0').take(TEXT_KEPT).collect()
}

fn addresses<'a>(list: impl IntoIterator<Item = &'a String>) -> Vec<EmailAddress> {
    list.into_iter().filter_map(|text| text.parse().ok()).collect()
}

fn sender(mail: &Mail) -> Option<EmailAddress> {
    mail.from.as_ref().and_then(|from| from.address.parse().ok())
}

fn participants(mail: &Mail) -> BTreeSet<EmailAddress> {
    sender(mail)
        .into_iter()
        .chain(addresses(mail.to.iter().chain(&mail.cc).map(|mailbox| &mailbox.address)))
        .take(REFERENCES_LOOKED_UP * 10)
        .collect()
}

fn recipients(mail: &Mail, mailbox: &str) -> Result<Recipients, JobError> {
    Ok(Recipients {
        named: addresses(mail.to.iter().chain(&mail.cc).map(|mailbox| &mailbox.address)),
        delivery: addresses(&mail.delivered_to),
        mailbox: mailbox.parse().map_err(|_| JobError::NotConnected)?,
    })
}

fn incoming(mail: &Mail) -> Incoming {
    let references = mail.in_reply_to.iter().chain(mail.references.iter().rev());
    Incoming {
        sender: sender(mail),
        // As they are stored, or they would never be found.
        message_id: mail.message_id.as_deref().map(cut),
        is_copy: false,
        references: references.take(REFERENCES_LOOKED_UP).map(|id| cut(id)).collect(),
    }
}

fn says_the_same(one: &Mail, other: &Mail) -> bool {
    let sizes = |mail: &Mail| mail.attachments.iter().map(|part| part.size).collect::<Vec<_>>();
    one.from.as_ref().map(|from| &from.address) == other.from.as_ref().map(|from| &from.address)
        && one.date == other.date
        && one.subject == other.subject
        && one.text == other.text
        && sizes(one) == sizes(other)
}

fn derived(id: MessageId, mail: &Mail) -> postroom_store::Stmt {
    let message_id = mail.message_id.as_deref().map(cut);
    let from = mail.from.as_ref();
    messages::record_derived(
        id,
        &Derived {
            internet_message_id: message_id.as_deref(),
            from_address: from.map(|from| cut(&from.address)).as_deref(),
            from_name: from.and_then(|from| from.name.as_deref()).map(cut).as_deref(),
            subject: &cut(&mail.subject),
            automatic: mail.automatic.as_ref().map(|automatic| automatic.kind.as_str()),
        },
    )
}

fn parsed_facts(mail: &Mail) -> Value {
    json!({
        "attachments": mail.attachments.len(),
        "automatic": mail.automatic.as_ref().map(|automatic| automatic.kind.as_str()),
        "problems": mail.problems.iter().map(|problem| problem.as_str()).collect::<Vec<_>>(),
    })
}
