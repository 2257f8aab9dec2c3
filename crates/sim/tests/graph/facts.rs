//! Every JSON the simulator emits against our own table of Microsoft's schema (`facts.txt`),
//! and the table against the published file where the test data is there.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::client::{USER, client};

const FACTS: &str = include_str!("facts.txt");

/// What the simulator does not emit, and why.
const LEFT_OUT: [(&str, &str, &str); 12] = [
    ("message", "uniqueBody", "only with $select"),
    ("message", "internetMessageHeaders", "only with $select"),
    ("message", "attachments", "only with $expand"),
    ("message", "extensions", "open extensions are not simulated"),
    ("message", "multiValueExtendedProperties", "only with $expand"),
    ("message", "singleValueExtendedProperties", "only with $expand"),
    ("mailFolder", "childFolders", "only with $expand"),
    ("mailFolder", "messageRules", "rules are not simulated"),
    ("mailFolder", "messages", "asked for by a path of its own"),
    ("mailFolder", "multiValueExtendedProperties", "extended properties of folders are not simulated"),
    ("mailFolder", "singleValueExtendedProperties", "extended properties of folders are not simulated"),
    ("changeNotification", "encryptedContent", "rich notifications are not simulated"),
];

/// What real answers carry beyond the schema.
const BEYOND: [(&str, &str); 1] = [("mailFolder", "sizeInBytes")];

/// Either what a change notification or what a lifecycle notification has.
const EITHER: [&str; 4] = ["lifecycleEvent", "resource", "resourceData", "changeType"];

#[derive(Default)]
struct Facts {
    base: BTreeMap<&'static str, &'static str>,
    properties: BTreeMap<&'static str, BTreeMap<&'static str, (&'static str, bool)>>,
    enums: BTreeMap<&'static str, BTreeSet<&'static str>>,
}

impl Facts {
    fn read() -> Self {
        let mut facts = Self::default();
        let mut current = "";
        for line in FACTS.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let words: Vec<&str> = line.split_whitespace().collect();
            match (line.starts_with(' '), &words[..]) {
                (false, ["type", name, base @ ..]) => {
                    current = name;
                    facts.properties.entry(name).or_default();
                    facts.base.extend(base.first().map(|base| (*name, *base)));
                }
                (false, ["enum", name, members @ ..]) => {
                    facts.enums.insert(name, members.iter().copied().collect());
                }
                (true, [name, kind, required @ ..]) => {
                    let is_new = facts.properties.entry(current).or_default();
                    is_new.insert(name, (kind, !required.is_empty()));
                }
                _ => panic!("not a fact: {line}"),
            }
        }
        facts
    }

