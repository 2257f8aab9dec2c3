//! Stories of organisation files: good ones, wrong ones, and what becomes of them in a store.

mod applied;
mod wrong;

use postroom_model::organization::Organization;
use secrecy::ExposeSecret as _;

use super::*;

/// The organisation file of the manual.
const CONTOSO: &str = r#"organization: { name: Contoso Support, languages: [en, ja] }
integrations:
  - name: contoso-graph
    kind: microsoft-graph
    token_endpoint: https://login.microsoftonline.com/11111111-1111-1111-1111-111111111111/oauth2/v2.0/token
    client_id: 22222222-2222-2222-2222-222222222222
    cloud: global
    credentials:
      - { name: spring, secret: "env:SPRING", expires: 2027-03-31 }
    mailboxes:
      - { address: support@contoso.example, folders: [inbox], take_from: activation, after_taking: mark-read }
      - { address: sales@contoso.example }
domains:
  - { name: contoso.example, kind: inbound, integration: contoso-graph }
routes:                       # first match wins, in this order
  - { address: billing@contoso.example, queue: Billing, skills: [invoices], language: en, priority: 5 }
  - { address: support@contoso.example, queue: Support, from_name: Contoso Support }
  - { address: sales@contoso.example, queue: Sales }
skills: [invoices, hardware]
queues:
  - { name: Support, alerting_timeout: 90s, members: [agent1@contoso.example, agent2@contoso.example], wrap_up_codes: [Solved, Escalated] }
  - { name: Billing, members: [agent2@contoso.example] }
  - { name: Sales, members: [agent2@contoso.example] }
users:
  - { email: agent1@contoso.example, name: Agent One, roles: [agent], skills: { hardware: 4 }, languages: { ja: 5, en: 3 }, capacity: { email: 3 } }
  - { email: agent2@contoso.example, name: Agent Two, roles: [supervisor, agent] }
  - { email: admin@contoso.example, name: Administrator, roles: [admin] }
"#;

fn environment(name: &str) -> Option<String> {
    match name {
        "SPRING" | "SIMULATOR_SECRET" => Some("the secret\n".to_owned()),
        "EMPTY" => Some("\n".to_owned()),
        _ => None,
    }
}

fn contoso() -> Organization {
    parse(CONTOSO, &environment).unwrap()
}

#[test]
fn the_manuals_file_is_understood_and_what_it_leaves_out_has_its_default() {
    let contoso = contoso();
    assert_eq!(contoso.languages, ["en", "ja"]);
    let sales = &contoso.mailboxes[1];
    assert_eq!(
        format!("{:?} {:?} {:?}", sales.folders, sales.take_from, sales.after_taking),
        r#"{"inbox"} Activation MarkRead"#
    );
    assert_eq!(contoso.queues[0].alerting_timeout.as_secs(), 90);
    assert_eq!(contoso.queues[1].alerting_timeout.as_secs(), 60);
    assert_eq!((contoso.routes[0].priority, contoso.routes[1].priority), (5, 0));
    assert_eq!((contoso.users[0].capacity, contoso.users[1].capacity), (3, 1));
    let spring = &contoso.integrations[0].credentials[0];
    assert_eq!(spring.proof.text.expose_secret(), "the secret", "without the line's end");
    assert_eq!(spring.expires_at.unwrap().to_string(), "2027-03-31T00:00:00Z");
}

#[test]
fn the_least_that_an_organisation_needs_is_its_name() {
    let least = parse("organization:\n  name: Contoso\nqueues:\n", &environment).unwrap();
    assert_eq!((least.name.as_str(), least.languages), ("Contoso", vec!["en".to_owned()]));
}

