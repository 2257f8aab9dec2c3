//! Access tokens by client credentials, one for everybody.
//!
//! Used by `client` before each request. Rule kept: one request for a token at a
//! time, none after a refusal until a growing wait is over (Entra ID answers
//! loops with AADSTS50196), and the next credential is tried at once when one is
//! refused, so that a rotation leaves no gap.
//! <https://learn.microsoft.com/en-us/entra/identity-platform/v2-oauth2-client-creds-grant-flow>

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, Uri, header};
use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Deserializer, de};

use crate::{answer::retry_after, cloud::Endpoints, errors::Failure, requests::Operation, wire::Wire};

/// A token is renewed when this much of its life is left, or half, if it lives shorter.
const RENEW_BEFORE: SignedDuration = SignedDuration::from_mins(5);
/// A token that Graph refuses is replaced at most this often.
const REPLACE_EVERY: SignedDuration = SignedDuration::from_mins(1);
/// The wait after a refusal and after no answer: the first, doubled up to the longest.
const REFUSED: (SignedDuration, SignedDuration) =
    (SignedDuration::from_secs(30), SignedDuration::from_mins(15));
const SILENT: (SignedDuration, SignedDuration) = (SignedDuration::from_secs(2), SignedDuration::from_mins(1));

/// One secret of the application.
#[derive(Clone)]
pub struct Credential {
    /// The operator's name for it.
    pub name: String,
    /// The secret's value (not its id).
    pub secret: SecretString,
    /// When it ends, as far as the operator knows.
    pub expires: Option<Timestamp>,
}

/// Entra ID gave no token.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TokenError {
    /// The application has no credential.
    #[error("the application has no credential; add one to the integration")]
    NoCredential,
    /// Entra ID does not accept the application or its credential.
    #[error("Entra ID refused the credential \"{credential}\" ({error}, AADSTS{aadsts}): {}", remedy(*.aadsts))]
    Refused {
        /// The operator's name for the credential.
        credential: String,
        /// The OAuth error word.
        error: String,
        /// Microsoft's number for the cause; 0 if none was given.
        aadsts: u32,
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

impl TokenError {
    /// Whether another credential may fare better.
    fn is_credential(&self) -> bool {
        matches!(self, Self::Refused { error, .. } if error == "invalid_client")
    }
}

/// A bearer token, ready to be sent.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) bearer: HeaderValue,
    renew_at: Timestamp,
    expires: Timestamp,
}

#[derive(Default)]
struct Cache {
    token: Option<Token>,
    replaced_at: Option<Timestamp>,
    failed: Option<Failed>,
    failures: u32,
}

struct Failed {
    until: Timestamp,
    error: TokenError,
}

/// What the cache says.
enum Held {
    Fresh(Token),
    Aging(Token),
    Nothing,
    Failed(TokenError),
}

pub(crate) struct Tokens {
    endpoint: Uri,
    scope: String,
    client_id: String,
    credentials: Vec<Credential>,
    wire: Arc<Wire>,
    cache: Mutex<Cache>,
    flight: tokio::sync::Mutex<()>,
}

impl Tokens {
    pub(crate) fn new(
        endpoints: &Endpoints,
        client_id: String,
        credentials: Vec<Credential>,
        wire: Arc<Wire>,
    ) -> Self {
        let endpoint = endpoints.token.as_str().parse().expect("a URL is a URI");
        let scope = endpoints.scope.clone();
        Self {
            endpoint,
            scope,
            client_id,
            credentials,
            wire,
            cache: Mutex::default(),
            flight: Default::default(),
        }
    }

    /// The present token; a new one if need be.
    pub(crate) async fn token(&self) -> Result<Token, TokenError> {
        match self.held() {
            Held::Fresh(token) => return Ok(token),
            Held::Failed(error) => return Err(error),
            // Whoever comes first renews; all others go on with what is still valid.
            Held::Aging(token) => match self.flight.try_lock() {
                Ok(_flight) => return Ok(self.renew().await.unwrap_or(token)),
                Err(_) => return Ok(token),
            },
            Held::Nothing => {}
        }
        let _flight = self.flight.lock().await;
        match self.held() {
            Held::Fresh(token) | Held::Aging(token) => Ok(token),
            Held::Failed(error) => Err(error),
            Held::Nothing => self.renew().await,
        }
    }

