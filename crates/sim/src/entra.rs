//! Entra ID: tokens for applications, by secret, certificate or an assertion of an
//! identity provider outside.
//!
//! `POST /{tenant}/oauth2/v2.0/token`, and the older `/oauth2/token` with a resource
//! instead of a scope. Errors have the body and the AADSTS codes of the real
//! service. Source:
//! <https://learn.microsoft.com/en-us/entra/identity-platform/v2-oauth2-client-creds-grant-flow>.

mod assertion;
pub(crate) mod authorize;
pub(crate) mod discovery;
pub(crate) mod keys;
mod refusal;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use axum::Extension;
use axum::extract::{Path, State as Extract};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, Uri, header};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use url::{Url, form_urlencoded};
use uuid::Uuid;

use crate::clock::later;
use crate::directory::{Application, ROLES};
use crate::figures::RequestLog;
use crate::server::{MICROSOFT_HOSTS, Root};
use crate::simulator::Simulator;
use crate::state::{Grant, State};
use refusal::Refusal;

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// Graph in each cloud: <https://learn.microsoft.com/en-us/graph/deployments>. The GUID is Graph's own.
const GRAPH_RESOURCES: [&str; 5] = [
    "https://graph.microsoft.com",
    "https://graph.microsoft.us",
    "https://dod-graph.microsoft.us",
    "https://microsoftgraph.chinacloudapi.cn",
    "00000003-0000-0000-c000-000000000000",
];
/// The time in which requests count towards a loop.
const LOOP: SignedDuration = SignedDuration::from_mins(5);

/// The fields of a request for a token.
type Form = BTreeMap<String, String>;

/// How an application proved who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proof {
    Secret,
    Assertion,
}

/// Answers a request for a token.
pub(crate) async fn token(
    Extract(simulator): Extract<Simulator>,
    Path(tenant): Path<String>,
    uri: Uri,
    root: Option<Extension<Root>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let root = root.map_or_else(|| simulator.config.graph_url.clone(), |Extension(root)| root.0);
    let is_v1 = !uri.path().contains("/v2.0/");
    let mut state = simulator.state();
    let now = state.now();
    let ahead = state.board.tenant().sts_ahead.0;
    // <https://www.rfc-editor.org/rfc/rfc9110#section-5.6.7>
    let date =
        (now + SignedDuration::from_secs(ahead.into())).strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    let trace = state.random.guid();
    let correlation = correlation(&mut state, &headers);
    let form = form(&headers, &body);
    let outcome = weather(&mut state, &form)
        .and_then(|()| check(&simulator, &mut state, &tenant, &form, is_v1, &root))
        .and_then(|(application, proof)| issue(&simulator, &mut state, &application, proof, &form));
    let answer = match outcome {
        Ok(token) => (StatusCode::OK, HeaderMap::new(), token),
        Err(refusal) => refused(&refusal, now, trace, &correlation),
    };
    let (status, more, body) = answer;
    let body = body.to_string();
    state.record.note(RequestLog {
        time: now,
        kind: "token",
        method: "POST".into(),
        mailbox: None,
        status: status.as_u16(),
        bytes: body.len() as u64,
    });
    let headers = [
        (header::DATE, date),
        (header::CONTENT_TYPE, "application/json; charset=utf-8".to_owned()),
        (header::CACHE_CONTROL, "no-store, no-cache".to_owned()),
        (header::PRAGMA, "no-cache".to_owned()),
        (header::EXPIRES, "-1".to_owned()),
        (header::STRICT_TRANSPORT_SECURITY, "max-age=31536000; includeSubDomains".to_owned()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        (header::HeaderName::from_static("x-ms-request-id"), trace.to_string()),
        (header::HeaderName::from_static("client-request-id"), correlation),
    ];
    (status, headers, more, body).into_response()
}

fn refused(
    refusal: &Refusal,
    now: Timestamp,
    trace: Uuid,
    correlation: &str,
) -> (StatusCode, HeaderMap, Value) {
    let mut headers = HeaderMap::new();
    if let Some(seconds) = refusal.retry_after {
        headers.insert(header::RETRY_AFTER, seconds.into());
    }
    (refusal.status, headers, refusal.body(now, trace, correlation))
}

/// The caller's name for its request, or a new one.
fn correlation(state: &mut State, headers: &HeaderMap) -> String {
    let given = headers.get("client-request-id").and_then(|id| id.to_str().ok());
    given.map_or_else(|| state.random.guid().to_string(), str::to_owned)
}

/// The fields of the body. Client id and secret may come by HTTP Basic instead, form-encoded:
/// <https://www.rfc-editor.org/rfc/rfc6749#section-2.3.1>.
fn form(headers: &HeaderMap, body: &[u8]) -> Form {
    let mut form: Form = form_urlencoded::parse(body).into_owned().collect();
    let basic = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok()?.strip_prefix("Basic "))
        .and_then(|encoded| String::from_utf8(STANDARD.decode(encoded).ok()?).ok());
    if let Some((client, secret)) = basic.as_deref().and_then(|pair| pair.split_once(':')) {
        let plain = |text: &str| {
            let decoded = form_urlencoded::parse(text.as_bytes()).next();
            decoded.map_or_else(String::new, |(text, _)| text.into_owned())
        };
        form.entry("client_id".into()).or_insert_with(|| plain(client));
        form.entry("client_secret".into()).or_insert_with(|| plain(secret));
    }
    form
}

