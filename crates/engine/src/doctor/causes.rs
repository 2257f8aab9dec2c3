//! What an error means for an examination: which cause it shows.
//!
//! Pure; called by the examinations of integration and mailbox.

use postroom_graph::{Answer, Failure, GraphError, Obstacle, ProofError, TokenError};
use postroom_model::{
    Timestamp,
    credential::CredentialKind,
    doctor::{Cause, Check, Finding, cause_of_aadsts, is_guid},
};
use postroom_store::credentials::Credential;
use secrecy::ExposeSecret as _;
use url::{Host, Url};

use crate::in_full;

/// What an error of Graph means here.
pub(super) fn refused(check: Check, error: &GraphError) -> Finding {
    let cause = match error {
        GraphError::Outage(failure) | GraphError::Unknown(failure) => cause_of_failure(failure),
        GraphError::OutOfScope(answer) | GraphError::Refused(answer) => cause_of_refusal(answer),
        GraphError::MailboxMissing(answer) => cause_of_missing(answer),
        GraphError::Unauthorized(_) => Cause::GraphRejects,
        GraphError::Gone(_) => Cause::MailboxUnknown,
        GraphError::Throttled { .. } | GraphError::Parked(_) => Cause::Throttled,
        GraphError::Token(_) => Cause::NeedsEarlier,
        GraphError::ItemBroken(_)
        | GraphError::SyncStateLost(_)
        | GraphError::TrackElsewhere { .. }
        | GraphError::Malformed { .. } => Cause::GraphTrouble,
    };
    let finding = match cause {
        Cause::Throttled | Cause::GraphTrouble | Cause::NeedsEarlier => Finding::cant_tell(check, cause),
        _ => Finding::no(check, cause),
    };
    finding.answered(said(error))
}

pub(super) fn said(error: &GraphError) -> String {
    match error.answer() {
        Some(answer) => answer.to_string(),
        None => in_full(error),
    }
}

pub(super) fn cause_of_token_error(credential: &Credential, error: &TokenError, now: Timestamp) -> Cause {
    let has_ended = credential.expires_at.is_some_and(|at| at <= now);
    match error {
        TokenError::Refused { aadsts, .. } => {
            let is_secret = credential.proof.kind == CredentialKind::Secret;
            let looks_like_id = is_secret && is_guid(credential.proof.text.expose_secret().trim());
            match cause_of_aadsts(*aadsts, looks_like_id) {
                Cause::CertificateUnknown if has_ended => Cause::CertificateExpired,
                Cause::AssertionInvalid if credential.proof.kind == CredentialKind::FederatedTokenFile => {
                    Cause::FederationUnknown
                }
                cause => cause,
            }
        }
        TokenError::Unusable { reason, .. } => match reason {
            ProofError::File { .. } | ProofError::EmptyFile { .. } => Cause::TokenFile,
            _ => Cause::AssertionInvalid,
        },
        TokenError::NoCredential | TokenError::UnknownCredential { .. } => Cause::CredentialMissing,
        TokenError::Unavailable { .. } => Cause::EntraTrouble,
        TokenError::Unanswered(_) => Cause::EntraSilent,
        TokenError::Malformed { .. } => Cause::EntraStranger,
    }
}

fn cause_of_failure(failure: &Failure) -> Cause {
    match failure {
        Failure::Answered(answer) if answer.code.as_deref().is_some_and(is_quota) => Cause::MailboxFull,
        Failure::Answered(_) => Cause::GraphTrouble,
        Failure::TimedOut { .. } | Failure::Silent { .. } | Failure::Transport(_) => by_obstacle(
            failure,
            [Cause::GraphName, Cause::GraphRefused, Cause::GraphCertificate, Cause::GraphSilent],
        ),
    }
}

fn is_quota(code: &str) -> bool {
    code.eq_ignore_ascii_case("ErrorQuotaExceeded")
}

/// <https://learn.microsoft.com/en-us/exchange/permissions-exo/application-access-policies>: the code
/// is that of any refusal, only the text names the policy; a subscription has a code of its own for it.
fn cause_of_refusal(answer: &Answer) -> Cause {
    let is_policy = answer.message.contains("RAOP")
        || answer.code.as_deref().is_some_and(|code| code.eq_ignore_ascii_case("ExtensionError"));
    if answer.status == 403 && is_policy { Cause::PolicyBlocks } else { Cause::ReadMissing }
}

/// <https://learn.microsoft.com/en-us/graph/errors>: an address that nobody has, or one without a mailbox
/// in Exchange Online.
fn cause_of_missing(answer: &Answer) -> Cause {
    let code = answer.code.as_deref().unwrap_or_default().to_ascii_lowercase();
    match code.as_str() {
        "mailboxnotenabledforrestapi"
        | "mailboxnotsupportedforrestapi"
        | "mailboxnothostedinexchangeonline" => Cause::MailboxUnlicensed,
        _ => Cause::MailboxUnknown,
    }
}

pub(super) fn handshake_cause(answer: &Answer) -> Cause {
    let is_validation = answer.message.to_ascii_lowercase().contains("validation");
    match answer.status {
        400 if is_validation => Cause::HandshakeFailed,
        403 => cause_of_refusal(answer),
        _ => Cause::SubscriptionRefused,
    }
}

/// The cause by what stood in the way: name, refusal, certificate, anything else.
pub(super) fn by_obstacle(failure: &Failure, [name, refused, certificate, silent]: [Cause; 4]) -> Cause {
    let Failure::Transport(error) = failure else { return silent };
    match error.obstacle() {
        Obstacle::Name => name,
        Obstacle::Refused => refused,
        Obstacle::Certificate => certificate,
        Obstacle::Insecure | Obstacle::Other => silent,
    }
}

/// What keeps Microsoft from calling an address, before anybody is asked.
/// <https://learn.microsoft.com/en-us/graph/change-notifications-delivery-webhooks>
pub(super) fn public_fault(url: &Url, may_be_private: bool) -> Option<Cause> {
    if may_be_private {
        return None;
    }
    if url.scheme() != "https" {
        return Some(Cause::PublicInsecure);
    }
    is_private(url).then_some(Cause::PublicPrivate)
}

/// Whether an address has no meaning in the internet.
pub(super) fn is_private(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => {
            ip.is_loopback() || ip.is_private() || ip.is_link_local() || ip.is_unspecified()
        }
        Some(Host::Ipv6(ip)) => {
            ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local() || ip.is_unspecified()
        }
        Some(Host::Domain(name)) => {
            let name = name.trim_end_matches('.').to_ascii_lowercase();
            !name.contains('.')
                || [".local", ".internal", ".lan", ".localhost", ".home.arpa"]
                    .iter()
                    .any(|end| name.ends_with(end))
        }
        None => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_microsoft_can_not_call_is_named() {
        let fault = |url: &str| public_fault(&url.parse().unwrap(), false);
        for (url, expected) in [
            ("https://mail.contoso.com/", None),
            ("https://203.0.113.7:8443/", None),
            ("http://mail.contoso.com/", Some(Cause::PublicInsecure)),
            ("https://localhost/", Some(Cause::PublicPrivate)),
            ("https://10.1.2.3/", Some(Cause::PublicPrivate)),
            ("https://[fd00::1]/", Some(Cause::PublicPrivate)),
            ("https://postroom/", Some(Cause::PublicPrivate)),
            ("https://postroom.corp.internal/", Some(Cause::PublicPrivate)),
        ] {
            assert_eq!(fault(url), expected, "{url}");
        }
    }
}
