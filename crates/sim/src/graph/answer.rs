//! Answers and errors as the service gives them.
//!
//! Every error of Graph is one [`Failure`]; its codes and texts are those of
//! real replies. Source: <https://learn.microsoft.com/en-us/graph/errors>.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use super::filter::FilterError;
use crate::directory::Access;
use crate::switches::{ErrorShape, ResyncStatus};
use crate::throttle::{Ban, Excess};

/// A successful answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) payload: Payload,
    pub(crate) location: Option<String>,
    /// Waits that refusals within the answer ask for.
    pub(crate) bans: Vec<Ban>,
}

#[derive(Debug)]
pub(crate) enum Payload {
    Nothing,
    Json(Value),
    Raw { content_type: String, bytes: Bytes },
}

impl Answer {
    pub(crate) fn json(value: Value) -> Self {
        Self { status: StatusCode::OK, payload: Payload::Json(value), location: None, bans: Vec::new() }
    }

    pub(crate) fn created(value: Value, location: String) -> Self {
        Self {
            status: StatusCode::CREATED,
            payload: Payload::Json(value),
            location: Some(location),
            bans: Vec::new(),
        }
    }

    pub(crate) fn raw(content_type: impl Into<String>, bytes: Bytes) -> Self {
        let payload = Payload::Raw { content_type: content_type.into(), bytes };
        Self { status: StatusCode::OK, payload, location: None, bans: Vec::new() }
    }

    pub(crate) fn accepted() -> Self {
        Self { status: StatusCode::ACCEPTED, payload: Payload::Nothing, location: None, bans: Vec::new() }
    }

    pub(crate) fn no_content() -> Self {
        Self { status: StatusCode::NO_CONTENT, payload: Payload::Nothing, location: None, bans: Vec::new() }
    }
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) message: String,
    /// Seconds for the `Retry-After` header.
    pub(crate) retry_after: Option<u32>,
    /// From when on a token must be, if a newer one would do.
    pub(crate) newer_than: Option<Timestamp>,
}

