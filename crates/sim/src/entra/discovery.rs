//! The documents by which Microsoft's client libraries find the token endpoint.
//!
//! Their links begin where the client asked. Source:
//! <https://learn.microsoft.com/en-us/entra/identity-platform/v2-protocols-oidc>.

use axum::extract::{Path, State as Extract};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::Refusal;
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
    if tenant != *own && tenant != "common" && tenant != "organizations" {
        let text = format!("Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID.");
        let refusal = Refusal::new(StatusCode::BAD_REQUEST, "invalid_tenant", 90002, text);
        let mut state = simulator.state();
        let correlation = headers.get("client-request-id").and_then(|id| id.to_str().ok());
        let correlation = correlation.map_or_else(|| state.random.guid().to_string(), str::to_owned);
        let (now, trace) = (state.now(), state.random.guid());
        return (refusal.status, Json(refusal.body(now, trace, &correlation))).into_response();
    }
    let root = root.map_or_else(|| simulator.config.graph_url.clone(), |Extension(root)| root.0);
    let issuer = if tenant == *own { own.as_str() } else { "{tenantid}" };
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