    /// Graph refused this token. Gives true if asking with [`Tokens::token`] anew may help.
    pub(crate) fn reject(&self, token: &Token) -> bool {
        let now = self.wire.clock.now();
        let mut cache = self.lock();
        if cache.token.as_ref() != Some(token) {
            return true;
        }
        if cache.replaced_at.is_some_and(|at| now < at + REPLACE_EVERY) {
            return false;
        }
        cache.replaced_at = Some(now);
        cache.token = None;
        true
    }

    fn held(&self) -> Held {
        let now = self.wire.clock.now();
        let cache = self.lock();
        let failed = cache.failed.as_ref().filter(|failed| now < failed.until);
        match (&cache.token, failed) {
            (Some(token), _) if now < token.renew_at => Held::Fresh(token.clone()),
            (Some(token), None) if now < token.expires => Held::Aging(token.clone()),
            (Some(token), Some(_)) if now < token.expires => Held::Fresh(token.clone()),
            (_, Some(failed)) => Held::Failed(failed.error.clone()),
            (_, None) => Held::Nothing,
        }
    }

    /// Asks with each credential in turn. Called by the one in flight.
    async fn renew(&self) -> Result<Token, TokenError> {
        let now = self.wire.clock.now();
        // One that should have ended comes last: the date is what somebody once typed.
        let (ended, good): (Vec<&Credential>, Vec<&Credential>) =
            self.credentials.iter().partition(|c| c.expires.is_some_and(|at| at <= now));
        let mut failure = (TokenError::NoCredential, None);
        for credential in good.into_iter().chain(ended) {
            match self.ask(credential).await {
                Ok(token) => {
                    let mut cache = self.lock();
                    cache.token = Some(token.clone());
                    cache.failed = None;
                    cache.failures = 0;
                    return Ok(token);
                }
                Err(refused) => {
                    let next = refused.0.is_credential();
                    tracing::warn!(
                        credential.name = credential.name,
                        "No token by \"{}\": {}",
                        credential.name,
                        refused.0
                    );
                    failure = refused;
                    if !next {
                        break;
                    }
                }
            }
        }
        let (error, asked_wait) = failure;
        let mut cache = self.lock();
        let (first, longest) = if matches!(error, TokenError::Refused { .. } | TokenError::NoCredential) {
            REFUSED
        } else {
            SILENT
        };
        let wait = first.saturating_mul(1 << cache.failures.min(16)).min(longest);
        cache.failures += 1;
        let until = self.wire.clock.now() + wait.max(asked_wait.unwrap_or_default());
        cache.failed = Some(Failed { until, error: error.clone() });
        Err(error)
    }

