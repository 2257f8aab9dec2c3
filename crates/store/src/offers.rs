//! Offers: a conversation shown to an agent for the queue's alerting time. At
//! most one is open for each conversation.

use postroom_model::{ConversationId, OfferId, Timestamp, UserId, conversation::OfferState};

use crate::{Db, DbError, Row, Stmt, args};

/// An open offer.
#[derive(Debug, Clone)]
pub struct Offer {
    /// Its id.
    pub id: OfferId,
    /// What is offered.
    pub conversation: ConversationId,
    /// To whom.
    pub user: UserId,
    /// Since when.
    pub offered_at: Timestamp,
    /// Until when.
    pub deadline_at: Timestamp,
}

fn read(row: Row) -> Result<Offer, DbError> {
    let mut c = row.columns();
    Ok(Offer {
        id: c.next()?,
        conversation: c.next()?,
        user: c.next()?,
        offered_at: c.next()?,
        deadline_at: c.next()?,
    })
}

/// Makes an open offer. Fails if the conversation has one already.
pub fn insert(offer: &Offer) -> Stmt {
    Stmt::new(
        "INSERT INTO offers (id, conversation_id, user_id, state, offered_at, deadline_at) \
         VALUES ($1, $2, $3, 'open', $4, $5)",
        args![offer.id, offer.conversation, offer.user, offer.offered_at, offer.deadline_at],
    )
}

/// Ends the open offer; lost if it has ended already.
pub fn record_answer(id: OfferId, state: OfferState, at: Timestamp) -> Stmt {
    Stmt::new(
        "UPDATE offers SET state = $2, answered_at = $3 WHERE id = $1 AND state = 'open'",
        args![id, state.as_str(), at],
    )
    .expect_one()
}

/// The open offer of a conversation.
///
/// # Errors
/// When the engine can't be reached.
pub async fn find_open(db: &Db, conversation: ConversationId) -> Result<Option<Offer>, DbError> {
    let stmt = Stmt::new(
        "SELECT id, conversation_id, user_id, offered_at, deadline_at FROM offers \
         WHERE conversation_id = $1 AND state = 'open'",
        args![conversation],
    );
    db.query(stmt).await?.into_iter().next().map(read).transpose()
}

/// The open offers of an agent, the next to run out first.
///
/// # Errors
/// When the engine can't be reached.
pub async fn list_of_user(db: &Db, user: UserId) -> Result<Vec<Offer>, DbError> {
    let stmt = Stmt::new(
        "SELECT id, conversation_id, user_id, offered_at, deadline_at FROM offers \
         WHERE state = 'open' AND user_id = $1 ORDER BY deadline_at, id",
        args![user],
    );
    db.query(stmt).await?.into_iter().map(read).collect()
}

/// All open offers, the next to run out first.
///
/// # Errors
/// When the engine can't be reached.
pub async fn list_open(db: &Db) -> Result<Vec<Offer>, DbError> {
    let stmt = Stmt::new(
        "SELECT id, conversation_id, user_id, offered_at, deadline_at FROM offers \
         WHERE state = 'open' ORDER BY deadline_at, id",
        args![],
    );
    db.query(stmt).await?.into_iter().map(read).collect()
}
