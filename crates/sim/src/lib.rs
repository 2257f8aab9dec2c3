//! The Microsoft 365 simulator: Graph mail, Entra ID, change notifications.
//!
//! Written from the published facts, not from our client, so that a
//! misunderstanding on one side shows on the other. Stands alone: knows nothing
//! of the rest of the project. Embedders make a [`Simulator`], serve its routers
//! (or call them in the same process) and drive [`Simulator::run`].

mod administration;
mod clock;
mod compose;
mod config;
mod content;
mod control;
mod directory;
mod entra;
mod figures;
mod graph;
mod mailbox;
mod notify;
mod outgoing;
mod pages;
mod random;
mod server;
mod simulator;
mod state;
mod switches;
mod throttle;

pub use administration::{
    AdminError, ApplicationView, CredentialView, MailboxChange, MailboxView, NewFederation, NewSecret,
};
pub use clock::Clock;
pub use config::{Config, MailboxConfig};
pub use directory::{AccessRight, Assignment, CertificateFault, Policy};
pub use entra::keys::KeyFault;
pub use figures::{Figures, MailboxFigures, NotificationFigures, RequestLog};
pub use mailbox::{MailboxKind, MailboxStatus};
pub use outgoing::{InProcess, Network, Outgoing, OutgoingError};
pub use server::{Certificate, CertificateError, MICROSOFT_HOSTS, serve_proxy};
pub use simulator::{MessageView, NoMailbox, Requests, Simulator};
pub use switches::{
    Chance, Count, DuplicatePolicy, ErrorShape, Millis, Profile, ResyncStatus, RetryAfter, Statuses,
    SwitchError, SwitchFacts, Switches,
};
