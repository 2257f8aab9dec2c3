//! Reading an answer that is not a success: what Graph says, and what it means.
//!
//! Used by `client` for every refusal. Rule kept: the HTTP status decides first,
//! codes are compared without regard to case, and a body may be anything, HTML
//! and nothing included (<https://learn.microsoft.com/en-us/graph/errors>).

use std::fmt;

use bytes::Bytes;
use http::{Response, header::RETRY_AFTER};
use jiff::{SignedDuration, Timestamp, fmt::rfc2822};
use serde::Deserialize;

use crate::requests::Operation;

/// Longer wishes are taken for this: a refused request costs little, a wrong date much.
const LONGEST_RETRY_AFTER: SignedDuration = SignedDuration::from_hours(1);
/// Characters of Graph's own text that are kept.
const MESSAGE_CHARS: usize = 300;

/// What Graph said when it did not do what was asked. Its text is free of addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// What was asked.
    pub operation: Operation,
    /// The HTTP status.
    pub status: u16,
    /// Graph's code, as it was written.
    pub code: Option<String>,
    /// Graph's text for people, shortened.
    pub message: String,
    /// What Microsoft's support asks for.
    pub request_id: Option<String>,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} was answered {}", self.operation, self.status)?;
        if let Some(code) = &self.code {
            write!(f, " {code}")?;
        }
        if !self.message.is_empty() {
            write!(f, ", \"{}\"", self.message)?;
        }
        match &self.request_id {
            Some(id) => write!(f, " (request-id {id})"),
            None => Ok(()),
        }
    }
}

/// What an answer means for the item and for the mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// The item is not there.
    Gone,
    /// The delta track is forgotten.
    SyncStateLost,
    /// Too many or too fast; certainly not done.
    Throttled,
    /// The token is not accepted.
    Unauthorized,
    /// The application may not.
    OutOfScope,
    /// There is no such mailbox.
    MailboxMissing,
    /// This request will never succeed as it is.
    Refused,
    /// Somebody else changed the item at the same moment; the same request may succeed.
    Conflict,
    /// Not Graph's considered word: an error of its own, or of something between.
    Failed,
}

#[derive(Deserialize)]
struct Envelope {
    error: ErrorBody,
}

#[derive(Deserialize)]
struct ErrorBody {
    code: Option<String>,
    message: Option<String>,
    #[serde(alias = "innererror", rename = "innerError")]
    inner: Option<InnerError>,
}

#[derive(Deserialize)]
struct InnerError {
    #[serde(rename = "request-id")]
    request_id: Option<String>,
}

