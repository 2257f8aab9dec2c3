//! The world around the mail, from a client's side and in virtual time: Entra ID, who may use which
//! mailbox, limits, notifications and delta, with the faults that switches put into them.

#![expect(clippy::unwrap_used, reason = "a test that can't go on should stop where it stands")]

mod client;
mod delta;
mod endpoint;
mod entra;
mod handbook;
mod lifecycle;
mod limits;
mod notifications;
mod scoping;
mod seeds;
mod signer;
mod tokens;
