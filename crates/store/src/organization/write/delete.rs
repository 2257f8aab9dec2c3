//! Deletes things that nothing uses any more. Each statement looks once more, so
//! that work which came in since the plan was made loses the unit.

use postroom_model::organization::Kind;
use uuid::Uuid;

use crate::{Stmt, args};

/// The statement that deletes a thing; none for the organisation itself, which stays.
pub(super) fn delete(kind: Kind, id: Uuid) -> Option<Stmt> {
    let sql = match kind {
        Kind::Organization => return None,
        Kind::Skill => {
            "DELETE FROM skills WHERE id = $1 \
             AND NOT EXISTS (SELECT 1 FROM conversation_skills WHERE skill_id = $1)"
        }
        Kind::User => {
            "DELETE FROM users WHERE id = $1 \
             AND NOT EXISTS (SELECT 1 FROM conversations WHERE agent_id = $1 OR last_agent_id = $1) \
             AND NOT EXISTS (SELECT 1 FROM offers WHERE user_id = $1) \
             AND NOT EXISTS (SELECT 1 FROM outgoing WHERE user_id = $1)"
        }
        Kind::Queue => {
            "DELETE FROM queues WHERE id = $1 \
             AND NOT EXISTS (SELECT 1 FROM conversations WHERE queue_id = $1)"
        }
        Kind::Integration => "DELETE FROM integrations WHERE id = $1",
        Kind::Domain => "DELETE FROM domains WHERE id = $1",
        Kind::Mailbox => {
            "DELETE FROM mailboxes WHERE id = $1 \
             AND NOT EXISTS (SELECT 1 FROM messages WHERE mailbox_id = $1) \
             AND NOT EXISTS (SELECT 1 FROM conversations WHERE mailbox_id = $1) \
             AND NOT EXISTS (SELECT 1 FROM outgoing WHERE mailbox_id = $1)"
        }
        Kind::Route => "DELETE FROM routes WHERE id = $1",
    };
    Some(Stmt::new(sql, args![id]).expect_one())
}