/// What can go wrong before the request is looked at.
fn weather(state: &mut State, form: &Form) -> Result<(), Refusal> {
    let client = form.get("client_id").cloned().unwrap_or_default();
    let switches = state.board.tenant();
    if state.random.strikes(&client, "sts.throttle_rate", &switches.sts_throttle) {
        return Err(Refusal::throttled());
    }
    if state.random.strikes(&client, "sts.error_rate", &switches.sts_error) {
        return Err(Refusal::unavailable());
    }
    if switches.sts_refuse.0 > 0 {
        return Err(Refusal::of(
            switches.sts_refuse.0,
            "The request is refused, as a switch of the simulator says.",
        ));
    }
    let most = switches.sts_loop.0 as usize;
    if most == 0 {
        return Ok(());
    }
    let now = state.now();
    let recent = state.token_requests.entry(client).or_default();
    recent.retain(|at| now.duration_since(*at) < LOOP);
    recent.push_back(now);
    if recent.len() > most {
        let text = "The server terminated an operation because it encountered a client request loop. Please contact \
                    your app vendor.";
        return Err(Refusal::of(50_196, text));
    }
    Ok(())
}

fn check(
    simulator: &Simulator,
    state: &mut State,
    tenant: &str,
    form: &Form,
    is_v1: bool,
    root: &str,
) -> Result<(Application, Proof), Refusal> {
    check_tenant(simulator, state, tenant)?;
    let grant = field(form, "grant_type")?;
    if !matches!(grant, "client_credentials" | "authorization_code") {
        let text =
            format!("The provided value for the input parameter 'grant_type' is not valid: '{grant}'.");
        return Err(Refusal::of(70_003, text));
    }
    let client = field(form, "client_id")?;
    if grant == "client_credentials" {
        check_scope(form, is_v1)?;
    }
    let client_id = Uuid::parse_str(client).ok();
    let application = state
        .applications
        .iter()
        .find(|application| Some(application.client_id) == client_id)
        .cloned()
        .ok_or_else(|| {
            let text = format!(
                "Application with identifier '{client}' was not found in the directory '{tenant}'. This can happen \
                 if the application has not been installed by the administrator of the tenant or consented to by \
                 any user in the tenant. You may have sent your authentication request to the wrong tenant."
            );
            Refusal::of(700_016, text)
        })?;
    if !application.is_enabled {
        let text = format!("Application '{client}'({}) is disabled.", application.name);
        return Err(Refusal::of(7_000_112, text));
    }
    let proof = authenticate(simulator, state, &application, form, root)?;
    if grant == "authorization_code" {
        check_code(state, &application, form)?;
    }
    Ok((application, proof))
}

/// Redeems the code of somebody who signed in, which works once.
fn check_code(state: &mut State, application: &Application, form: &Form) -> Result<(), Refusal> {
    let text = "The OAuth2 Authorization code was already redeemed, please retry with a new valid code.";
    let code = field(form, "code")?;
    let given = state.codes.remove(code).ok_or_else(|| Refusal::of(54_005, text))?;
    if given.ends <= state.now() {
        let text = "The provided authorization code or refresh token is expired due to inactivity.";
        return Err(Refusal::of(70_008, text));
    }
    if given.client != application.client_id || given.redirect != field(form, "redirect_uri")? {
        let text = "The reply address of the code and of its redemption differ.";
        return Err(Refusal::of(50_011, text));
    }
    let known =
        form.get("code_verifier").map(|word| URL_SAFE_NO_PAD.encode(digest(&SHA256, word.as_bytes())));
    if given.challenge.is_some() && given.challenge != known {
        let text =
            "The Code_Verifier does not match the code_challenge supplied in the authorization request.";
        return Err(Refusal::of(501_481, text));
    }
    Ok(())
}

