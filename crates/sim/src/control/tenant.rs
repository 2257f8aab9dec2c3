//! Mailboxes, applications, credentials and permissions.

use axum::Json;
use axum::extract::{Path, State as Extract};
use http::StatusCode;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::Problem;
use crate::administration::{
    AdminError, ApplicationView, MailboxChange, MailboxView, NewFederation, NewSecret,
};
use crate::directory::{Assignment, Policy};
use crate::mailbox::MailboxKind;
use crate::simulator::Simulator;

type Answer<T> = Result<Json<T>, AdminError>;
type Created<T> = Result<(StatusCode, Json<T>), AdminError>;
type Done = Result<StatusCode, AdminError>;

/// Lists the mailboxes.
#[utoipa::path(get, path = "/v1/mailboxes", responses((status = 200, body = Vec<MailboxView>)))]
pub(super) async fn mailboxes(Extract(simulator): Extract<Simulator>) -> Json<Vec<MailboxView>> {
    Json(simulator.mailbox_views())
}

/// A mailbox to make.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewMailbox {
    /// Primary address.
    address: String,
    /// Name that recipients see; the address if left out.
    display_name: Option<String>,
    /// Further addresses.
    #[serde(default)]
    aliases: Vec<String>,
    /// Whose it is.
    #[serde(default)]
    kind: MailboxKind,
}

/// Makes a mailbox.
#[utoipa::path(post, path = "/v1/mailboxes", request_body = NewMailbox,
    responses((status = 201, body = MailboxView), (status = 400, body = Problem), (status = 409, body = Problem)))]
pub(super) async fn add_mailbox(
    Extract(simulator): Extract<Simulator>,
    Json(new): Json<NewMailbox>,
) -> Created<MailboxView> {
    let name = new.display_name.as_deref().unwrap_or(&new.address);
    Ok((StatusCode::CREATED, Json(simulator.add_mailbox(&new.address, name, &new.aliases, new.kind)?)))
}

/// Changes a mailbox: its name, its kind, or whether Graph can use it.
#[utoipa::path(patch, path = "/v1/mailboxes/{address}", params(("address" = String, Path)),
    request_body = MailboxChange, responses((status = 200, body = MailboxView), (status = 404, body = Problem)))]
pub(super) async fn change_mailbox(
    Extract(simulator): Extract<Simulator>,
    Path(address): Path<String>,
    Json(change): Json<MailboxChange>,
) -> Answer<MailboxView> {
    simulator.change_mailbox(&address, change).map(Json)
}

/// Lists the applications, without their secrets.
#[utoipa::path(get, path = "/v1/applications", responses((status = 200, body = Vec<ApplicationView>)))]
pub(super) async fn applications(Extract(simulator): Extract<Simulator>) -> Json<Vec<ApplicationView>> {
    Json(simulator.applications())
}

/// An application to register.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewApplication {
    /// Its name.
    name: String,
}

/// Registers an application with the usual permissions.
#[utoipa::path(post, path = "/v1/applications", request_body = NewApplication,
    responses((status = 201, body = ApplicationView)))]
pub(super) async fn add_application(
    Extract(simulator): Extract<Simulator>,
    Json(new): Json<NewApplication>,
) -> Created<ApplicationView> {
    Ok((StatusCode::CREATED, Json(simulator.add_application(&new.name))))
}

/// Shows an application.
#[utoipa::path(get, path = "/v1/applications/{client_id}", params(("client_id" = String, Path)),
    responses((status = 200, body = ApplicationView), (status = 404, body = Problem)))]
pub(super) async fn application(
    Extract(simulator): Extract<Simulator>,
    Path(client): Path<String>,
) -> Answer<ApplicationView> {
    simulator.application(&client).map(Json)
}

/// What changes about an application.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ApplicationChange {
    /// Whether it may sign in.
    is_enabled: bool,
}

/// Enables an application or disables it.
#[utoipa::path(patch, path = "/v1/applications/{client_id}", params(("client_id" = String, Path)),
    request_body = ApplicationChange, responses((status = 204), (status = 404, body = Problem)))]
pub(super) async fn change_application(
    Extract(simulator): Extract<Simulator>,
    Path(client): Path<String>,
    Json(change): Json<ApplicationChange>,
) -> Done {
    simulator.enable_application(&client, change.is_enabled)?;
    Ok(StatusCode::NO_CONTENT)
}

/// A secret to make.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SecretWish {
    /// Its name.
    #[serde(default)]
    name: String,
    /// Until when it is valid; two years if left out.
    #[schema(value_type = Option<String>)]
    ends: Option<Timestamp>,
}

/// Adds a secret. Its value is shown only here.
#[utoipa::path(post, path = "/v1/applications/{client_id}/secrets", params(("client_id" = String, Path)),
    request_body = SecretWish, responses((status = 201, body = NewSecret), (status = 404, body = Problem)))]