    fn all(&self, name: &str) -> BTreeMap<&'static str, (&'static str, bool)> {
        let mut all = self.base.get(name).map(|base| self.all(base)).unwrap_or_default();
        all.extend(self.properties.get(name).unwrap_or_else(|| panic!("no facts about {name}")));
        all
    }

    /// Checks a value, and answers what is wrong with it.
    fn check(&self, name: &str, value: &Value, at: &str, wrong: &mut Vec<String>) {
        let all = self.all(name);
        for (key, value) in value.as_object().into_iter().flatten().filter(|(key, _)| !key.contains('@')) {
            let at = format!("{at}.{key}");
            match all.get(key.as_str()) {
                None if BEYOND.contains(&(name, key)) || name == "resourceData" => {}
                None => wrong.push(format!("{at}: not in the schema")),
                Some((_, true)) if value.is_null() => wrong.push(format!("{at}: may not be null")),
                Some(_) if value.is_null() => {}
                Some((kind, _)) => self.check_kind(kind, value, &at, wrong),
            }
        }
    }

    fn check_kind(&self, kind: &str, value: &Value, at: &str, wrong: &mut Vec<String>) {
        if let Some(inner) = kind.strip_prefix("Collection(").and_then(|kind| kind.strip_suffix(')')) {
            match value.as_array() {
                Some(members) => members.iter().for_each(|member| self.check_kind(inner, member, at, wrong)),
                None => wrong.push(format!("{at}: not a collection")),
            }
            return;
        }
        let fits = match kind {
            "String" => value.is_string(),
            "Binary" => value.is_string(),
            "Boolean" => value.is_boolean(),
            "Int32" => value.as_i64().is_some_and(|number| i32::try_from(number).is_ok()),
            "Guid" => value.as_str().is_some_and(|text| text.len() == 36),
            "DateTimeOffset" => value.as_str().is_some_and(|text| text.parse::<jiff::Timestamp>().is_ok()),
            kind => match self.enums.get(kind) {
                Some(members) => value.as_str().is_some_and(|text| members.contains(text)),
                None if self.properties.contains_key(kind) => {
                    self.check(kind, value, at, wrong);
                    value.is_object()
                }
                None => true,
            },
        };
        if !fits {
            wrong.push(format!("{at}: {value} is no {kind}"));
        }
    }

    /// What is neither there nor listed as left out.
    fn missing(&self, name: &'static str, value: &Value, wrong: &mut Vec<String>) {
        for key in self.all(name).keys().filter(|key| value.get(**key).is_none()) {
            if !LEFT_OUT.iter().any(|(kind, left, _)| (*kind, *left) == (name, *key)) {
                wrong.push(format!("{name}.{key}: missing without a reason"));
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_emitted_has_the_names_and_types_of_the_schema() {
    let client = client().await;
    let facts = Facts::read();
    let mut wrong = Vec::new();
    client.subscribe("users/support@contoso.example/mailFolders('inbox')/messages", "created,updated").await;
    let id = client.deliver("a");
    let path = format!("{USER}/messages/{id}");
    let change = json!({
        "flag": { "flagStatus": "flagged", "dueDateTime": { "dateTime": "2026-03-09T00:00:00", "timeZone": "UTC" } },
        "categories": ["blue"], "inferenceClassification": "other", "importance": "low",
        "singleValueExtendedProperties": [{ "id": "String {00000000-0000-0000-0000-000000000001} Name A", "value": "b" }],
    });
    client.ask("PATCH", &path, Some(change)).await;
    let expand = "$expand=attachments,singleValueExtendedProperties($filter=id eq 'LONG 0x0E08')";
    let draft = json!({ "subject": "d", "attachments": [
        { "@odata.type": "#microsoft.graph.fileAttachment", "name": "a.txt", "contentBytes": "YQ==" }] });
    let draft = client.post(&format!("{USER}/messages"), draft).await;
    let on_request = "$select=uniqueBody,internetMessageHeaders,body";
    let attachments = format!("{USER}/messages/{}/attachments", draft["id"].as_str().unwrap());
    let attachment = client.get(&attachments).await["value"][0].clone();
    let folder = client.get(&format!("{USER}/mailFolders/inbox")).await;
    let subscription = client.get("/v1.0/subscriptions").await["value"][0].clone();
    let message = client.get(&path).await;
    let expanded = client.get(&format!("{path}?{expand}")).await;
    assert_eq!(expanded["singleValueExtendedProperties"][0]["id"], "Long 0xe08");
    for (name, value) in [
        ("message", &message),
        ("message", &draft),
        ("mailFolder", &folder),
        ("fileAttachment", &attachment),
        ("subscription", &subscription),
    ] {
        facts.check(name, value, name, &mut wrong);
        facts.missing(name, value, &mut wrong);
    }
    facts.check("message", &expanded, "message", &mut wrong);
    facts.check("message", &client.get(&format!("{path}?{on_request}")).await, "message", &mut wrong);
    let settings = client.get(&format!("{USER}/mailboxSettings")).await;
    facts.check("mailboxSettings", &settings, "mailboxSettings", &mut wrong);

    let stop = CancellationToken::new();
    let story = async {
        client.simulator.lifecycle("support@contoso.example", "missed").unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        stop.cancel();
    };
    tokio::join!(client.simulator.run(stop.clone()), story);
    let heard = client.heard.lock().unwrap().clone();
    assert!(heard.len() >= 3, "{heard:?}");
    for element in &heard {
        facts.check("changeNotification", element, "changeNotification", &mut wrong);
        let mut missing = Vec::new();
        facts.missing("changeNotification", element, &mut missing);
        missing.retain(|text| !EITHER.iter().any(|key| text.contains(&format!(".{key}:"))));
        wrong.extend(missing);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_value_that_breaks_the_schema_is_found() {
    let facts = Facts::read();
    let mut wrong = Vec::new();
    let value = json!({ "isRead": "yes", "id": null, "nope": 1, "importance": "urgent", "toRecipients": {} });
    facts.check("message", &value, "message", &mut wrong);
    assert_eq!(wrong.len(), 5, "{wrong:?}");
}

#[test]
fn our_table_agrees_with_the_published_schema() {
    let Some(schema) = published("graph/mail-v1.0.csdl", "our_table_agrees_with_the_published_schema") else {
        return;
    };
    let facts = Facts::read();
    let part = |kind: &str, name: &str| {
        let start = schema.find(&format!("<{kind} Name=\"{name}\""))?;
        let rest = &schema[start..];
        let opening = &rest[..rest.find('>')?];
        let end = if opening.ends_with('/') { opening.len() } else { rest.find(&format!("</{kind}>"))? };
        Some(&rest[..end])
    };
    let attribute = |line: &str, name: &str| {
        let rest = line.split_once(&format!(" {name}=\""))?.1;
        rest.split_once('"').map(|(value, _)| value.replace("graph.", "").replace("Edm.", ""))
    };
    for (name, members) in &facts.enums {
        let text = part("EnumType", name).unwrap_or_else(|| panic!("no enum {name}"));
        let found: Vec<String> = text.lines().skip(1).filter_map(|line| attribute(line, "Name")).collect();
        assert_eq!(found.iter().map(String::as_str).collect::<BTreeSet<_>>(), *members, "{name}");
    }
    for (name, properties) in &facts.properties {
        let text = part("EntityType", name).or_else(|| part("ComplexType", name));
        let text = text.unwrap_or_else(|| panic!("no type {name}"));
        let base = text.lines().next().and_then(|line| attribute(line, "BaseType"));
        assert_eq!(base.as_deref(), facts.base.get(name).copied(), "{name}");
        let lines = text.lines().filter(|line| line.contains("Property Name="));
        let found: BTreeMap<String, (String, bool)> = lines
            .filter_map(|line| {
                let required = attribute(line, "Nullable").as_deref() == Some("false");
                Some((attribute(line, "Name")?, (attribute(line, "Type")?, required)))
            })
            .collect();
        let ours =
            properties.iter().map(|(key, (kind, required))| ((*key).into(), ((*kind).into(), *required)));
        assert_eq!(found, ours.collect(), "{name}");
    }
}

/// A file of the test data; notes the test as skipped when the data is not here.
#[expect(clippy::disallowed_methods, reason = "where the test data lies is told by the environment")]
pub(crate) fn published(file: &str, test: &str) -> Option<String> {
    let workspace = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folder = std::env::var("POSTROOM_TEST_DATA").unwrap_or_else(|_| "../shared/data".into());
    let text = std::fs::read_to_string(workspace.join(folder).join(file)).ok();
    if text.is_none()
        && let Ok(path) = std::env::var("POSTROOM_SKIPPED")
    {
        let mut skipped = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        writeln!(skipped, "{test}: no test data").unwrap();
    }
    text
}