fn check_tenant(simulator: &Simulator, state: &State, tenant: &str) -> Result<(), Refusal> {
    if is_own_tenant(simulator, state, tenant) {
        return Ok(());
    }
    if matches!(tenant, "common" | "organizations" | "consumers") {
        let text = format!(
            "The grant type is not supported over the /{tenant} endpoint. Please use the tenant-specific endpoint."
        );
        return Err(Refusal::of(9_001_023, text));
    }
    let is_formed = Uuid::parse_str(tenant).is_ok() || tenant.contains('.');
    if is_formed {
        return Err(Refusal::no_tenant(tenant, "invalid_request"));
    }
    let text = format!(
        "Specified tenant identifier '{tenant}' is neither a valid DNS name, nor a valid external domain."
    );
    Err(Refusal::of(900_023, text))
}

/// Whether this names the simulator's tenant: by its id, or by a domain in which it has a mailbox.
fn is_own_tenant(simulator: &Simulator, state: &State, tenant: &str) -> bool {
    let in_domain = |address: &String| {
        address.rsplit_once('@').is_some_and(|(_, domain)| domain.eq_ignore_ascii_case(tenant))
    };
    tenant.eq_ignore_ascii_case(&simulator.config.tenant_id)
        || state.mailboxes.iter().flat_map(|mailbox| &mailbox.addresses).any(in_domain)
}

fn field<'a>(form: &'a Form, name: &str) -> Result<&'a str, Refusal> {
    form.get(name).map(String::as_str).filter(|value| !value.is_empty()).ok_or_else(|| {
        Refusal::of(900_144, format!("The request body must contain the following parameter: '{name}'."))
    })
}

/// What is asked for must be Graph, and nothing beside it.
fn check_scope(form: &Form, is_v1: bool) -> Result<(), Refusal> {
    let resource = if is_v1 {
        field(form, "resource")?
    } else {
        let scope = field(form, "scope")?;
        if scope.contains(' ') {
            let text = format!(
                "The provided value for the input parameter 'scope' is not valid. The scope '{scope}' names more \
                 than one resource."
            );
            return Err(Refusal::of(70_011, text));
        }
        scope.strip_suffix("/.default").ok_or_else(|| {
            let text = format!(
                "The provided value for scope {scope} is not valid. Client credential flows must have a scope \
                 value with /.default suffixed to the resource identifier (application ID URI)."
            );
            Refusal::of(1_002_012, text)
        })?
    };
    if GRAPH_RESOURCES.contains(&resource.trim_end_matches('/')) {
        return Ok(());
    }
    let text = format!(
        "The resource principal named {resource} was not found in the tenant. This can happen if the application \
         has not been installed by the administrator of the tenant."
    );
    Err(Refusal::of(500_011, text))
}

fn authenticate(
    simulator: &Simulator,
    state: &State,
    application: &Application,
    form: &Form,
    root: &str,
) -> Result<Proof, Refusal> {
    if let Some(assertion) = form.get("client_assertion") {
        if form.get("client_assertion_type").map(String::as_str) != Some(ASSERTION_TYPE) {
            let text = format!(
                "The request body must contain the following parameter: 'client_assertion_type' with the value '{ASSERTION_TYPE}'."
            );
            return Err(Refusal::of(900_144, text));
        }
        let is_here = |audience: &str| is_audience(simulator, state, audience, root);
        assertion::check(application, assertion, state.now(), is_here)?;
        return Ok(Proof::Assertion);
    }
    let Some(secret) = form.get("client_secret") else {
        let text =
            "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.";
        return Err(Refusal::of(7_000_218, text));
    };
    check_secret(state, application, secret).map(|()| Proof::Secret)
}

