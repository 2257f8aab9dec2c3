//! Reading what Graph sends to the webhook. Pure.
//!
//! Called by intake with the raw body. Rule kept: each element stands alone, and
//! an odd one is still a wake-up; nothing in it is believed before its client
//! state is checked. <https://learn.microsoft.com/en-us/graph/change-notifications-delivery-webhooks>

use serde_json::Value;

/// One element of a batch of notifications.
#[derive(Clone, PartialEq, Eq)]
pub struct Notification {
    /// Graph's id of the subscription.
    pub subscription_id: Option<String>,
    /// What the subscription was given as a proof.
    pub client_state: Option<String>,
    /// `created`, `updated` or `deleted`; absent in lifecycle events.
    pub change_type: Option<String>,
    /// The message concerned, with the kind of id the subscription was made for.
    pub message_id: Option<String>,
    /// Set if it is about the subscription itself.
    pub lifecycle: Option<LifecycleEvent>,
    /// The tenant concerned.
    pub tenant_id: Option<String>,
}

/// What happened to a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LifecycleEvent {
    /// Its access lapses soon; confirm or renew it.
    ReauthorizationRequired,
    /// Graph removed it.
    SubscriptionRemoved,
    /// Some notifications were not delivered.
    Missed,
    /// Something this version does not know.
    Unknown,
}

/// The body is not a batch of notifications.
#[derive(Debug, thiserror::Error)]
pub enum NotificationError {
    /// It is not JSON.
    #[error("the body is not JSON")]
    NotJson(#[source] serde_json::Error),
    /// It is JSON, but has no list of notifications.
    #[error("the body has no list \"value\"")]
    NoList,
}

/// Reads a batch.
///
/// # Errors
/// When the body is not JSON or has no list; never for a single element.
pub fn parse_notifications(body: &[u8]) -> Result<Vec<Notification>, NotificationError> {
    let body: Value = serde_json::from_slice(body).map_err(NotificationError::NotJson)?;
    let elements = body.get("value").and_then(Value::as_array).ok_or(NotificationError::NoList)?;
    Ok(elements.iter().map(notification).collect())
}

/// Compares client states in a time that does not tell where they differ.
pub fn client_state_matches(given: &str, expected: &str) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(given.as_bytes(), expected.as_bytes()).is_ok()
}

fn notification(element: &Value) -> Notification {
    let text =
        |key: &str| element.get(key).and_then(Value::as_str).filter(|t| !t.is_empty()).map(str::to_owned);
    let lifecycle = text("lifecycleEvent").map(|event| match event.to_ascii_lowercase().as_str() {
        "reauthorizationrequired" => LifecycleEvent::ReauthorizationRequired,
        "subscriptionremoved" => LifecycleEvent::SubscriptionRemoved,
        "missed" => LifecycleEvent::Missed,
        _ => LifecycleEvent::Unknown,
    });
    // We never ask for encrypted content; an element with it only says: look.
    let plain = lifecycle.is_none() && element.get("encryptedContent").is_none_or(Value::is_null);
    Notification {
        subscription_id: text("subscriptionId"),
        client_state: text("clientState"),
        change_type: text("changeType"),
        message_id: plain.then(|| message_id(element)).flatten(),
        lifecycle,
        tenant_id: text("tenantId"),
    }
}

fn message_id(element: &Value) -> Option<String> {
    let given = element.pointer("/resourceData/id").and_then(Value::as_str).filter(|id| !id.is_empty());
    given.or_else(|| in_path(element.get("resource")?.as_str()?)).map(str::to_owned)
}

