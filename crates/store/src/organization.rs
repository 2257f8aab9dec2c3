//! The organisation as the store keeps it: read back whole for a plan, and
//! changed by a plan in one commit.
//!
//! Called by `apply`. Keeps the rules that ids stay with their names over every
//! change, that people keep password, language and routing status, and that the
//! running server is told by the change feed in the same commit.

mod read;
mod uses;
mod write;

use std::collections::BTreeMap;

use postroom_model::organization::{Kind, Named, Organization};
use uuid::Uuid;

use crate::seal::SealError;

pub use read::find;
pub use uses::list_uses;
pub use write::write;

/// Where a thing is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    id: Uuid,
    position: i64,
}

/// The organisation that is there, with what is needed to change it.
#[derive(Debug)]
pub struct Present {
    /// Its values.
    pub organization: Organization,
    places: BTreeMap<Named, Place>,
}

impl Present {
    fn id(&self, kind: Kind, name: &str) -> Option<Uuid> {
        self.places.get(&Named::new(kind, name)).map(|place| place.id)
    }
}

/// A plan could not be turned into statements.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// A secret could not be sealed.
    #[error("credential \"{name}\" can't be sealed; check the key file")]
    Seal {
        /// Which one.
        name: String,
        /// Why.
        #[source]
        cause: SealError,
    },
    /// A thing names another that is not there.
    #[error("{user} names {used}, which is not there")]
    Dangling {
        /// Who names it.
        user: Named,
        /// What is not there.
        used: Named,
    },
}

#[cfg(test)]
mod tests;
