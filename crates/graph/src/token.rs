//! Access tokens by client credentials, one for everybody.
//!
//! Used by `client` before each request. Rule kept: one request for a token at a
//! time, none after a refusal until a growing wait is over (Entra ID answers
//! loops with AADSTS50196), and the next credential is tried at once when one is
//! refused, so that a rotation leaves no gap.
//! <https://learn.microsoft.com/en-us/entra/identity-platform/v2-oauth2-client-creds-grant-flow>

mod certificate;
mod claims;
mod credential;
mod refusal;
mod request;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};

use crate::{cloud::Endpoints, examine::TokenFacts, wire::Wire};
use credential::{Credentials, Entry};
use request::{NoToken, TokenEndpoint};

pub use certificate::{CertificateKey, CertificateKeyError};
pub(crate) use claims::Challenge;
pub use credential::{Credential, CredentialState, Proof, ProofError, ReadFile};
pub use refusal::TokenError;
pub use request::Code;
pub(crate) use request::Token;

/// A token that Graph refuses is replaced at most this often.
const REPLACE_EVERY: SignedDuration = SignedDuration::from_mins(1);
/// The wait after a refusal and after no answer: the first, doubled up to the longest.
const REFUSED: (SignedDuration, SignedDuration) =
    (SignedDuration::from_secs(30), SignedDuration::from_mins(15));
const SILENT: (SignedDuration, SignedDuration) = (SignedDuration::from_secs(2), SignedDuration::from_mins(1));

