//! What an embedder decides about a simulator before it starts.

use std::time::Duration;

use crate::clock::Clock;
use crate::outgoing::Outgoing;
use crate::switches::Switches;

/// Everything a [`Simulator`](crate::Simulator) needs to know and may do.
#[derive(Clone, Debug)]
pub struct Config {
    /// Time.
    pub clock: Clock,
    /// All randomness comes from here: the same seed gives the same ids, tokens and faults.
    pub seed: u64,
    /// How long each Graph request takes. Also the switch `latency_ms`.
    pub latency: Duration,
    /// The switches at the start; `latency` counts before theirs.
    pub switches: Switches,
    /// How notifications leave the simulator.
    pub outgoing: Outgoing,
    /// Root under which clients reach the Graph router, without a slash at the end; begins every link in answers.
    pub graph_url: String,
    /// Directory id of the tenant, a GUID.
    pub tenant_id: String,
    /// Application id that may ask for tokens, a GUID.
    pub client_id: String,
    /// Secret of that application.
    pub client_secret: String,
    /// Mailboxes of the tenant.
    pub mailboxes: Vec<MailboxConfig>,
    /// Accepts `http` notification URLs when their host is a loopback address. Microsoft 365 wants https.
    pub allow_http_loopback: bool,
}

/// One mailbox of the tenant.
#[derive(Clone, Debug)]
pub struct MailboxConfig {
    /// Primary address, the name under which Graph knows the mailbox.
    pub address: String,
    /// Name that recipients see.
    pub display_name: String,
    /// Further addresses: mail to them arrives here and the mailbox may send as them; Graph does not find it by them.
    pub aliases: Vec<String>,
}

impl MailboxConfig {
    /// A mailbox without further addresses.
    pub fn new(address: impl Into<String>, display_name: impl Into<String>) -> Self {
        Self { address: address.into(), display_name: display_name.into(), aliases: Vec::new() }
    }
}

impl Config {
    /// The sample tenant: Contoso with `support@` (also `billing@`) and `sales@contoso.example`,
    /// no latency, https only.
    pub fn sample(clock: Clock, outgoing: Outgoing) -> Self {
        let mut support = MailboxConfig::new("support@contoso.example", "Contoso Support");
        support.aliases.push("billing@contoso.example".into());
        Self {
            clock,
            seed: 1,
            latency: Duration::ZERO,
            switches: Switches::default(),
            outgoing,
            graph_url: "https://graph.microsoft.com".into(),
            tenant_id: "11111111-1111-1111-1111-111111111111".into(),
            client_id: "22222222-2222-2222-2222-222222222222".into(),
            client_secret: "sample~secret-of-the-simulator".into(),
            mailboxes: vec![support, MailboxConfig::new("sales@contoso.example", "Contoso Sales")],
            allow_http_loopback: false,
        }
    }
}