/// The id in `Users/…/Messages/<id>` or `users('…')/messages('<id>')`.
fn in_path(resource: &str) -> Option<&str> {
    let last = resource.rfind('/')?;
    let (before, part) = (&resource[..last], &resource[last + 1..]);
    let container = before.rsplit('/').next().unwrap_or_default();
    if container.eq_ignore_ascii_case("messages") {
        return Some(part).filter(|id| !id.is_empty());
    }
    let (name, key) = part.split_once("('")?;
    key.strip_suffix("')").filter(|id| name.eq_ignore_ascii_case("messages") && !id.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one(element: &str) -> Notification {
        parse_notifications(format!("{{\"value\":[{element}]}}").as_bytes())
            .unwrap_or_else(|_| panic!("a batch"))
            .remove(0)
    }

    #[test]
    fn a_batch_as_the_documentation_shows_it() {
        let body = r##"{"value":[
            {"id":"lsgTZMr9KwAAA",
             "subscriptionId":"76619225-ff6b-4136-96ca-4ef547f08bae",
             "subscriptionExpirationDateTime":"2026-01-20T18:23:45.9356913+00:00",
             "clientState":"secret","changeType":"created",
             "resource":"Users/622eaaff-0683-4862-9de4-f2ec83c2bd98/Messages/AAMkAD=",
             "tenantId":"84bd8158-6d4d-4958-8b9f-9d6445542f95",
             "resourceData":{"@odata.type":"#Microsoft.Graph.Message","@odata.id":"Users/x/Messages/AAMkAD=",
               "@odata.etag":"W/\"CQAAABYAAAD\"","id":"AAMkAD="}},
            {"lifecycleEvent":"missed","subscriptionId":"76619225-ff6b-4136-96ca-4ef547f08bae","clientState":"secret"}],
            "validationTokens":null}"##;
        let all = parse_notifications(body.as_bytes()).unwrap_or_else(|_| panic!("a batch"));
        assert_eq!(all.len(), 2);
        assert_eq!(all[0].subscription_id.as_deref(), Some("76619225-ff6b-4136-96ca-4ef547f08bae"));
        assert_eq!(all[0].client_state.as_deref(), Some("secret"));
        assert_eq!(
            (all[0].change_type.as_deref(), all[0].message_id.as_deref()),
            (Some("created"), Some("AAMkAD="))
        );
        assert_eq!((all[1].lifecycle, all[1].message_id.as_deref()), (Some(LifecycleEvent::Missed), None));
    }

    #[test]
    fn the_message_is_found_in_the_path_when_the_data_have_no_id() {
        for resource in
            ["Users/u/Messages/A=", "users/u/mailFolders('inbox')/messages/A=", "Users('u')/Messages('A=')"]
        {
            let element = format!("{{\"resource\":\"{resource}\",\"resourceData\":{{}}}}");
            assert_eq!(one(&element).message_id.as_deref(), Some("A="), "{resource}");
        }
        for resource in ["Users/u/Events/A=", "Messages", "Users/u/Messages/", "Users/u/Messages('')", ""] {
            let element = format!("{{\"resource\":\"{resource}\"}}");
            assert_eq!(one(&element).message_id, None, "{resource}");
        }
    }

    #[test]
    fn encrypted_content_and_unknown_events_are_plain_wake_ups() {
        let rich = one(r#"{"clientState":"s","resourceData":{"id":"A"},"encryptedContent":{"data":"x"}}"#);
        assert_eq!((rich.message_id, rich.client_state.as_deref()), (None, Some("s")));
        assert_eq!(
            one(r#"{"resourceData":{"id":"A"},"encryptedContent":null}"#).message_id.as_deref(),
            Some("A")
        );
        assert_eq!(
            one(r#"{"lifecycleEvent":"SubscriptionRemoved"}"#).lifecycle,
            Some(LifecycleEvent::SubscriptionRemoved)
        );
        assert_eq!(one(r#"{"lifecycleEvent":"somethingNew"}"#).lifecycle, Some(LifecycleEvent::Unknown));
    }

    #[test]
    fn an_odd_element_spoils_no_other() {
        let body =
            br#"{"value":[7, null, {"clientState":5,"resourceData":"x"}, {"resourceData":{"id":"A"}}]}"#;
        let all = parse_notifications(body).unwrap_or_else(|_| panic!("a batch"));
        assert_eq!(all.len(), 4);
        assert_eq!(all[3].message_id.as_deref(), Some("A"));
    }

    #[test]
    fn what_is_no_batch_is_refused() {
        for body in ["", "<html>", "[]", "{}", r#"{"value":{}}"#, "\u{0}"] {
            assert!(parse_notifications(body.as_bytes()).is_err(), "{body}");
        }
    }

    #[test]
    fn client_states_match_only_when_equal() {
        assert!(client_state_matches("secret", "secret"));
        for other in ["", "secre", "secret ", "Secret"] {
            assert!(!client_state_matches(other, "secret"));
        }
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _either = parse_notifications(&body);
        }

        #[test]
        fn no_resource_makes_it_panic(resource in "([Mm]essages|/|\\(|'|\\)|[a-zé=]){0,12}") {
            let body = serde_json::json!({ "value": [{ "resource": resource }] }).to_string();
            prop_assert_eq!(parse_notifications(body.as_bytes()).map(|all| all.len()).ok(), Some(1));
        }
    }
}
