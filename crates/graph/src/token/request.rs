//! One request for a token, and the token in its answer.
//! <https://learn.microsoft.com/en-us/entra/identity-platform/v2-oauth2-client-creds-grant-flow>

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Uri, header};
use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Deserializer, de};
use url::form_urlencoded::Serializer;

use super::{
    credential::{Credential, Proof, ProofError, federated_token},
    refusal::TokenError,
};
use crate::{answer::retry_after, cloud::Endpoints, examine::server_time, requests::Operation, wire::Wire};

/// A token is renewed when this much of its life is left, or half, if it lives shorter,
const RENEW_BEFORE: SignedDuration = SignedDuration::from_mins(5);
/// and at this age, however long it lives: a role granted since is only in a new
/// token, and tokens that Graph can refuse live for a day. The rest of their life
/// bridges an outage of Entra ID.
/// <https://learn.microsoft.com/en-us/entra/identity/conditional-access/concept-continuous-access-evaluation-workload>
const RENEW_AFTER: SignedDuration = SignedDuration::from_mins(90);
/// <https://learn.microsoft.com/en-us/entra/identity-platform/v2-oauth2-client-creds-grant-flow>
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// A bearer token, ready to be sent.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) bearer: HeaderValue,
    pub(super) renew_at: Timestamp,
    pub(super) expires: Timestamp,
    /// When it was given, by Entra ID's own clock.
    pub(super) server_time: Option<Timestamp>,
}

/// What somebody was sent back with who signed in.
#[derive(Debug, Clone, Copy)]
pub struct Code<'c> {
    /// The code, good once.
    pub code: &'c SecretString,
    /// Where they were sent back to.
    pub redirect: &'c str,
    /// What only the redeemer knows.
    pub verifier: &'c SecretString,
}

/// No token, and the wait that Entra ID asked for.
pub(super) struct NoToken {
    pub(super) error: TokenError,
    pub(super) wait: Option<SignedDuration>,
}

impl From<TokenError> for NoToken {
    fn from(error: TokenError) -> Self {
        Self { error, wait: None }
    }
}

/// Where one application asks for tokens.
pub(super) struct TokenEndpoint {
    uri: Uri,
    scope: String,
    client_id: String,
    wire: Arc<Wire>,
}

impl TokenEndpoint {
    pub(super) fn new(endpoints: &Endpoints, client_id: String, wire: Arc<Wire>) -> Self {
        let uri = endpoints.token.as_str().parse().expect("a URL is a URI");
        Self { uri, scope: endpoints.scope.clone(), client_id, wire }
    }

    /// Where a person signs in, to be sent back to `redirect` with a code whose redeemer knows `verifier`.
    /// <https://learn.microsoft.com/en-us/entra/identity-platform/v2-oauth2-auth-code-flow>
    pub(super) fn sign_in_url(&self, redirect: &str, state: &str, verifier: &str) -> String {
        let page = self.uri.to_string();
        let page = page.strip_suffix("/token").unwrap_or(&page);
        let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()));
        let query = Serializer::new(String::new())
            .append_pair("client_id", &self.client_id)
            .append_pair("response_type", "code")
            .append_pair("response_mode", "query")
            .append_pair("redirect_uri", redirect)
            .append_pair("scope", &self.user_read())
            .append_pair("state", state)
            .append_pair("prompt", "select_account")
            .append_pair("code_challenge", &challenge)
            .append_pair("code_challenge_method", "S256")
            .finish();
        format!("{page}/authorize?{query}")
    }

    /// The delegated permission, at the Graph of this cloud.
    fn user_read(&self) -> String {
        format!("{}/User.Read", self.scope.trim_end_matches("/.default"))
    }

    /// One request with one credential.
    pub(super) async fn ask(
        &self,
        credential: &Credential,
        claims: &str,
        code: Option<&Code<'_>>,
    ) -> Result<Token, NoToken> {
        // Its life is counted from before the request: rather short than too long.
        let asked_at = self.wire.clock.now();
        let form = self.form(&credential.proof, claims, code, asked_at);
        let form =
            form.map_err(|reason| TokenError::Unusable { credential: credential.name.clone(), reason })?;
        let mut request = Request::new(Bytes::from(form));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        let answer = self.wire.exchange(Operation::Token, request).await;
        let response = answer.map_err(|failure| TokenError::Unanswered(Arc::new(failure)))?;
        if response.status().is_success() {
            let malformed = TokenError::Malformed { status: response.status().as_u16() };
            let server_time = server_time(response.headers());
            let token = granted(response.body(), asked_at).ok_or(malformed)?;
            return Ok(Token { server_time, ..token });
        }
        Err(NoToken {
            error: TokenError::read(&credential.name, &response),
            wait: retry_after(&response, self.wire.clock.now()),
        })
    }

    fn form(
        &self,
        proof: &Proof,
        claims: &str,
        code: Option<&Code<'_>>,
        now: Timestamp,
    ) -> Result<String, ProofError> {
        let mut form = Serializer::new(String::new());
        let grant = if code.is_some() { "authorization_code" } else { "client_credentials" };
        form.append_pair("grant_type", grant).append_pair("client_id", &self.client_id);
        match code {
            None => form.append_pair("scope", &self.scope).append_pair("claims", claims),
            Some(code) => form
                .append_pair("scope", &self.user_read())
                .append_pair("code", code.code.expose_secret())
                .append_pair("redirect_uri", code.redirect)
                .append_pair("code_verifier", code.verifier.expose_secret()),
        };
        let assertion = match proof {
            Proof::Secret(secret) => {
                return Ok(form.append_pair("client_secret", secret.expose_secret()).finish());
            }
            Proof::Certificate(key) => {
                key.assertion(&self.uri.to_string(), &self.client_id, now, &self.wire.entropy)?
            }
            Proof::FederatedTokenFile { path, read } => federated_token(path, read)?,
        };
        Ok(form
            .append_pair("client_assertion_type", ASSERTION_TYPE)
            .append_pair("client_assertion", assertion.expose_secret())
            .finish())
    }
}

#[derive(Deserialize)]
struct Grant {
    access_token: SecretString,
    #[serde(deserialize_with = "seconds")]
    expires_in: u32,
}

/// Some token endpoints write the number as text.
fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Seconds {
        Number(u32),
        Text(String),
    }
    match Seconds::deserialize(deserializer)? {
        Seconds::Number(seconds) => Ok(seconds),
        Seconds::Text(text) => text.parse().map_err(de::Error::custom),
    }
}

pub(super) fn granted(body: &[u8], asked_at: Timestamp) -> Option<Token> {
    let grant: Grant = serde_json::from_slice(body).ok()?;
    let mut bearer = HeaderValue::from_str(&format!("Bearer {}", grant.access_token.expose_secret())).ok()?;
    bearer.set_sensitive(true);
    let life = SignedDuration::from_secs(i64::from(grant.expires_in));
    let use_for = (life - RENEW_BEFORE.min(life / 2)).min(RENEW_AFTER);
    Some(Token { bearer, renew_at: asked_at + use_for, expires: asked_at + life, server_time: None })
}
