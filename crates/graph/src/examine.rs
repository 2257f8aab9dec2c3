//! Questions that an examination asks beside the daily work: what a credential gets, what
//! the mailbox is, whether it can be written to, and whether an address of ours answers.
//!
//! Called by the engine's doctor alone. Rule kept: what is made here in a mailbox is
//! given back by its id, so that it can be removed.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{Request, Response, Uri, header};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;

use crate::{
    call::{Call, encoded, quoted},
    client::{Graph, parsed},
    errors::{Failure, GraphError},
    lane::Priority,
    mailbox::{Mailbox, MessageMeta, SELECT_META},
    requests::Operation,
    token::{Code, TokenError},
};

/// What came with a token. Tokens are opaque to a client, so what stands in one is a hint and decides
/// nothing. <https://learn.microsoft.com/en-us/entra/identity-platform/access-token-claims-reference>
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct TokenFacts {
    /// The application permissions that an administrator consented to.
    #[serde(default)]
    pub roles: Vec<String>,
    /// The delegated permissions, with spaces between, where a person signed in.
    pub scp: Option<String>,
    /// The service principal's object id.
    pub oid: Option<String>,
    /// The tenant's id.
    pub tid: Option<String>,
    /// When Entra ID answered, by its own clock.
    #[serde(skip)]
    pub server_time: Option<Timestamp>,
}

impl TokenFacts {
    /// What stands in the middle of a token; nothing if it is not of the usual shape.
    pub(crate) fn read(bearer: &str) -> Self {
        let claims = bearer.split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
        claims.and_then(|claims| serde_json::from_slice(&claims).ok()).unwrap_or_default()
    }
}

/// What a mailbox says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MailboxSettings {
    /// `user`, `shared`, `room`, `equipment`, `linked`, `others` or a word to come.
    pub user_purpose: Option<String>,
}

