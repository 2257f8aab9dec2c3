//! Entra ID's token endpoint: client credentials with a secret.
//!
//! `POST /{tenant}/oauth2/v2.0/token`. Errors have the body and the AADSTS codes
//! of the real service. Source:
//! <https://learn.microsoft.com/en-us/entra/identity-platform/v2-oauth2-client-creds-grant-flow>.

pub(crate) mod discovery;

use std::collections::BTreeMap;

use axum::extract::{Path, State as Extract};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use jiff::Timestamp;
use serde_json::{Value, json};
use url::form_urlencoded;
use uuid::Uuid;

use crate::clock::later;
use crate::figures::RequestLog;
use crate::simulator::Simulator;
use crate::state::State;

/// A refusal of Entra ID.
struct Refusal {
    status: StatusCode,
    error: &'static str,
    code: u32,
    text: String,
}

/// Answers a request for a token.
pub(crate) async fn token(
    Extract(simulator): Extract<Simulator>,
    Path(tenant): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut state = simulator.state();
    let now = state.now();
    let request = state.random.guid();
    let form: BTreeMap<String, String> = form_urlencoded::parse(&body).into_owned().collect();
    let (status, answer) = match check(&simulator, &state, &tenant, &form) {
        Ok(()) => (StatusCode::OK, issue(&simulator, &mut state, now)),
        Err(refusal) => {
            let correlation = headers.get("client-request-id").and_then(|id| id.to_str().ok());
            let correlation = correlation.map_or_else(|| state.random.guid().to_string(), str::to_owned);
            (refusal.status, refusal.body(now, request, &correlation))
        }
    };
    let answer = answer.to_string();
    state.record.note(RequestLog {
        time: now,
        kind: "token",
        method: "POST".into(),
        mailbox: None,
        status: status.as_u16(),
        bytes: answer.len() as u64,
    });
    let headers = [
        (header::CONTENT_TYPE, "application/json; charset=utf-8".to_owned()),
        (header::CACHE_CONTROL, "no-store, no-cache".to_owned()),
        (header::HeaderName::from_static("x-ms-request-id"), request.to_string()),
    ];
    (status, headers, answer).into_response()
}

fn issue(simulator: &Simulator, state: &mut State, now: Timestamp) -> Value {
    let lifetime = simulator.config.token_lifetime;
    let token = format!("eyJ0eXAiOiJKV1QifQ.{}.{}", state.random.text(90), state.random.text(64));
    state.tokens.retain(|_, expires| *expires > now);
    state.tokens.insert(token.clone(), later(now, lifetime));
    json!({
        "token_type": "Bearer",
        "expires_in": lifetime.as_secs(),
        "ext_expires_in": lifetime.as_secs(),
        "access_token": token,
    })
}

fn check(
    simulator: &Simulator,
    state: &State,
    tenant: &str,
    form: &BTreeMap<String, String>,
) -> Result<(), Refusal> {
    let config = &simulator.config;
    if tenant != config.tenant_id {
        let text = format!("Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID.");
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "invalid_request", 90002, text));
    }
    let field = |name: &str| {
        form.get(name).filter(|value| !value.is_empty()).ok_or_else(|| {
            let text = format!("The request body must contain the following parameter: '{name}'.");
            Refusal::new(StatusCode::BAD_REQUEST, "invalid_request", 900_144, text)
        })
    };
    let grant = field("grant_type")?;
    if grant != "client_credentials" {
        let text =
            format!("The provided value for the input parameter 'grant_type' is not valid: '{grant}'.");
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "unsupported_grant_type", 70003, text));
    }
    let client = field("client_id")?;
    let scope = field("scope")?;
    if *client != config.client_id {
        let text =
            format!("Application with identifier '{client}' was not found in the directory '{tenant}'.");
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "unauthorized_client", 700_016, text));
    }
    if !scope.ends_with("/.default") || scope.contains(' ') {
        let text = format!(
            "The provided value for scope {scope} is not valid. Client credential flows must have a scope \
             value with /.default suffixed to the resource identifier (application ID URI)."
        );
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "invalid_scope", 1_002_012, text));
    }
    let Some(secret) = form.get("client_secret") else {
        let text =
            "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.";
        return Err(Refusal::new(StatusCode::UNAUTHORIZED, "invalid_client", 7_000_218, text));
    };
    if *secret != config.client_secret {
        let text = format!(
            "Invalid client secret provided. Ensure the secret being sent in the request is the client secret \
             value, not the client secret ID, for a secret added to app '{client}'."
        );
        return Err(Refusal::new(StatusCode::UNAUTHORIZED, "invalid_client", 7_000_215, text));
    }
    if state.switches.secret_expire {
        let text = format!("The provided client secret keys for app '{client}' are expired.");
        return Err(Refusal::new(StatusCode::UNAUTHORIZED, "invalid_client", 7_000_222, text));
    }
    Ok(())
}

impl Refusal {
    fn new(status: StatusCode, error: &'static str, code: u32, text: impl Into<String>) -> Self {
        Self { status, error, code, text: text.into() }
    }

    fn body(&self, now: Timestamp, trace: Uuid, correlation: &str) -> Value {
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