/// Whether an assertion's audience is this tenant's token endpoint, in its own or in one of Microsoft's
/// names, or the issuer's.
fn is_audience(simulator: &Simulator, state: &State, audience: &str, root: &str) -> bool {
    let Ok(url) = Url::parse(audience) else { return false };
    let path: Vec<&str> = url.path().trim_matches('/').split('/').collect();
    let (tenant, is_endpoint) = match *path {
        [tenant, "oauth2", "v2.0", "token"] | [tenant, "oauth2", "token"] | [tenant, "v2.0"] | [tenant] => {
            (tenant, true)
        }
        _ => ("", false),
    };
    let is_own_host = Url::parse(root).is_ok_and(|own| own.origin() == url.origin());
    let is_microsoft =
        url.scheme() == "https" && url.host_str().is_some_and(|host| MICROSOFT_HOSTS.contains(&host));
    is_endpoint && (is_own_host || is_microsoft) && is_own_tenant(simulator, state, tenant)
}

fn check_secret(state: &State, application: &Application, secret: &str) -> Result<(), Refusal> {
    let now = state.now();
    let client = application.client_id;
    let found = application.secrets.iter().find(|known| known.value == secret && known.known_from <= now);
    let Some(found) = found else {
        let text = format!(
            "Invalid client secret provided. Ensure the secret being sent in the request is the client secret \
             value, not the client secret ID, for a secret added to app '{client}'."
        );
        return Err(Refusal::of(7_000_215, text));
    };
    if state.board.tenant().secret_expire || !(found.starts <= now && now < found.ends) {
        let text = format!(
            "The provided client secret keys for app '{client}' are expired. Visit the Azure portal to create new \
             keys for your app."
        );
        return Err(Refusal::of(7_000_222, text));
    }
    Ok(())
}

/// Makes a token of the form that Graph takes: version 1.0, signed, with the roles that act now.
/// Source: <https://learn.microsoft.com/en-us/entra/identity-platform/access-token-claims-reference>.
fn issue(
    simulator: &Simulator,
    state: &mut State,
    application: &Application,
    proof: Proof,
    form: &Form,
) -> Result<Value, Refusal> {
    let now = state.now();
    let roles = application.roles.at(now).clone();
    let asked = match state.board.tenant().token_lifetime.0 {
        // 60 to 90 minutes: <https://learn.microsoft.com/en-us/entra/identity-platform/configurable-token-lifetimes>.
        0 => 3_600.0 + 1_800.0 * state.random.roll(&application.client_id.to_string(), "token.lifetime_s"),
        seconds => f64::from(seconds),
    };
    let lifetime = SignedDuration::try_from_secs_f64(asked).unwrap_or(SignedDuration::from_hours(1));
    let expires = later(now, lifetime.unsigned_abs());
    let tenant = &simulator.config.tenant_id;
    let claims = json!({
        "aud": "https://graph.microsoft.com",
        "iss": format!("https://sts.windows.net/{tenant}/"),
        "iat": now.as_second(),
        "nbf": now.as_second(),
        "exp": expires.as_second(),
        "aio": state.random.text(24),
        "app_displayname": application.name,
        "appid": application.client_id,
        "azp": application.client_id,
        "appidacr": if proof == Proof::Secret { "1" } else { "2" },
        "idp": format!("https://sts.windows.net/{tenant}/"),
        "idtyp": "app",
        "oid": application.principal_id,
        "sub": application.principal_id,
        "roles": roles.iter().filter(|role| ROLES.contains(&role.as_str())).collect::<Vec<_>>(),
        "tid": tenant,
        "uti": state.random.text(16),
        "ver": "1.0",
    });
    let mut claims = claims;
    let is_delegated = form.get("grant_type").is_some_and(|grant| grant == "authorization_code");
    if is_delegated && let Some(claims) = claims.as_object_mut() {
        claims.remove("roles");
        claims.insert("scp".into(), "User.Read".into());
        claims.insert("idtyp".into(), "user".into());
    }
    let roles = if is_delegated { BTreeSet::new() } else { roles };
    if roles.is_empty()
        && let Some(claims) = claims.as_object_mut()
    {
        claims.remove("roles");
    }
    let token = state.keys.sign(&claims).map_err(|_| Refusal::unavailable())?;
    state.tokens.retain(|_, grant| grant.expires > now);
    let grant = Grant {
        client_id: application.client_id,
        roles,
        expires,
        revoked: None,
        knows_claims: form.get("claims").is_some_and(|claims| claims.contains("cp1")),
    };
    state.tokens.insert(token.clone(), Arc::new(grant));
    Ok(json!({
        "token_type": "Bearer",
        "expires_in": lifetime.as_secs(),
        "ext_expires_in": lifetime.as_secs(),
        "access_token": token,
    }))
}