/// A message that was made to be looked at and removed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct MadeProbe {
    /// The immutable id.
    pub id: String,
    from: Option<From>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct From {
    email_address: Address,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Address {
    address: Option<String>,
}

impl MadeProbe {
    /// The address under which the mailbox writes, if Graph told it.
    pub fn address(&self) -> Option<&str> {
        self.from.as_ref()?.email_address.address.as_deref()
    }
}

/// What a mail is looked for by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sought<'a> {
    /// Its Message-ID, without brackets.
    MessageId(&'a str),
    /// Who wrote it.
    Sender(&'a str),
    /// A part of its subject.
    Subject(&'a str),
}

#[derive(Deserialize)]
struct Found {
    value: Vec<MessageMeta>,
}

#[derive(Deserialize)]
struct Page {
    value: Vec<Named>,
}

#[derive(Deserialize)]
struct Named {
    id: String,
}

impl Graph {
    /// Asks for a token with exactly this credential, and tells what came with it.
    ///
    /// # Errors
    /// When there is no such credential or no token for it.
    pub async fn examine_credential(&self, name: &str) -> Result<TokenFacts, TokenError> {
        self.tokens().examine(name).await
    }

    /// Where an administrator signs in, to be sent back to `redirect` with `state` and a code, which is redeemed
    /// by whoever knows `verifier` (43 to 128 characters). Asks for the delegated `User.Read`.
    pub fn sign_in_url(&self, redirect: &str, state: &str, verifier: &str) -> String {
        self.tokens().sign_in_url(redirect, state, verifier)
    }

    /// Redeems the code of somebody who signed in, and tells what came of it.
    ///
    /// # Errors
    /// When there is no token for it.
    pub async fn redeem(&self, code: &Code<'_>) -> Result<TokenFacts, TokenError> {
        self.tokens().redeem(code).await
    }

    /// Asks an address of our own, as anybody in the internet would.
    ///
    /// # Errors
    /// When no complete answer comes.
    pub async fn ask_own_address(&self, uri: Uri) -> Result<Response<Bytes>, Failure> {
        let mut request = Request::new(Bytes::new());
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = uri;
        self.wire().exchange(Operation::OwnAddress, request).await
    }
}

impl Mailbox {
    /// Reads a mail with its text, if the folder has one, and keeps nothing of it.
    ///
    /// # Errors
    /// See [`GraphErrorKind`](crate::GraphErrorKind).
    pub async fn try_reading(&self, folder: &str) -> Result<(), GraphError> {
        let target = self.at(&format!("/mailFolders/{}/messages?$top=1&$select=id", encoded(folder)));
        let body = self.call(Priority::Delta, Call::get(Operation::ListIds, target)).await?;
        let page: Page = parsed(Operation::ListIds, &body)?;
        let Some(first) = page.value.first() else { return Ok(()) };
        let target = self.at(&format!("/messages/{}?$select=id,body", encoded(&first.id)));
        self.call(Priority::Delta, Call::get(Operation::MessageContent, target)).await.map(drop)
    }

    /// The mails of the whole mailbox that fit, ten at most.
    ///
    /// # Errors
    /// See [`GraphErrorKind`](crate::GraphErrorKind).
    pub async fn find_mails(&self, sought: Sought<'_>) -> Result<Vec<MessageMeta>, GraphError> {
        let filter = match sought {
            Sought::MessageId(id) => format!("internetMessageId eq {}", quoted(&format!("<{id}>"))),
            Sought::Sender(address) => format!("from/emailAddress/address eq {}", quoted(address)),
            Sought::Subject(text) => format!("contains(subject,{})", quoted(text)),
        };
        let target =
            self.at(&format!("/messages?$select={SELECT_META}&$top=10&$filter={}", encoded(&filter)));
        let body = self.call(Priority::Delta, Call::get(Operation::FindMails, target)).await?;
        let found: Found = parsed(Operation::FindMails, &body)?;
        Ok(found.value)
    }

    /// What the mailbox says of itself. Needs `MailboxSettings.Read`.
    ///
    /// # Errors
    /// See [`GraphErrorKind`](crate::GraphErrorKind).
    pub async fn settings(&self) -> Result<MailboxSettings, GraphError> {
        let target = self.at("/mailboxSettings?$select=userPurpose");
        let body = self.call(Priority::Delta, Call::get(Operation::MailboxSettings, target)).await?;
        parsed(Operation::MailboxSettings, &body)
    }

    /// Makes a draft in a folder, to be noticed, marked and removed.
    ///
    /// # Errors
    /// See [`GraphErrorKind`](crate::GraphErrorKind).
    pub async fn make_probe(&self, folder: &str, subject: &str) -> Result<MadeProbe, GraphError> {
        let target = self.at(&format!("/mailFolders/{}/messages", encoded(folder)));
        let call = Call::post(Operation::CreateDraft, target).json(&json!({
            "subject": subject,
            "body": { "contentType": "text", "content": "" },
        }));
        parsed(Operation::CreateDraft, &self.call(Priority::Delta, call).await?)
    }

    /// Removes a message.
    ///
    /// # Errors
    /// `Gone` if it is not there; else see [`GraphErrorKind`](crate::GraphErrorKind).
    pub async fn delete(&self, id: &str) -> Result<(), GraphError> {
        let target = self.at(&format!("/messages/{}", encoded(id)));
        self.call(Priority::Delta, Call::delete(Operation::DeleteMessage, target)).await.map(drop)
    }
}

/// When an answer was given, by the clock of who gave it.
pub(crate) fn server_time(headers: &http::HeaderMap) -> Option<Timestamp> {
    let text = headers.get(header::DATE)?.to_str().ok()?;
    jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_tells_its_roles_and_a_strange_one_nothing() {
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let claims = part(r#"{"roles":["Mail.Send"],"oid":"o","tid":"t","more":1}"#);
        let facts = TokenFacts::read(&format!("{}.{claims}.x", part("{}")));
        assert_eq!((facts.roles, facts.oid), (vec!["Mail.Send".to_owned()], Some("o".to_owned())));
        for strange in ["", "a", "a.b.c", "..", "a.bm9uZQ.c"] {
            assert_eq!(TokenFacts::read(strange), TokenFacts::default(), "{strange}");
        }
    }

    #[test]
    fn a_date_header_is_a_time() {
        let mut headers = http::HeaderMap::new();
        headers.insert(header::DATE, "Fri, 27 Nov 2026 08:30:00 GMT".parse().unwrap());
        assert_eq!(server_time(&headers).unwrap().to_string(), "2026-11-27T08:30:00Z");
    }
}