#[test]
fn the_sample_is_understood_once_its_secret_is_there() {
    let text = crate::sample::ORGANIZATION.replace("file:graph-secret", "env:SIMULATOR_SECRET");
    let sample = parse(&text, &environment).unwrap();
    assert_eq!((sample.queues.len(), sample.users.len(), sample.mailboxes.len()), (3, 6, 3));
    assert!(sample.users.iter().any(|user| user.name == "佐藤 花子"));
    let graph = &sample.integrations[0];
    assert_eq!(graph.graph_url.as_deref(), Some("http://127.0.0.1:1/graph"));
    assert_eq!(
        graph.token_endpoint,
        "http://127.0.0.1:1/11111111-1111-1111-1111-111111111111/oauth2/v2.0/token"
    );
}

#[test]
fn the_schema_explains_every_field_and_allows_no_other() {
    let schema = schema();
    let records = schema["$defs"].as_object().unwrap();
    assert_eq!(records.len(), 9, "{:?}", records.keys().collect::<Vec<_>>());
    for record in records.values().chain([&schema, &schema["properties"]["organization"]]) {
        assert!(record["description"].is_string() && record["additionalProperties"] == false, "{record}");
        for (name, field) in record["properties"].as_object().unwrap() {
            assert!(field["description"].is_string(), "{name} has no description");
        }
    }
    let queue = &records["Queue"];
    assert_eq!(queue["required"], serde_json::json!(["name"]));
    assert_eq!(
        queue["properties"]["alerting_timeout"]["description"],
        "How long an agent is alerted, from 5s to 1h; `60s` where it is left out."
    );
}

/// Whether a file keeps to the part of JSON Schema that our schema uses.
fn keeps(
    schema: &serde_json::Value,
    root: &serde_json::Value,
    value: &serde_json::Value,
) -> Result<(), String> {
    use serde_json::Value;
    if let Some(reference) = schema["$ref"].as_str() {
        return keeps(&root["$defs"][reference.trim_start_matches("#/$defs/")], root, value);
    }
    if let Some(any) = schema["anyOf"].as_array() {
        return any
            .iter()
            .find_map(|one| keeps(one, root, value).ok())
            .ok_or(format!("{value} fits none of {schema}"));
    }
    let fail = |what: &str| Err(format!("{value}: {what} in {schema}"));
    let kind = match value {
        Value::Object(_) => "object",
        Value::Array(_) => "array",
        Value::Number(_) => "integer",
        _ => "string",
    };
    let kinds = &schema["type"];
    if !kinds.is_null()
        && kinds != kind
        && !kinds.as_array().is_some_and(|kinds| kinds.iter().any(|k| k == kind))
    {
        return fail("wrong type");
    }
    if schema["enum"].as_array().is_some_and(|words| !words.contains(value))
        || schema.get("const").is_some_and(|word| word != value)
    {
        return fail("unknown word");
    }
    if let Value::Object(fields) = value {
        for (name, field) in fields {
            let inner = match &schema["properties"][name] {
                Value::Null if schema["additionalProperties"].is_object() => &schema["additionalProperties"],
                Value::Null => return fail("unknown field"),
                inner => inner,
            };
            keeps(inner, root, field)?;
        }
        let required = schema["required"].as_array().into_iter().flatten();
        if let Some(missing) = required.filter_map(Value::as_str).find(|name| !fields.contains_key(*name)) {
            return Err(format!("{value} lacks {missing}"));
        }
    }
    if let Value::Array(items) = value {
        items.iter().try_for_each(|item| keeps(&schema["items"], root, item))?;
    }
    Ok(())
}

#[test]
fn the_schema_accepts_the_sample_and_the_manuals_file() {
    let schema = schema();
    for text in [crate::sample::ORGANIZATION, CONTOSO] {
        let value: serde_json::Value = serde_saphyr::from_str(text).unwrap();
        keeps(&schema, &schema, &value).unwrap();
    }
    let wrong = serde_json::json!({ "organization": { "name": "Contoso", "colour": "blue" } });
    assert!(keeps(&schema, &schema, &wrong).is_err());
}
