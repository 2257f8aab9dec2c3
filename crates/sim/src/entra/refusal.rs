//! Refusals of Entra ID: one table of AADSTS codes, and the body they come in.
//!
//! Source: <https://learn.microsoft.com/en-us/entra/identity-platform/reference-error-codes>.

use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

/// A refusal.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    error: &'static str,
    code: u32,
    text: String,
    /// Seconds for `Retry-After`.
    pub(crate) retry_after: Option<u32>,
}

/// Status and `error` of a code; every code that the simulator answers stands here.
const CODES: [(u32, u16, &str); 36] = [
    (7_000_215, 401, "invalid_client"),
    (7_000_222, 401, "invalid_client"),
    (7_000_218, 401, "invalid_client"),
    (7_000_112, 400, "unauthorized_client"),
    (700_016, 400, "unauthorized_client"),
    (700_024, 401, "invalid_client"),
    (700_027, 401, "invalid_client"),
    (700_211, 400, "invalid_client"),
    (700_212, 400, "invalid_client"),
    (700_213, 400, "invalid_client"),
    (50_013, 401, "invalid_client"),
    (90_002, 400, "invalid_request"),
    (900_023, 400, "invalid_request"),
    (900_144, 400, "invalid_request"),
    (9_001_023, 400, "invalid_grant"),
    (70_003, 400, "unsupported_grant_type"),
    (70_011, 400, "invalid_scope"),
    (1_002_012, 400, "invalid_scope"),
    (500_011, 400, "invalid_resource"),
    (50_196, 400, "invalid_grant"),
    (7_000_229, 401, "invalid_client"),
    (700_025, 401, "invalid_client"),
    (65_001, 400, "invalid_grant"),
    (90_094, 400, "access_denied"),
    (90_008, 400, "invalid_grant"),
    (70_021, 400, "invalid_client"),
    (50_194, 400, "invalid_request"),
    (53_003, 400, "access_denied"),
    (530_034, 400, "access_denied"),
    (530_035, 400, "access_denied"),
    (28_000, 400, "invalid_request"),
    (50_012, 400, "invalid_request"),
    (54_005, 400, "invalid_grant"),
    (70_008, 400, "invalid_grant"),
    (50_011, 400, "invalid_request"),
    (501_481, 400, "invalid_grant"),
];

impl Refusal {
    /// The refusal with a code of the table.
    pub(super) fn of(code: u32, text: impl Into<String>) -> Self {
        let known = CODES.iter().find(|(known, ..)| *known == code);
        let (status, error) = known.map_or((400, "invalid_request"), |(_, status, error)| (*status, *error));
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
        Self { status, error, code, text: text.into(), retry_after: None }
    }

    /// The tenant is unknown. The discovery document and the token endpoint name the error differently.
    pub(super) fn no_tenant(tenant: &str, error: &'static str) -> Self {
        let text = format!(
            "Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID and are signing into \
             the correct cloud. Check with your subscription administrator, this may happen if there are no active \
             subscriptions for the tenant."
        );
        Self { error, ..Self::of(90_002, text) }
    }

    /// Too many requests.
    pub(super) fn throttled() -> Self {
        let status = StatusCode::TOO_MANY_REQUESTS;
        let text = "The server is temporarily too busy to handle the request.";
        Self {
            status,
            error: "temporarily_unavailable",
            code: 90_055,
            text: text.into(),
            retry_after: Some(1),
        }
    }

    /// The service has a bad moment.
    pub(super) fn unavailable() -> Self {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        let text = "A transient error has occurred. Please try again.";
        Self { status, error: "temporarily_unavailable", code: 90_033, text: text.into(), retry_after: None }
    }

    pub(crate) fn body(&self, now: Timestamp, trace: Uuid, correlation: &str) -> Value {
        let time = now.strftime("%Y-%m-%d %H:%M:%SZ").to_string();
        json!({
            "error": self.error,
            "error_description": format!(
                "AADSTS{}: {} Trace ID: {trace} Correlation ID: {correlation} Timestamp: {time}",
                self.code, self.text,
            ),
            "error_codes": [self.code],
            "timestamp": time,
            "trace_id": trace,
            "correlation_id": correlation,
            "error_uri": format!("https://login.microsoftonline.com/error?code={}", self.code),
        })
    }
}