pub(super) async fn add_secret(
    Extract(simulator): Extract<Simulator>,
    Path(client): Path<String>,
    Json(wish): Json<SecretWish>,
) -> Created<NewSecret> {
    Ok((StatusCode::CREATED, Json(simulator.add_secret(&client, &wish.name, wish.ends)?)))
}

/// Ends the validity of a secret now.
#[utoipa::path(post, path = "/v1/applications/{client_id}/secrets/{key_id}/expire",
    params(("client_id" = String, Path), ("key_id" = String, Path)),
    responses((status = 204), (status = 404, body = Problem)))]
pub(super) async fn expire_secret(
    Extract(simulator): Extract<Simulator>,
    Path((client, key_id)): Path<(String, String)>,
) -> Done {
    simulator.expire_secret(&client, &key_id)?;
    Ok(StatusCode::NO_CONTENT)
}

/// A certificate to register.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewCertificate {
    /// The certificate, with an RSA key, as PEM.
    pem: String,
}

/// Adds a certificate.
#[utoipa::path(post, path = "/v1/applications/{client_id}/certificates", params(("client_id" = String, Path)),
    request_body = NewCertificate,
    responses((status = 201, body = Value), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn add_certificate(
    Extract(simulator): Extract<Simulator>,
    Path(client): Path<String>,
    Json(new): Json<NewCertificate>,
) -> Created<Value> {
    let key_id = simulator.add_certificate(&client, &new.pem)?;
    Ok((StatusCode::CREATED, Json(json!({ "key_id": key_id }))))
}

/// Trusts an identity provider outside.
#[utoipa::path(post, path = "/v1/applications/{client_id}/federations", params(("client_id" = String, Path)),
    request_body = NewFederation,
    responses((status = 201, body = Value), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn add_federation(
    Extract(simulator): Extract<Simulator>,
    Path(client): Path<String>,
    Json(new): Json<NewFederation>,
) -> Created<Value> {
    let key_id = simulator.add_federation(&client, new)?;
    Ok((StatusCode::CREATED, Json(json!({ "key_id": key_id }))))
}

/// Removes a secret, certificate or federation.
#[utoipa::path(delete, path = "/v1/applications/{client_id}/credentials/{key_id}",
    params(("client_id" = String, Path), ("key_id" = String, Path)),
    responses((status = 204), (status = 404, body = Problem)))]
pub(super) async fn remove_credential(
    Extract(simulator): Extract<Simulator>,
    Path((client, key_id)): Path<(String, String)>,
) -> Done {
    simulator.remove_credential(&client, &key_id)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sets what was consented to.
#[utoipa::path(put, path = "/v1/applications/{client_id}/roles", params(("client_id" = String, Path)),
    request_body = Vec<String>,
    responses((status = 204), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn set_roles(
    Extract(simulator): Extract<Simulator>,
    Path(client): Path<String>,
    Json(roles): Json<Vec<String>>,
) -> Done {
    simulator.set_roles(&client, &roles)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sets the redirect URIs, to which people are sent back after they signed in.
#[utoipa::path(put, path = "/v1/applications/{client_id}/redirects", params(("client_id" = String, Path)),
    request_body = Vec<String>, responses((status = 204), (status = 404, body = Problem)))]
pub(super) async fn set_redirects(
    Extract(simulator): Extract<Simulator>,
    Path(client): Path<String>,
    Json(redirects): Json<Vec<String>>,
) -> Done {
    simulator.set_redirects(&client, &redirects)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sets the access policies.
#[utoipa::path(put, path = "/v1/applications/{client_id}/policies", params(("client_id" = String, Path)),
    request_body = Vec<Policy>, responses((status = 204), (status = 404, body = Problem)))]
pub(super) async fn set_policies(
    Extract(simulator): Extract<Simulator>,
    Path(client): Path<String>,
    Json(policies): Json<Vec<Policy>>,
) -> Done {
    simulator.set_policies(&client, policies)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sets the RBAC roles for applications.
#[utoipa::path(put, path = "/v1/applications/{client_id}/assignments", params(("client_id" = String, Path)),
    request_body = Vec<Assignment>, responses((status = 204), (status = 404, body = Problem)))]
pub(super) async fn set_assignments(
    Extract(simulator): Extract<Simulator>,
    Path(client): Path<String>,
    Json(assignments): Json<Vec<Assignment>>,
) -> Done {
    simulator.set_assignments(&client, assignments)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Signs tokens with another key from now on.
#[utoipa::path(post, path = "/v1/keys/roll", responses((status = 204)))]
pub(super) async fn roll_keys(Extract(simulator): Extract<Simulator>) -> Done {
    simulator.roll_signing_key()?;
    Ok(StatusCode::NO_CONTENT)
}
