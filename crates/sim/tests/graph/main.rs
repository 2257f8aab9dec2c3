//! The simulator's Graph from a client's side: stories, the published schema and nonsense.

#![expect(clippy::unwrap_used, reason = "a test that can't go on should stop where it stands")]

mod client;
mod examples;
mod facts;
mod mail;
mod nonsense;
