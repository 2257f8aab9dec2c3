//! Domain types, ids, states, and every pure decision of Postroom.
//!
//! Nothing here does input or output, waits, or reads a clock: a decision takes
//! a snapshot and answers what should happen. The rooms above carry it out.

pub mod acd;
pub mod address;
pub mod alerts;
pub mod conversation;
pub mod credential;
pub mod doctor;
pub mod effects;
pub mod id;
pub mod ledger;
pub mod mailbox;
pub mod onboarding;
pub mod organization;
pub mod outbox;
pub mod routing;
pub mod threading;
pub mod user;
pub mod words;

pub use address::EmailAddress;
pub use effects::{Clock, Entropy};
pub use id::*;
pub use jiff::Timestamp;
