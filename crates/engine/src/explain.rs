//! Explains: the whole story of a message or conversation, and for one that
//! waits, what it waits for.
//!
//! Called by the trace page and by `postroom trace`.

use postroom_model::{ConversationId, MessageId, acd::WhyWaiting};
use postroom_store::{
    DbError,
    conversations::{self, Conversation},
    messages::{self, Message},
    trace::{self, Entry},
    users,
};

use crate::Engine;

/// The story of one message or conversation.
#[derive(Debug, Clone)]
pub struct Story {
    /// The messages it tells of.
    pub messages: Vec<Message>,
    /// Their conversation, if they are in one.
    pub conversation: Option<Conversation>,
    /// Step by step.
    pub entries: Vec<Entry>,
    /// Why the conversation waits, if it does.
    pub waiting: Option<WhyWaiting>,
    /// The name of the skill that nobody has, if that is why.
    pub missing_skill: Option<String>,
}

impl Engine {
    /// Finds the story behind a Message-ID (with or without brackets), a message's
    /// or a conversation's id. Nothing if nobody knows it.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn explain(&self, what: &str) -> Result<Option<Story>, DbError> {
        let what = what.trim().trim_start_matches('<').trim_end_matches('>');
        if let Ok(id) = what.parse::<ConversationId>() {
            return self.story_of_conversation(id).await;
        }
        let db = &self.store().db;
        let messages = match what.parse::<MessageId>() {
            Ok(id) => messages::find(db, id).await?.into_iter().collect(),
            Err(_) => messages::list_by_internet_id(db, what).await?,
        };
        let Some(first) = messages.first() else { return Ok(None) };
        let mut entries = Vec::new();
        for message in &messages {
            entries.extend(trace::list_of_message(db, message.id).await?);
        }
        let conversation = match first.conversation {
            Some(id) => conversations::find(db, id).await?,
            None => None,
        };
        self.story(messages, conversation, entries).await.map(Some)
    }

    async fn story_of_conversation(&self, id: ConversationId) -> Result<Option<Story>, DbError> {
        let db = &self.store().db;
        let Some(conversation) = conversations::find(db, id).await? else { return Ok(None) };
        let messages = messages::list_of_conversation(db, id).await?;
        let entries = trace::list_of_conversation(db, id).await?;
        self.story(messages, Some(conversation), entries).await.map(Some)
    }

    async fn story(
        &self,
        messages: Vec<Message>,
        conversation: Option<Conversation>,
        entries: Vec<Entry>,
    ) -> Result<Story, DbError> {
        let waiting = match &conversation {
            Some(conversation) => self.why_waiting(conversation).await?,
            None => None,
        };
        let missing_skill = match &waiting {
            Some(WhyWaiting::NobodyWithSkill { skill }) => {
                users::find_skill_name(&self.store().db, *skill).await?
            }
            _ => None,
        };
        Ok(Story { messages, conversation, entries, waiting, missing_skill })
    }
}
