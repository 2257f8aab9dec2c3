//! Microsoft Graph and Entra ID client: tokens, lanes, retries, typed calls.
//!
//! Written from Microsoft's documentation and from field reports; knows nothing
//! of databases and of the domain. A [`Graph`] stands for one application in one
//! tenant, a [`Mailbox`] for one mailbox in it. Every call to a mailbox goes
//! through its lane ([`LaneConfig`]), which alone keeps Microsoft's limits.
//! Nothing here spawns a task or reads a clock: time and randomness come in,
//! waiting is tokio's, so everything runs in virtual time.

mod afterwards;
mod answer;
mod call;
mod client;
mod cloud;
mod content;
mod delta;
mod draft;
mod errors;
mod examine;
mod lane;
mod mailbox;
pub mod notification;
mod requests;
mod stream;
mod subscription;
#[cfg(test)]
mod testing;
mod token;
mod transport;
mod wire;

pub use answer::Answer;
pub use client::{Graph, GraphConfig};
pub use cloud::{Cloud, Endpoints, UnknownCloud};
pub use content::{AttachmentMeta, InternetHeader, MessageBody, MessageContent, NamedAddress, Person};
pub use delta::{DeltaFrom, DeltaItem, DeltaNext, DeltaPage, IdItem, IdPage};
pub use draft::{Draft, DraftContent, FoundMessage, Marker, Recipient, WellKnown};
pub use errors::{Failure, GraphError, GraphErrorKind};
pub use examine::{MadeProbe, MailboxSettings, Sought, TokenFacts};
pub use lane::{LaneConfig, LaneView, ParkReason, Parked, Priority};
pub use mailbox::{Folder, Mailbox, MessageMeta};
pub use requests::Operation;
pub use stream::ByteStream;
pub use subscription::{NewSubscription, Subscription};
pub use token::{
    CertificateKey, CertificateKeyError, Code, Credential, CredentialState, Proof, ProofError, ReadFile,
    TokenError,
};
pub use transport::{Body, InProcess, Network, Obstacle, Transport, TransportError};
