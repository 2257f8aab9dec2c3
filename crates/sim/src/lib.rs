//! The Microsoft 365 simulator: Graph mail, Entra ID, change notifications.
//!
//! Written from the published facts, not from our client, so that a
//! misunderstanding on one side shows on the other. Stands alone: knows nothing
//! of the rest of the project. Embedders make a [`Simulator`], serve its routers
//! (or call them in the same process) and drive [`Simulator::run`].

mod clock;
mod compose;
mod config;
mod content;
mod control;
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

pub use clock::Clock;
pub use config::{Config, MailboxConfig};
pub use figures::{Figures, MailboxFigures, NotificationFigures, RequestLog};
pub use outgoing::{InProcess, Network, Outgoing, OutgoingError};
pub use server::{Certificate, CertificateError, MICROSOFT_HOSTS, serve_proxy};
pub use simulator::{MessageView, NoMailbox, Requests, Simulator};
pub use switches::{DuplicatePolicy, Millis, Share, SwitchError, Switches};
