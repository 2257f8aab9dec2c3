//! The documents by which Microsoft's client libraries find the token endpoint.
//!
//! Their links begin where the client asked. Source:
//! <https://learn.microsoft.com/en-us/entra/identity-platform/v2-protocols-oidc>.

use std::sync::Arc;

use axum::extract::{Path, State as Extract};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use http::{HeaderMap, StatusCode, header};
use serde_json::{Value, json};

use super::refusal::Refusal;
use crate::server::Root;
use crate::simulator::Simulator;

/// `GET /{tenant}/v2.0/.well-known/openid-configuration`
pub(crate) async fn configuration(
    Extract(simulator): Extract<Simulator>,
    Path(tenant): Path<String>,
    root: Option<Extension<Root>>,
    headers: HeaderMap,
) -> Response {
    let own = &simulator.config.tenant_id;
    let is_shared = tenant == "common" || tenant == "organizations";
    if !is_shared {
        let mut state = simulator.state();
        if !super::is_own_tenant(&simulator, &state, &tenant) {
            let refusal = Refusal::no_tenant(&tenant, "invalid_tenant");
            let (now, trace) = (state.now(), state.random.guid());
            let correlation = super::correlation(&mut state, &headers);
            let (status, headers, body) = super::refused(&refusal, now, trace, &correlation);
            return (status, headers, Json(body)).into_response();
        }
    }
    let root = root.map_or_else(|| simulator.config.graph_url.clone(), |Extension(root)| root.0);
    let issuer = if is_shared { "{tenantid}" } else { own.as_str() };
    Json(json!({
        "token_endpoint": format!("{root}/{tenant}/oauth2/v2.0/token"),
        "token_endpoint_auth_methods_supported":
            ["client_secret_post", "private_key_jwt", "client_secret_basic"],
        "jwks_uri": format!("{root}/{tenant}/discovery/v2.0/keys"),
        "response_modes_supported": ["query", "fragment", "form_post"],
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "response_types_supported": ["code", "id_token", "code id_token", "id_token token"],
        "scopes_supported": ["openid", "profile", "email", "offline_access"],
        "issuer": format!("{root}/{issuer}/v2.0"),
        "request_uri_parameter_supported": false,
        "authorization_endpoint": format!("{root}/{tenant}/oauth2/v2.0/authorize"),
        "device_authorization_endpoint": format!("{root}/{tenant}/oauth2/v2.0/devicecode"),
        "end_session_endpoint": format!("{root}/{tenant}/oauth2/v2.0/logout"),
        "http_logout_supported": true,
        "frontchannel_logout_supported": true,
        "tenant_region_scope": "WW",
        "cloud_instance_name": "microsoftonline.com",
        "cloud_graph_host_name": "graph.windows.net",
        "msgraph_host": "graph.microsoft.com",
        "rbac_url": "https://pas.windows.net",
    }))
    .into_response()
}

/// `GET /{tenant}/discovery/v2.0/keys`: the keys that verify tokens.
pub(crate) async fn keys(Extract(simulator): Extract<Simulator>) -> Response {
    let keys = Arc::clone(&simulator.state().keys);
    let issuer = format!("https://login.microsoftonline.com/{}/v2.0", simulator.config.tenant_id);
    match keys.published(&issuer) {
        Ok(document) => ([(header::CACHE_CONTROL, "max-age=86400, private")], Json(document)).into_response(),
        Err(fault) => (StatusCode::SERVICE_UNAVAILABLE, fault.to_string()).into_response(),
    }
}

/// `GET /common/discovery/instance`: which hosts are the same Entra ID.
pub(crate) async fn instance(
    Extract(simulator): Extract<Simulator>,
    root: Option<Extension<Root>>,
) -> Json<Value> {
    let root = root.map_or_else(|| simulator.config.graph_url.clone(), |Extension(root)| root.0);
    let alike = |network: &str, cache: &str, aliases: &[&str]| json!({ "preferred_network": network, "preferred_cache": cache, "aliases": aliases });
    Json(json!({
        "tenant_discovery_endpoint": format!("{root}/common/v2.0/.well-known/openid-configuration"),
        "api-version": "1.1",
        "metadata": [
            alike(
                "login.microsoftonline.com",
                "login.windows.net",
                &["login.microsoftonline.com", "login.windows.net", "login.microsoft.com", "sts.windows.net"],
            ),
            alike(
                "login.partner.microsoftonline.cn",
                "login.partner.microsoftonline.cn",
                &["login.partner.microsoftonline.cn", "login.chinacloudapi.cn"],
            ),
            alike(
                "login.microsoftonline.us",
                "login.microsoftonline.us",
                &["login.microsoftonline.us", "login.usgovcloudapi.net"],
            ),
        ],
    }))
}
