//! The first page and the switches.

use askama::Template;
use axum::extract::{Form, State as Extract};
use axum::response::{IntoResponse, Redirect, Response};
use http::StatusCode;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::{page, shown_time};
use crate::mailbox::MailboxStatus;
use crate::simulator::Simulator;
use crate::switches::{Profile, Switches};

#[derive(Template)]
#[template(path = "home.html")]
struct Home {
    mailboxes: Vec<MailboxRow>,
    outside: Vec<(String, usize)>,
    applications: Vec<ApplicationRow>,
    figures: Vec<(&'static str, u64)>,
    main: Vec<MainSwitch>,
    profiles: [&'static str; 3],
    now: String,
}

struct MailboxRow {
    address: String,
    all: usize,
    unread: usize,
    subscriptions: usize,
    status: MailboxStatus,
}

struct ApplicationRow {
    name: String,
    client_id: String,
    credentials: Vec<CredentialRow>,
}

struct CredentialRow {
    kind: &'static str,
    name: String,
    key_id: String,
    ends: String,
    is_expired: bool,
}

/// A switch that is worth a button: what it is set to when thrown, and what it goes back to.
struct MainSwitch {
    name: &'static str,
    label: &'static str,
    is_on: bool,
    on: &'static str,
    off: &'static str,
}

/// The main switches: name, label, value when thrown, value before.
const MAIN: [(&str, &str, &str, &str); 8] = [
    ("secret.expire", "Client secrets are expired", "true", "false"),
    ("notify.outage", "Notifications are dropped", "true", "false"),
    ("notify.loss_rate", "Half of the notifications are lost", "0.5", "0"),
    ("sub.silent_death", "Let all subscriptions die in silence", "true", "false"),
    ("delta.expire", "Forget all delta tokens", "true", "false"),
    ("token.revoke", "Revoke all tokens", "true", "false"),
    ("throttle.rate", "A third of the requests is refused 429", "0.33", "0"),
    ("error.rate", "A third of the requests fails 503", "0.33", "0"),
];

pub(super) async fn home(Extract(simulator): Extract<Simulator>) -> Response {
    let state = simulator.state();
    let now = state.now();
    let mailboxes = state.mailboxes.iter().enumerate().map(|(at, mailbox)| {
        let (mut all, mut unread) = (0, 0);
        for item in mailbox.newest_first(None, Timestamp::MAX) {
            all += 1;
            unread += usize::from(!item.is_read);
        }
        let living = state.subscriptions.values().filter(|one| one.mailbox == at && one.expires > now);
        MailboxRow {
            address: mailbox.address.clone(),
            all,
            unread,
            subscriptions: living.count(),
            status: mailbox.status,
        }
    });
    let mailboxes = mailboxes.collect();
    let outside = state.outside.iter().map(|(address, mails)| (address.clone(), mails.len())).collect();
    let values = state.board.tenant().to_map();
    drop(state);
    let main = MAIN.map(|(name, label, on, off)| MainSwitch {
        name,
        label,
        is_on: values.get(name).is_some_and(|value| *value != false && *value != 0.0),
        on,
        off,
    });
    let applications = simulator.applications().into_iter().map(|application| ApplicationRow {
        name: application.name,
        client_id: application.client_id.to_string(),
        credentials: application
            .credentials
            .into_iter()
            .map(|credential| CredentialRow {
                kind: credential.kind,
                name: credential.name,
                key_id: credential.key_id.to_string(),
                ends: credential.ends.map(shown_time).unwrap_or_default(),
                is_expired: credential.ends.is_some_and(|ends| ends <= now),
            })
            .collect(),
    });
    let figures = simulator.figures();
    page(&Home {
        mailboxes,
        outside,
        applications: applications.collect(),
        figures: vec![
            ("Requests", figures.total),
            ("Most in flight at one mailbox", figures.max_in_flight.into()),
            ("Requests before a wait was over", figures.violations),
            ("Notifications made", figures.notifications.created),
            ("Notifications delivered", figures.notifications.delivered),
            ("Notifications swallowed", figures.notifications.suppressed),
        ],
        main: main.into(),
        profiles: Profile::ALL.map(Profile::name),
        now: shown_time(now),
    })
}

#[derive(Template)]
#[template(path = "switches.html")]
struct SwitchesPage {
    rows: Vec<SwitchRow>,
}

struct SwitchRow {
    name: &'static str,
    value: String,
    takes: &'static str,
    about: &'static str,
    is_changed: bool,
}

pub(super) async fn switches(Extract(simulator): Extract<Simulator>) -> Response {
    let (values, calm) = (simulator.switches().to_map(), Switches::default().to_map());
    let rows = Switches::LIST.iter().map(|facts| SwitchRow {
        name: facts.name,
        value: values.get(facts.name).map(Value::to_string).unwrap_or_default(),
        takes: facts.takes,
        about: facts.about.trim(),
        is_changed: values.get(facts.name) != calm.get(facts.name),
    });
    page(&SwitchesPage { rows: rows.collect() })
}

/// A switch as a form sets it.
#[derive(Deserialize)]
pub(super) struct Setting {
    name: String,
    value: String,
    /// The page to go back to.
    #[serde(default)]
    back: String,
}

pub(super) async fn set_switch(
    Extract(simulator): Extract<Simulator>,
    Form(setting): Form<Setting>,
) -> Response {
    // What is no JSON is a word.
    let value = serde_json::from_str(&setting.value).unwrap_or_else(|_| Value::from(setting.value));
    match simulator.set_switch(&setting.name, value) {
        Ok(()) if setting.back == "home" => Redirect::to("/").into_response(),
        Ok(()) => Redirect::to("/switches").into_response(),
        Err(error) => error.into_response(),
    }
}

/// A profile as a form chooses it.
#[derive(Deserialize)]
pub(super) struct Choice {
    name: String,
}

pub(super) async fn set_profile(
    Extract(simulator): Extract<Simulator>,
    Form(choice): Form<Choice>,
) -> Response {
    let Some(profile) = Profile::parse(&choice.name) else {
        return (StatusCode::BAD_REQUEST, "There is no such profile.").into_response();
    };
    simulator.set_profile(profile);
    Redirect::to("/").into_response()
}

/// What a form does with a credential.
#[derive(Deserialize)]
pub(super) struct CredentialAct {
    client_id: String,
    key_id: String,
    act: String,
}

pub(super) async fn credential(
    Extract(simulator): Extract<Simulator>,
    Form(form): Form<CredentialAct>,
) -> Response {
    let done = match form.act.as_str() {
        "expire" => simulator.expire_secret(&form.client_id, &form.key_id),
        "remove" => simulator.remove_credential(&form.client_id, &form.key_id),
        _ => return (StatusCode::BAD_REQUEST, "There is no such act.").into_response(),
    };
    match done {
        Ok(()) => Redirect::to("/").into_response(),
        Err(error) => error.into_response(),
    }
}
