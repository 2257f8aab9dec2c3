//! Why there is no token, and what an operator does about it.
//!
//! Rule kept: decisions follow the OAuth error word and Microsoft's number, never
//! the text beside them, which may change.
//! <https://learn.microsoft.com/en-us/entra/identity-platform/reference-error-codes>

use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use serde::Deserialize;

use super::credential::ProofError;
use crate::{answer::without_addresses, errors::Failure};

/// Entra ID gave no token.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TokenError {
    /// The application has no credential.
    #[error("the application has no credential; add one to the integration")]
    NoCredential,
    /// There is no credential of this name.
    #[error("the integration has no credential \"{name}\"; list its credentials to see their names")]
    UnknownCredential {
        /// The name that was asked for.
        name: String,
    },
    /// Nothing was asked, because the credential itself can't be used.
    #[error("the credential \"{credential}\" can't be used: {reason}")]
    Unusable {
        /// The operator's name for the credential.
        credential: String,
        /// What is wrong with it.
        reason: ProofError,
    },
    /// Entra ID does not accept the application or its credential.
    #[error("Entra ID refused the credential \"{credential}\" ({error}, AADSTS{aadsts}): {}", remedy(*.aadsts))]
    Refused {
        /// The operator's name for the credential.
        credential: String,
        /// The OAuth error word.
        error: String,
        /// Microsoft's number for the cause; 0 if none was given.
        aadsts: u32,
        /// Microsoft's own text, without what changes each time, and free of addresses.
        said: String,
    },
    /// Entra ID is there, but does not work at present.
    #[error("Entra ID has trouble of its own (status {status})")]
    Unavailable {
        /// The HTTP status.
        status: u16,
    },
    /// No answer.
    #[error("Entra ID did not answer")]
    Unanswered(#[source] Arc<Failure>),
    /// The answer held no token that can be used.
    #[error("Entra ID's answer holds no token; check the token endpoint (status {status})")]
    Malformed {
        /// The HTTP status.
        status: u16,
    },
}

/// What an operator does about it. The pairs of code and meaning:
/// <https://learn.microsoft.com/en-us/entra/identity-platform/reference-error-codes>.
fn remedy(aadsts: u32) -> &'static str {
    match aadsts {
        7_000_215 => "the secret is wrong; enter the secret's value, not its id",
        7_000_222 => "the secret has expired; add a new one",
        700_027 => {
            "the certificate is unknown to the application or has expired; upload it there, or add a new one"
        }
        700_024 => {
            "the assertion is not in its time; check this server's clock, and that the token file is kept fresh"
        }
        50_013 => {
            "the assertion is not valid; check its key, and that the token endpoint is that of the right tenant"
        }
        70_021 | 700_211 | 700_212 | 700_213 => {
            "no federated credential of the application fits; compare its issuer, subject and audience with the token file's"
        }
        700_016 | 7_000_229 => {
            "the application is unknown in this tenant; check client id, tenant and consent"
        }
        90_002 | 900_023 => "the tenant is unknown; check the token endpoint and the cloud",
        1_002_012 | 70_011 | 500_011 => "the scope is wrong; check the cloud",
        7_000_112 => "the application is disabled in the tenant",
        53_003 | 530_034 | 530_035 => "a conditional-access policy of the tenant blocks it",
        _ => "look the code up at https://login.microsoftonline.com/error",
    }
}

/// Refusals of an assertion; they come under more than one error word.
/// <https://learn.microsoft.com/en-us/entra/workload-id/workload-identity-federation-considerations>
const ASSERTION: [u32; 7] = [50_013, 70_021, 700_024, 700_027, 700_211, 700_212, 700_213];

impl TokenError {
    /// Microsoft's number for the cause of a refusal, if it gave one.
    pub fn aadsts(&self) -> Option<u32> {
        match self {
            Self::Refused { aadsts, .. } => Some(*aadsts).filter(|code| *code != 0),
            _ => None,
        }
    }

    /// Whether another credential may fare better.
    pub(super) fn is_credential(&self) -> bool {
        match self {
            Self::Unusable { .. } => true,
            Self::Refused { error, aadsts, .. } => error == "invalid_client" || ASSERTION.contains(aadsts),
            _ => false,
        }
    }

    /// What an answer without a token means.
    pub(super) fn read(credential: &str, response: &Response<Bytes>) -> Self {
        let status = response.status().as_u16();
        let body: OAuthError = serde_json::from_slice(response.body()).unwrap_or_default();
        if status == 429
            || status >= 500
            || matches!(body.error.as_str(), "temporarily_unavailable" | "server_error")
        {
            return Self::Unavailable { status };
        }
        if body.error.is_empty() {
            return Self::Malformed { status };
        }
        let aadsts = body.error_codes.first().copied().unwrap_or_default();
        let said = body.error_description.split(" Trace ID:").next().unwrap_or_default();
        let said = without_addresses(said.trim());
        Self::Refused { credential: credential.to_owned(), error: body.error, aadsts, said }
    }
}

#[derive(Default, Deserialize)]
struct OAuthError {
    #[serde(default)]
    error: String,
    #[serde(default)]
    error_codes: Vec<u32>,
    #[serde(default)]
    error_description: String,
}