impl Answer {
    pub(crate) fn read(operation: Operation, response: &Response<Bytes>) -> Self {
        let error = serde_json::from_slice::<Envelope>(response.body()).ok().map(|envelope| envelope.error);
        let header = response.headers().get("request-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
        let (code, message, inner) = match error {
            Some(error) => (error.code, error.message, error.inner),
            None => (None, None, None),
        };
        Self {
            operation,
            status: response.status().as_u16(),
            code: code.filter(|code| !code.is_empty()).map(|code| without_addresses(&code)),
            message: without_addresses(&message.unwrap_or_default()),
            request_id: header.or_else(|| inner.and_then(|inner| inner.request_id)),
        }
    }

    /// Which reaction the status, and then the code, ask for.
    pub(crate) fn meaning(&self) -> Meaning {
        let code = self.code.as_deref().unwrap_or_default().to_ascii_lowercase();
        let lost = self.status == 410 || code.contains("syncstate") || code.contains("resync");
        if self.operation == Operation::Delta && lost {
            return Meaning::SyncStateLost;
        }
        match self.status {
            401 => Meaning::Unauthorized,
            403 => match code.as_str() {
                // The sender of this one mail is wrong; the mailbox works.
                "errorsendasdenied" => Meaning::Refused,
                "errorquotaexceeded" => Meaning::Failed,
                _ => Meaning::OutOfScope,
            },
            404 if self.operation == Operation::CreateSubscription => Meaning::MailboxMissing,
            404 | 410 if self.operation.on_subscription() => Meaning::Gone,
            404 => match code.as_str() {
                // This is a proxy or gateway, and no proof that a mail is gone.
                "" => Meaning::Failed,
                "errorinvaliduser"
                | "mailboxnotenabledforrestapi"
                | "mailboxnotsupportedforrestapi"
                | "mailboxnothostedinexchangeonline"
                | "request_resourcenotfound"
                | "resourcenotfound" => Meaning::MailboxMissing,
                _ => Meaning::Gone,
            },
            410 => Meaning::Gone,
            412 => Meaning::Conflict,
            429 | 509 => Meaning::Throttled,
            407 | 408 => Meaning::Failed,
            // Graph always gives a code.
            400..=499 if code.is_empty() => Meaning::Failed,
            400..=499 => Meaning::Refused,
            _ => Meaning::Failed,
        }
    }

    /// Whether the refusal names the limit of requests at one time on one mailbox.
    pub(crate) fn names_concurrency(&self) -> bool {
        self.message.to_ascii_lowercase().contains("mailboxconcurrency")
    }
}

/// How long the answer asks to wait: seconds or a date, at most an hour.
pub(crate) fn retry_after(response: &Response<Bytes>, now: Timestamp) -> Option<SignedDuration> {
    let text = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse::<u32>() {
        Ok(seconds) => SignedDuration::from_secs(i64::from(seconds)),
        Err(_) => rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?.duration_since(now),
    };
    Some(wait.clamp(SignedDuration::ZERO, LONGEST_RETRY_AFTER))
}

/// Graph quotes addresses in its texts, and texts go to logs.
pub(crate) fn without_addresses(text: &str) -> String {
    let text: String = text.chars().take(MESSAGE_CHARS).collect();
    text.split_inclusive(|c: char| c.is_whitespace() || "'\"<>(),;/".contains(c))
        .map(|word| {
            if !word.contains('@') && !word.contains("%40") {
                return word.to_owned();
            }
            let end = word.chars().last().filter(|c| c.is_whitespace() || "'\"<>(),;/".contains(*c));
            format!("(address){}", end.map(String::from).unwrap_or_default())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16, body: &str) -> Response<Bytes> {
        Response::builder().status(status).body(Bytes::from(body.to_owned())).unwrap()
    }

    fn meaning(operation: Operation, status: u16, code: &str) -> Meaning {
        let body = match code {
            "" => "<html>Bad Gateway</html>".to_owned(),
            code => serde_json::json!({ "error": { "code": code, "message": "" } }).to_string(),
        };
        Answer::read(operation, &response(status, &body)).meaning()
    }

    #[test]
    fn status_first_then_code_decide_the_meaning() {
        use Meaning::*;
        use Operation::{CreateSubscription, Delta, MessageBytes, RenewSubscription, SendDraft};
        let table = [
            (MessageBytes, 400, "ErrorInvalidIdMalformed", Refused),
            (MessageBytes, 401, "InvalidAuthenticationToken", Unauthorized),
            (MessageBytes, 401, "", Unauthorized),
            (MessageBytes, 403, "ErrorAccessDenied", OutOfScope),
            (MessageBytes, 403, "", OutOfScope),
            (MessageBytes, 403, "ErrorQuotaExceeded", Failed),
            (SendDraft, 403, "ErrorSendAsDenied", Refused),
            (MessageBytes, 404, "ErrorItemNotFound", Gone),
            (MessageBytes, 404, "erroritemnotfound", Gone),
            (MessageBytes, 404, "SomethingNew", Gone),
            (MessageBytes, 404, "", Failed),
            (MessageBytes, 404, "MailboxNotEnabledForRESTAPI", MailboxMissing),
            (MessageBytes, 404, "ErrorInvalidUser", MailboxMissing),
            (Delta, 404, "ErrorItemNotFound", Gone),
            (Delta, 410, "SyncStateNotFound", SyncStateLost),
            (Delta, 410, "", SyncStateLost),
            (Delta, 404, "syncStateNotFound", SyncStateLost),
            (Delta, 400, "resyncRequired", SyncStateLost),
            (Delta, 400, "ErrorInvalidUrlQuery", Refused),
            (MessageBytes, 410, "", Gone),
            (RenewSubscription, 404, "ResourceNotFound", Gone),
            (RenewSubscription, 404, "", Gone),
            (CreateSubscription, 404, "ExtensionError", MailboxMissing),
            (CreateSubscription, 409, "ObjectIdentifierInUse", Refused),
            (MessageBytes, 412, "ErrorIrresolvableConflict", Conflict),
            (MessageBytes, 413, "RequestBodyTooLarge", Refused),
            (MessageBytes, 451, "", Failed),
            (MessageBytes, 429, "ApplicationThrottled", Throttled),
            (MessageBytes, 500, "ErrorInternalServerError", Failed),
            (MessageBytes, 502, "", Failed),
            (MessageBytes, 503, "ErrorServerBusy", Failed),
            (MessageBytes, 504, "UnknownError", Failed),
            (MessageBytes, 507, "QuotaExceededException", Failed),
            (MessageBytes, 509, "bandwidthLimitExceeded", Throttled),
            (MessageBytes, 302, "", Failed),
        ];
        for (operation, status, code, expected) in table {
            assert_eq!(meaning(operation, status, code), expected, "{operation} {status} {code}");
        }
    }

    #[test]
    fn request_ids_come_from_the_header_or_from_any_spelling_of_the_inner_error() {
        let body = r#"{"error":{"code":"X","message":"m","innererror":{"request-id":"from-body"}}}"#;
        let mut response = response(500, body);
        assert_eq!(Answer::read(Operation::Folder, &response).request_id.as_deref(), Some("from-body"));
        response.headers_mut().insert("request-id", "from-header".parse().unwrap());
        assert_eq!(Answer::read(Operation::Folder, &response).request_id.as_deref(), Some("from-header"));
    }

    #[test]
    fn addresses_in_graphs_texts_are_left_out() {
        let body = r#"{"error":{"code":"ErrorInvalidUser","message":"The requested user 'a.b@contoso.example' is invalid."}}"#;
        let answer = Answer::read(Operation::Folder, &response(404, body));
        assert_eq!(answer.message, "The requested user '(address)' is invalid.");
        assert_eq!(
            without_addresses("mail <x@y.z>, users/x%40y.z/messages"),
            "mail <(address)>, users/(address)/messages"
        );
    }

    #[test]
    fn a_wait_is_given_in_seconds_or_as_a_date_and_has_bounds() {
        let now: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        let wait = |text: &str| {
            let mut response = response(429, "");
            response.headers_mut().insert(RETRY_AFTER, text.parse().unwrap());
            retry_after(&response, now).map(|wait| wait.as_secs())
        };
        assert_eq!(wait("7"), Some(7));
        assert_eq!(wait("Sun, 01 Mar 2026 12:00:30 GMT"), Some(30));
        assert_eq!(wait("Sun, 01 Mar 2026 11:00:00 GMT"), Some(0));
        assert_eq!(wait("86400"), Some(3600));
        assert_eq!(wait("soon"), None);
        assert_eq!(retry_after(&response(429, ""), now), None);
    }
}