#[derive(Default)]
struct Cache {
    token: Option<Token>,
    /// When the token came.
    got_at: Option<Timestamp>,
    replaced_at: Option<Timestamp>,
    /// What Graph demands of the next token.
    challenge: Option<Challenge>,
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
    endpoint: TokenEndpoint,
    credentials: Mutex<Arc<Credentials>>,
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
        Self {
            endpoint: TokenEndpoint::new(endpoints, client_id, Arc::clone(&wire)),
            credentials: Mutex::new(Arc::new(Credentials::new(credentials))),
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

    /// Graph refused this token, perhaps with a challenge for the next one. Gives
    /// true if asking with [`Tokens::token`] anew may help.
    pub(crate) fn reject(&self, token: &Token, challenge: Option<Challenge>) -> bool {
        let now = self.wire.clock.now();
        let mut cache = self.lock();
        if cache.token.as_ref().is_none_or(|held| held.bearer != token.bearer) {
            return true;
        }
        if cache.replaced_at.is_some_and(|at| now < at + REPLACE_EVERY) {
            return false;
        }
        cache.replaced_at = Some(now);
        cache.token = None;
        cache.challenge = challenge;
        true
    }

    /// Graph says that this token does not allow what was asked: a role may have been granted since it
    /// was made. Gives true if asking with [`Tokens::token`] anew may help; the present token is good
    /// for everybody else until there is another.
    pub(crate) fn doubt(&self, token: &Token) -> bool {
        let now = self.wire.clock.now();
        let mut cache = self.lock();
        let is_young = cache.got_at.is_some_and(|at| now < at + REPLACE_EVERY);
        match &mut cache.token {
            Some(held) if held.bearer == token.bearer => {
                if !is_young {
                    held.renew_at = now;
                }
                !is_young
            }
            _ => true,
        }
    }

    /// The next request asks for a new token: roles may have been granted since the present one was made,
    /// which is used until then.
    pub(crate) fn outdate(&self) {
        let now = self.wire.clock.now();
        let mut cache = self.lock();
        cache.failed = None;
        cache.failures = 0;
        if let Some(token) = &mut cache.token {
            token.renew_at = now;
        }
    }

    /// Other credentials from now on. The present token is used until one of them gives another, which
    /// is tried with the next request.
    pub(crate) fn replace_credentials(&self, credentials: Vec<Credential>) {
        let new = Arc::new(Credentials::new(credentials));
        *self.credentials.lock().unwrap_or_else(PoisonError::into_inner) = new;
        self.outdate();
    }

    fn credentials(&self) -> Arc<Credentials> {
        Arc::clone(&self.credentials.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Asks for a token with the credential of this name, and leaves everything as it is.
    pub(crate) async fn try_credential(&self, name: &str) -> Result<(), TokenError> {
        let unknown = || TokenError::UnknownCredential { name: name.to_owned() };
        let credentials = self.credentials();
        let entry = credentials.named(name).ok_or_else(unknown)?;
        match self.ask(entry, &claims::wanted(None)).await {
            Ok(_) => Ok(()),
            Err(refused) => Err(refused.error),
        }
    }

    /// As [`Tokens::try_credential`], and tells what came with the token.
    pub(crate) async fn examine(&self, name: &str) -> Result<TokenFacts, TokenError> {
        let unknown = || TokenError::UnknownCredential { name: name.to_owned() };
        let credentials = self.credentials();
        let entry = credentials.named(name).ok_or_else(unknown)?;
        let token = self.ask(entry, &claims::wanted(None)).await.map_err(|refused| refused.error)?;
        let bearer = token.bearer.to_str().unwrap_or_default();
        Ok(TokenFacts { server_time: token.server_time, ..TokenFacts::read(bearer) })
    }

    /// Where a person signs in.
    pub(crate) fn sign_in_url(&self, redirect: &str, state: &str, verifier: &str) -> String {
        self.endpoint.sign_in_url(redirect, state, verifier)
    }

    /// Redeems the code of somebody who signed in, with the preferred credential that is good now, and keeps
    /// nothing but the facts.
    pub(crate) async fn redeem(&self, code: &Code<'_>) -> Result<TokenFacts, TokenError> {
        let mut error = TokenError::NoCredential;
        for entry in self.credentials().in_order(self.wire.clock.now()) {
            match self.endpoint.ask(&entry.credential, "", Some(code)).await {
                Ok(token) => return Ok(TokenFacts::read(token.bearer.to_str().unwrap_or_default())),
                Err(refused) => error = refused.error,
            }
            if !error.is_credential() {
                break;
            }
        }
        Err(error)
    }

    /// Each credential in order of preference, and how it fared.
    pub(crate) fn credential_states(&self) -> Vec<CredentialState> {
        self.credentials().states()
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
        let challenge = self.lock().challenge.clone();
        let claims = claims::wanted(challenge.as_ref());
        let mut failure = NoToken::from(TokenError::NoCredential);
        let mut is_any_refused = false;
        for entry in self.credentials().in_order(self.wire.clock.now()) {
            match self.ask(entry, &claims).await {
                Ok(token) => {
                    self.keep(&token, challenge.as_ref());
                    return Ok(token);
                }
                Err(refused) => {
                    let name = &entry.credential.name;
                    tracing::warn!(credential.name = name, "No token by \"{name}\": {}", refused.error);
                    is_any_refused |= matches!(refused.error, TokenError::Refused { .. });
                    failure = refused;
                    if !failure.error.is_credential() {
                        break;
                    }
                }
            }
        }
        let is_refused = match failure.error {
            TokenError::NoCredential | TokenError::Refused { .. } => true,
            TokenError::Unusable { .. } => is_any_refused,
            _ => false,
        };
        Err(self.fail(failure, is_refused, challenge.as_ref()))
    }

    async fn ask(&self, entry: &Entry, claims: &str) -> Result<Token, NoToken> {
        let answer = self.endpoint.ask(&entry.credential, claims, None).await;
        match &answer {
            Ok(_) => entry.succeeded(self.wire.clock.now()),
            Err(refused) => {
                entry.failed(refused.error.to_string());
            }
        }
        answer
    }

    /// Keeps a token that was asked for with this challenge.
    fn keep(&self, token: &Token, answered: Option<&Challenge>) {
        let mut cache = self.lock();
        // A challenge that came meanwhile wants another token than this one.
        cache.token = (cache.challenge.as_ref() == answered).then(|| token.clone());
        cache.got_at = Some(self.wire.clock.now());
        cache.forget(answered);
        cache.failed = None;
        cache.failures = 0;
    }

    fn fail(&self, failure: NoToken, is_refused: bool, answered: Option<&Challenge>) -> TokenError {
        let NoToken { error, wait: asked_wait } = failure;
        let mut cache = self.lock();
        if is_refused {
            // It may be the challenge that is refused: not asked a second time.
            cache.forget(answered);
        }
        let (first, longest) = if is_refused { REFUSED } else { SILENT };
        let wait = first.saturating_mul(1 << cache.failures.min(16)).min(longest);
        cache.failures += 1;
        let until = self.wire.clock.now() + wait.max(asked_wait.unwrap_or_default());
        cache.failed = Some(Failed { until, error: error.clone() });
        error
    }

    fn lock(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cache {
    fn forget(&mut self, answered: Option<&Challenge>) {
        if self.challenge.as_ref() == answered {
            self.challenge = None;
        }
    }
}