impl Failure {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), retry_after: None, newer_than: None }
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequest", message)
    }

    pub(crate) fn body(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "RequestBodyRead", message)
    }

    pub(crate) fn no_segment(segment: &str) -> Self {
        Self::bad_request(format!("Resource not found for the segment '{segment}'."))
    }

    pub(crate) fn method() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "Request_BadRequest",
            "Specified HTTP method is not allowed for the request target.",
        )
    }

    pub(crate) fn token(message: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "InvalidAuthenticationToken", message)
    }

    pub(crate) fn no_item() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "ErrorItemNotFound",
            "The specified object was not found in the store.",
        )
    }

    pub(crate) fn malformed_id() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "ErrorInvalidIdMalformed", "Id is malformed.")
    }

    /// The directory knows no such user, as paths outside the mailbox say it.
    pub(crate) fn no_directory_user(user: &str) -> Self {
        let message = format!(
            "Resource '{user}' does not exist or one of its queried reference-property objects are not present."
        );
        Self::new(StatusCode::NOT_FOUND, "Request_ResourceNotFound", message)
    }

    pub(crate) fn change_key() -> Self {
        Self::new(
            StatusCode::PRECONDITION_FAILED,
            "ErrorIrresolvableConflict",
            "The send or update operation could not be performed because the change key passed in the request \
             does not match the current change key for the item.",
        )
    }

    pub(crate) fn folder_exists() -> Self {
        Self::new(
            StatusCode::CONFLICT,
            "ErrorFolderExists",
            "A folder with the specified name already exists.",
        )
    }

    pub(crate) fn no_user(user: &str) -> Self {
        let message = format!("The requested user '{user}' is invalid.");
        Self::new(StatusCode::NOT_FOUND, "ErrorInvalidUser", message)
    }

    pub(crate) fn no_subscription() -> Self {
        Self::new(StatusCode::NOT_FOUND, "ResourceNotFound", "The object was not found.")
    }

    /// A budget of the mailbox is spent.
    pub(crate) fn exceeds(excess: Excess) -> Self {
        match excess {
            Excess::Concurrency => Self::throttled("Application is over its MailboxConcurrency limit.", 1),
            Excess::Requests(wait) => Self::throttled("Application is over its RequestRate limit.", wait),
            Excess::Upload(wait) => Self::throttled("Application is over its UploadVolume limit.", wait),
        }
    }

    pub(crate) fn throttled(message: &str, wait: u32) -> Self {
        let failure = Self::new(StatusCode::TOO_MANY_REQUESTS, "ApplicationThrottled", message);
        Self { retry_after: Some(wait), ..failure }
    }

    /// The service has a bad moment of this status.
    pub(crate) fn weather(status: u16) -> Self {
        let (code, message) = match status {
            500 => ("ErrorInternalServerError", "An internal server error occurred. The operation failed."),
            502 => ("BadGateway", "Bad gateway."),
            504 => ("UnknownError", ""),
            507 => ("QuotaExceededException", "Target mailbox quota exceeded."),
            509 => ("bandwidthLimitExceeded", "The bandwidth limit has been exceeded."),
            _ => ("ErrorServerBusy", "The server cannot service this request right now. Try again later."),
        };
        Self::new(StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE), code, message)
    }

    /// The mailbox is over its quota: even reads fail then.
    pub(crate) fn quota(is_read: bool) -> Self {
        if is_read {
            let message = "The process failed to get the correct properties.";
            Self::new(StatusCode::FORBIDDEN, "ErrorQuotaExceeded", message)
        } else {
            Self::weather(507)
        }
    }

    /// There is no mailbox in Exchange Online.
    pub(crate) fn no_mailbox() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "MailboxNotEnabledForRESTAPI",
            "The mailbox is either inactive, soft-deleted, or is hosted on-premise.",
        )
    }

    /// The application may not do this with the mailbox.
    pub(crate) fn access(access: Access) -> Self {
        let message = match access {
            Access::Blocked => {
                "Access to OData is disabled: [RAOP] : Blocked by tenant configured AppOnly AccessPolicy settings."
            }
            Access::Granted | Access::Denied => "Access is denied. Check credentials and try again.",
        };
        Self::new(StatusCode::FORBIDDEN, "ErrorAccessDenied", message)
    }

    /// The application may not read the directory.
    pub(crate) fn no_directory_access() -> Self {
        let message = "Insufficient privileges to complete the operation.";
        Self::new(StatusCode::FORBIDDEN, "Authorization_RequestDenied", message)
    }

    /// The token was revoked; a client that knows claims challenges gets one.
    pub(crate) fn revoked(since: Timestamp, knows_claims: bool) -> Self {
        let failure = Self::token(
            "Continuous access evaluation resulted in challenge with result: InteractionRequired and code: \
             TokenIssuedBeforeRevocationTimestamp",
        );
        Self { newer_than: knows_claims.then_some(since), ..failure }
    }

    pub(crate) fn too_large() -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestBodyTooLarge", "The request body is too large.")
    }

    pub(crate) fn timeout() -> Self {
        Self::new(StatusCode::GATEWAY_TIMEOUT, "UnknownError", "")
    }

    pub(crate) fn no_sync_state(status: ResyncStatus) -> Self {
        Self::new(
            StatusCode::from_u16(status.into()).unwrap_or(StatusCode::GONE),
            "SyncStateNotFound",
            "The sync state generation is not found; generation=149;[highest=157][157][155][156].",
        )
    }

    /// The body of the answer.
    pub(crate) fn to_json(
        &self,
        shape: ErrorShape,
        now: Timestamp,
        request: Uuid,
        client_request: &str,
    ) -> Value {
        let mut error = json!({ "code": self.code, "message": self.message });
        if shape != ErrorShape::Bare {
            error["innerError"] = json!({
                "date": now.strftime("%Y-%m-%dT%H:%M:%S").to_string(),
                "request-id": request,
                "client-request-id": client_request,
            });
        }
        json!({ "error": error })
    }

    /// The `WWW-Authenticate` header of a refused token:
    /// <https://learn.microsoft.com/en-us/entra/identity-platform/claims-challenge>.
    pub(crate) fn challenge(&self) -> String {
        const AUTHORIZE: &str = "https://login.microsoftonline.com/common/oauth2/authorize";
        let Some(since) = self.newer_than else {
            return format!(
                "Bearer realm=\"\", authorization_uri=\"{AUTHORIZE}\", \
                 client_id=\"00000003-0000-0000-c000-000000000000\""
            );
        };
        let value = since.as_second().to_string();
        let claims = json!({ "access_token": { "nbf": { "essential": true, "value": value } } });
        format!(
            "Bearer realm=\"\", authorization_uri=\"{AUTHORIZE}\", error=\"insufficient_claims\", claims=\"{}\"",
            STANDARD.encode(claims.to_string()),
        )
    }
}

impl From<FilterError> for Failure {
    fn from(error: FilterError) -> Self {
        Self::bad_request(error.to_string())
    }
}