    /// One request. A failure comes with the wait that Entra ID asked for.
    async fn ask(&self, credential: &Credential) -> Result<Token, (TokenError, Option<SignedDuration>)> {
        let form = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "client_credentials")
            .append_pair("client_id", &self.client_id)
            .append_pair("scope", &self.scope)
            .append_pair("client_secret", credential.secret.expose_secret())
            .finish();
        let mut request = Request::new(Bytes::from(form));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.endpoint.clone();
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        // Its life is counted from before the request: rather short than too long.
        let asked_at = self.wire.clock.now();
        match self.wire.exchange(Operation::Token, request).await {
            Err(failure) => Err((TokenError::Unanswered(Arc::new(failure)), None)),
            Ok(response) if response.status().is_success() => {
                let malformed = TokenError::Malformed { status: response.status().as_u16() };
                granted(response.body(), asked_at).ok_or((malformed, None))
            }
            Ok(response) => {
                Err((refused(credential, &response), retry_after(&response, self.wire.clock.now())))
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
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

fn granted(body: &[u8], asked_at: Timestamp) -> Option<Token> {
    let grant: Grant = serde_json::from_slice(body).ok()?;
    let mut bearer = HeaderValue::from_str(&format!("Bearer {}", grant.access_token.expose_secret())).ok()?;
    bearer.set_sensitive(true);
    let life = SignedDuration::from_secs(i64::from(grant.expires_in));
    let expires = asked_at + life;
    Some(Token { bearer, renew_at: expires - RENEW_BEFORE.min(life / 2), expires })
}

#[derive(Default, Deserialize)]
struct OAuthError {
    #[serde(default)]
    error: String,
    #[serde(default)]
    error_codes: Vec<u32>,
}

fn refused(credential: &Credential, response: &Response<Bytes>) -> TokenError {
    let status = response.status().as_u16();
    let body: OAuthError = serde_json::from_slice(response.body()).unwrap_or_default();
    if status == 429
        || status >= 500
        || matches!(body.error.as_str(), "temporarily_unavailable" | "server_error")
    {
        return TokenError::Unavailable { status };
    }
    if body.error.is_empty() {
        return TokenError::Malformed { status };
    }
    let aadsts = body.error_codes.first().copied().unwrap_or_default();
    TokenError::Refused { credential: credential.name.clone(), error: body.error, aadsts }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        requests::Requests,
        testing::{self, Record, answer, clock, entropy, fresh_token},
    };
    use futures_util::future::join_all;
    use std::{io, sync::atomic::AtomicBool, sync::atomic::Ordering, time::Duration};
    use tokio::time::{Instant, sleep};

    fn credential(name: &str) -> Credential {
        Credential { name: name.into(), secret: format!("{name} secret").into(), expires: None }
    }

    fn tokens<F, A>(credentials: Vec<Credential>, respond: F) -> (Tokens, Record)
    where
        F: Fn(Request<Bytes>) -> A + Send + Sync + 'static,
        A: Future<Output = io::Result<Response<Bytes>>> + Send + 'static,
    {
        let (transport, record) = testing::transport(respond);
        let wire = Wire { transport, clock: clock(), entropy: entropy(), requests: Requests::default() };
        (Tokens::new(&testing::endpoints(), "app id".into(), credentials, Arc::new(wire)), record)
    }

    fn denied(code: u32) -> Response<Bytes> {
        answer(401, serde_json::json!({ "error": "invalid_client", "error_codes": [code] }).to_string())
    }

    #[tokio::test(start_paused = true)]
    async fn a_hundred_callers_cause_one_request_in_the_documented_form() {
        let (tokens, record) = tokens(vec![credential("only")], |_| async {
            sleep(Duration::from_millis(300)).await;
            Ok(fresh_token(3600))
        });
        let all = join_all((0..100).map(|_| tokens.token())).await;
        assert!(all.iter().all(|token| token.as_ref().ok() == all[0].as_ref().ok()));
        assert_eq!(record.tokens(), 1);
        let request = &record.all()[0];
        assert_eq!(
            request.body(),
            "grant_type=client_credentials&client_id=app+id\
             &scope=https%3A%2F%2Fgraph.microsoft.com%2F.default&client_secret=only+secret"
        );
        assert!(request.headers().contains_key("client-request-id"));
        assert_eq!(format!("{:?}", all[0].as_ref().ok().unwrap().bearer), "Sensitive");
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_renewed_five_minutes_early_and_until_then_valid_for_all_others() {
        let (tokens, record) = tokens(vec![credential("only")], |_| async {
            sleep(Duration::from_secs(2)).await;
            Ok(fresh_token(3600))
        });
        let old = tokens.token().await.ok().unwrap();
        sleep(Duration::from_secs(3600 - 302)).await;
        let (renewing, other) = tokio::join!(tokens.token(), async {
            let before = Instant::now();
            let token = tokens.token().await.ok().unwrap();
            assert_eq!(before.elapsed(), Duration::ZERO);
            token
        });
        assert!(renewing.ok().unwrap() != old && other == old);
        assert_eq!(record.tokens(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_early_renewal_harms_nobody() {
        let down = Arc::new(AtomicBool::new(false));
        let broken = Arc::clone(&down);
        let (tokens, record) = tokens(vec![credential("only")], move |_| {
            let down = broken.load(Ordering::Relaxed);
            async move { if down { Ok(answer(503, "")) } else { Ok(fresh_token(3600)) } }
        });
        let old = tokens.token().await.ok().unwrap();
        down.store(true, Ordering::Relaxed);
        sleep(Duration::from_secs(3400)).await;
        for _ in 0..50 {
            assert!(tokens.token().await.ok().unwrap() == old);
        }
        assert_eq!(record.tokens(), 2);
        sleep(Duration::from_secs(200)).await;
        assert!(matches!(tokens.token().await, Err(TokenError::Unavailable { status: 503 })));
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_refusal_nobody_asks_for_a_while_that_grows() {
        let (tokens, record) = tokens(vec![credential("old")], |_| async { Ok(denied(7_000_222)) });
        let mut asked = Vec::new();
        for second in 0..300_u64 {
            let error = tokens.token().await.err().unwrap();
            assert!(
                error.to_string().contains("AADSTS7000222") && error.to_string().contains("expired"),
                "{error}"
            );
            if record.tokens() > asked.len() {
                asked.push(second);
            }
            sleep(Duration::from_secs(1)).await;
        }
        assert_eq!(asked, [0, 30, 90, 210]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_credential_gives_way_to_the_next_at_once() {
        let (tokens, record) =
            tokens(vec![credential("spring"), credential("autumn")], |request| async move {
                let spring = request.body().windows(6).any(|word| word == b"spring");
                Ok(if spring { denied(7_000_222) } else { fresh_token(3600) })
            });
        assert!(tokens.token().await.is_ok());
        assert!(tokens.token().await.is_ok());
        assert_eq!(record.tokens(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_should_have_ended_is_tried_last() {
        let ended = Credential { expires: Some(Timestamp::UNIX_EPOCH), ..credential("ended") };
        let (tokens, record) = tokens(vec![ended, credential("good")], |_| async { Ok(fresh_token(3600)) });
        assert!(tokens.token().await.is_ok());
        assert!(record.all()[0].body().ends_with(b"good+secret"));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_the_credentials_fault_is_not_tried_with_another() {
        let body = r#"{"error":"unauthorized_client","error_codes":[700016]}"#;
        let (tokens, record) =
            tokens(vec![credential("one"), credential("two")], move |_| async move { Ok(answer(400, body)) });
        assert!(matches!(tokens.token().await, Err(TokenError::Refused { aadsts: 700_016, .. })));
        assert_eq!(record.tokens(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn odd_answers_are_errors_and_text_numbers_are_numbers() {
        let text = r#"{"access_token":"t","expires_in":"3599"}"#;
        assert!(granted(text.as_bytes(), Timestamp::UNIX_EPOCH).is_some());
        let (tokens, _) =
            tokens(vec![credential("only")], |_| async { Ok(answer(200, "<html>sign in</html>")) });
        assert!(matches!(tokens.token().await, Err(TokenError::Malformed { status: 200 })));
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_that_graph_refuses_is_replaced_at_most_once_a_minute() {
        let (tokens, record) = tokens(vec![credential("only")], |_| async { Ok(fresh_token(3600)) });
        let first = tokens.token().await.ok().unwrap();
        assert!(tokens.reject(&first));
        let second = tokens.token().await.ok().unwrap();
        // Somebody who still holds the first has only to ask again.
        assert!(tokens.reject(&first));
        assert!(!tokens.reject(&second));
        sleep(Duration::from_secs(60)).await;
        assert!(tokens.reject(&second));
        assert_eq!(record.tokens(), 2);
    }
}
