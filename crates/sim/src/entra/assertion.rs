//! Assertions: signed statements by which an application proves who it is, with
//! its own certificate or through an identity provider outside.
//!
//! Takes what Microsoft's libraries send, which is more than is documented:
//! thumbprints with and without padding, times as fractions. Source:
//! <https://learn.microsoft.com/en-us/entra/identity-platform/certificate-credentials>.

use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation};
use serde::Deserialize;

use super::refusal::Refusal;
use crate::directory::Application;

/// How far clocks may differ.
const SKEW: SignedDuration = SignedDuration::from_mins(5);

/// What an assertion claims.
#[derive(Debug, Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: Audience,
    exp: f64,
    nbf: Option<f64>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Audience {
    fn any(&self, is_fit: impl Fn(&str) -> bool) -> bool {
        match self {
            Self::One(one) => is_fit(one),
            Self::Many(many) => many.iter().any(|one| is_fit(one)),
        }
    }
}

/// Checks an assertion. `is_here` tells whether an audience names the token endpoint that was asked.
pub(super) fn check(
    application: &Application,
    assertion: &str,
    now: Timestamp,
    is_here: impl Fn(&str) -> bool,
) -> Result<(), Refusal> {
    let invalid = || {
        Refusal::of(50_013, "Assertion failed signature validation. [Reason - The assertion is malformed.]")
    };
    let header = jsonwebtoken::decode_header(assertion).map_err(|_| invalid())?;
    let claims: Claims = jsonwebtoken::dangerous::insecure_decode_claims(assertion).map_err(|_| invalid())?;
    let own = application.client_id.to_string();
    if claims.iss.eq_ignore_ascii_case(&own) {
        by_certificate(application, assertion, &header, now)?;
        if !claims.sub.eq_ignore_ascii_case(&own) || !claims.aud.any(is_here) {
            let text = "Assertion audience claim does not match the required value. Assertion's 'aud' must be the token \
                        endpoint and 'sub' the client id.";
            return Err(Refusal::of(50_013, text));
        }
    } else {
        by_federation(application, assertion, &claims)?;
    }
    check_times(&claims, now)
}

/// The certificate that the header names must be the application's, in its time, and have signed.
fn by_certificate(
    application: &Application,
    assertion: &str,
    header: &Header,
    now: Timestamp,
) -> Result<(), Refusal> {
    let bare =
        |thumbprint: &Option<String>| thumbprint.as_deref().map(|text| text.trim_end_matches('=').to_owned());
    let (sha256, sha1) = (bare(&header.x5t_s256), bare(&header.x5t));
    let named = sha256.clone().or_else(|| sha1.clone()).unwrap_or_default();
    let refused = |reason: &str| {
        let text = format!(
            "The certificate with identifier used to sign the client assertion is not registered on application. \
             [Reason - {reason}, Thumbprint of key used by client: '{named}', Please visit the Azure Portal, Graph \
             Explorer or directly use MS Graph to see configured keys for app Id '{}'.]",
            application.client_id,
        );
        Refusal::of(700_027, text)
    };
    let known = application.certificates.iter().filter(|certificate| certificate.known_from <= now);
    let certificate = known
        .into_iter()
        .find(|certificate| {
            sha256.as_ref() == Some(&certificate.sha256) || sha1.as_ref() == Some(&certificate.sha1)
        })
        .ok_or_else(|| refused("The key was not found"))?;
    if !(certificate.starts <= now && now < certificate.ends) {
        return Err(refused("The key used is expired"));
    }
    if is_signed(assertion, &certificate.key.0) {
        Ok(())
    } else {
        Err(refused("The key used does not match the signature"))
    }
}

/// Issuer, subject and audience must be those of a registered identity, letter by letter.
fn by_federation(application: &Application, assertion: &str, claims: &Claims) -> Result<(), Refusal> {
    let refused = |code, what: &str, presented: &str| {
        let text = format!(
            "No matching federated identity record found for presented assertion {what} '{presented}'. Check your \
             federated identity credential Subject, Audience and Issuer against the presented assertion."
        );
        Refusal::of(code, text)
    };
    let of_issuer: Vec<_> =
        application.federations.iter().filter(|federation| federation.issuer == claims.iss).collect();
    if of_issuer.is_empty() {
        return Err(refused(700_211, "issuer", &claims.iss));
    }
    let of_subject: Vec<_> =
        of_issuer.into_iter().filter(|federation| federation.subject == claims.sub).collect();
    if of_subject.is_empty() {
        return Err(refused(700_213, "subject", &claims.sub));
    }
    let fits = |audience: &str| of_subject.iter().any(|federation| federation.audience == audience);
    if !claims.aud.any(fits) {
        return Err(refused(700_212, "audience", &format!("{:?}", claims.aud)));
    }
    if of_subject.iter().any(|federation| is_signed(assertion, &federation.key.0)) {
        return Ok(());
    }
    Err(Refusal::of(50_013, "Assertion failed signature validation. [Reason - The key was not found.]"))
}

fn check_times(claims: &Claims, now: Timestamp) -> Result<(), Refusal> {
    let second = now.as_second() as f64;
    let skew = SKEW.as_secs_f64();
    let is_early = claims.nbf.is_some_and(|from| from > second + skew);
    if is_early || claims.exp <= second - skew {
        let text = format!(
            "Client assertion is not within its valid time range. Current time: {now}, assertion valid from {}, \
             expiry time of assertion {}.",
            moment(claims.nbf.unwrap_or_default()),
            moment(claims.exp),
        );
        return Err(Refusal::of(700_024, text));
    }
    Ok(())
}

fn moment(seconds: f64) -> String {
    SignedDuration::try_from_secs_f64(seconds)
        .ok()
        .and_then(|since| Timestamp::UNIX_EPOCH.checked_add(since).ok())
        .map_or_else(|| "unknown".into(), |at| at.to_string())
}

fn is_signed(assertion: &str, key: &DecodingKey) -> bool {
    let mut rules = Validation::new(Algorithm::PS256);
    rules.algorithms = vec![Algorithm::PS256, Algorithm::RS256];
    // Times are checked by the simulator's own clock, names by their owners above.
    rules.validate_exp = false;
    rules.validate_aud = false;
    rules.required_spec_claims.clear();
    jsonwebtoken::decode::<serde::de::IgnoredAny>(assertion, key, &rules).is_ok()
}
