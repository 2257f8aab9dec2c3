//! The metrics for Prometheus, and whether this process lives and works.
//!
//! Called by Prometheus and by whatever watches over the process. The metrics have a listener of their
//! own, because they name mailboxes: they are for the operator's network, not for the internet.
//! <https://github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetrics.md>

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use postroom_engine::{
    Engine,
    figures::{Figures, MailboxFigures},
};
use postroom_model::{Timestamp, mailbox::MailboxHealth};
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};
use std::sync::atomic::AtomicU64;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// The older format, for all who don't ask for the newer one.
/// <https://prometheus.io/docs/instrumenting/exposition_formats/>
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// `GET /metrics` alone, for a listener of its own.
pub fn metrics_router(engine: Engine) -> Router {
    Router::new().route("/metrics", get(metrics)).with_state(engine)
}

/// `GET /healthz` and `GET /readyz`: nobody needs to sign in for them.
pub(crate) fn watch_router(engine: Engine) -> Router {
    Router::new().route("/healthz", get(healthz)).route("/readyz", get(readyz)).with_state(engine)
}

/// `GET /healthz`: the process lives and answers.
async fn healthz() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: it does its work: the store answers, and its leases are its own.
async fn readyz(State(engine): State<Engine>) -> Response {
    let (status, said) = match engine.is_ready().await {
        Ok(true) => (StatusCode::OK, "ready\n"),
        Ok(false) => (StatusCode::SERVICE_UNAVAILABLE, "the leases of this process have run out\n"),
        Err(error) => {
            tracing::warn!(error = %error, "Not ready: the store does not answer");
            (StatusCode::SERVICE_UNAVAILABLE, "the store does not answer\n")
        }
    };
    (status, said).into_response()
}

async fn metrics(State(engine): State<Engine>, headers: HeaderMap) -> Response {
    let figures = match engine.figures().await {
        Ok(figures) => figures,
        Err(error) => {
            tracing::warn!(error = %error, "Metrics can't be read from the store");
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        }
    };
    let mut text = String::new();
    if encode(&mut text, &registry(&engine, &figures)).is_err() {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let accepts = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if accepts.contains("application/openmetrics-text") {
        ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response()
    } else {
        ([(header::CONTENT_TYPE, TEXT)], as_older(&text)).into_response()
    }
}

/// The same in the older format: counters bear their samples' name, units and the end are not said.
fn as_older(text: &str) -> String {
    let counters: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter")).collect();
    let mut older = String::with_capacity(text.len());
    for line in text.lines() {
        let said = line.strip_prefix("# HELP ").or_else(|| line.strip_prefix("# TYPE "));
        let name = said.and_then(|said| said.split(' ').next());
        match name {
            Some(name) if counters.contains(&name) => {
                let (before, after) = line.split_once(name).unwrap_or((line, ""));
                older.extend([before, name, "_total", after, "\n"]);
            }
            _ if line.starts_with("# UNIT ") || line == "# EOF" => {}
            _ => older.extend([line, "\n"]),
        }
    }
    older
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfMailbox {
    mailbox: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HealthOf {
    mailbox: String,
    health: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfCredential {
    integration: String,
    credential: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfState {
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfOperation {
    operation: &'static str,
}

type Seconds<L> = Family<L, Gauge<f64, AtomicU64>>;

fn registry(engine: &Engine, figures: &Figures) -> Registry {
    let mut registry = Registry::with_prefix("postroom");
    of_mailboxes(&mut registry, figures);
    let ends = Seconds::<OfCredential>::default();
    for credential in &figures.credentials {
        let labels = OfCredential {
            integration: credential.integration.clone(),
            credential: credential.credential.clone(),
        };
        ends.get_or_create(&labels).set(credential.at.as_millisecond() as f64 / 1e3);
    }
    registry.register_with_unit("credential_expiry_timestamp", "When a credential ends", Unit::Seconds, ends);
    let states = Family::<OfState, Gauge>::default();
    for count in &figures.states {
        states.get_or_create(&OfState { state: count.state.as_str() }).set(count.count);
    }
    registry.register("messages", "Messages in the ledger by state", states);
    let requests = Family::<OfOperation, Counter>::default();
    for (operation, count) in &figures.requests {
        requests.get_or_create(&OfOperation { operation }).inc_by(*count);
    }
    registry.register("graph_requests", "Requests to Microsoft since the start, by kind", requests);
    registry.register_with_unit(
        "arrival_to_queue",
        "From a mail's arrival in the mailbox, told in whole seconds, to its queue",
        Unit::Seconds,
        engine.arrival_to_queue(),
    );
    registry
}

fn of_mailboxes(registry: &mut Registry, figures: &Figures) {
    let health = Family::<HealthOf, Gauge>::default();
    for one in &figures.mailboxes {
        for word in MailboxHealth::ALL {
            let labels = HealthOf { mailbox: one.mailbox.address.clone(), health: word.as_str() };
            health.get_or_create(&labels).set(i64::from(one.mailbox.health == *word));
        }
    }
    registry.register("mailbox_health", "1 for the state that a mailbox is in", health);
    let mut seconds = |name: &str, help: &str, at: &dyn Fn(&MailboxFigures) -> Option<Timestamp>| {
        let family = Seconds::<OfMailbox>::default();
        for one in &figures.mailboxes {
            if let Some(at) = at(one) {
                family.get_or_create(&of(one)).set(at.as_millisecond() as f64 / 1e3);
            }
        }
        registry.register_with_unit(name, help, Unit::Seconds, family);
    };
    seconds("mailbox_last_notification_timestamp", "When Microsoft last announced something", &|one| {
        one.last_notification_at
    });
    seconds("mailbox_last_delta_timestamp", "When a delta round was last finished", &|one| one.last_delta_at);
    seconds("mailbox_last_mail_timestamp", "When a mail was last heard of", &|one| one.last_mail_at);
    seconds("mailbox_subscription_expiry_timestamp", "When the subscription ends", &|one| {
        one.subscription_expires_at
    });
    seconds("mailbox_parked_until_timestamp", "Until when the mailbox is left alone", &|one| {
        one.lane.as_ref()?.parked.as_ref().map(|parked| parked.until)
    });
    let mut count = |name: &str, help: &str, count: &dyn Fn(&MailboxFigures) -> Option<i64>| {
        let family = Family::<OfMailbox, Gauge>::default();
        for one in &figures.mailboxes {
            if let Some(count) = count(one) {
                family.get_or_create(&of(one)).set(count);
            }
        }
        registry.register(name, help, family);
    };
    let whole = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    count("mailbox_open_jobs", "Jobs that are open in the mailbox's lane", &|one| Some(one.open_jobs));
    count("mailbox_mails_24h", "Mails of the last 24 hours", &|one| Some(one.mails));
    count("mailbox_unannounced_24h", "Mails of the last 24 hours that were never announced", &|one| {
        Some(one.unannounced)
    });
    count("mailbox_lane_in_flight", "Requests to the mailbox under way", &|one| {
        one.lane.as_ref().map(|lane| whole(lane.in_flight))
    });
    count("mailbox_lane_limit", "Requests to the mailbox that may be under way", &|one| {
        one.lane.as_ref().map(|lane| whole(lane.limit))
    });
    count("mailbox_lane_waiting", "Requests to the mailbox that wait their turn", &|one| {
        one.lane.as_ref().map(|lane| whole(lane.waiting))
    });
    count("mailbox_breaker_open", "1 while one request at a time tries whether the mailbox works", &|one| {
        one.lane.as_ref().map(|lane| i64::from(lane.probing))
    });
    count("mailbox_budget_left_requests", "Requests that may still be made in ten minutes", &|one| {
        one.lane.as_ref().map(|lane| i64::from(lane.budget_left))
    });
    count("mailbox_upload_left_bytes", "Bytes that may still be sent in five minutes", &|one| {
        one.lane.as_ref().map(|lane| i64::try_from(lane.upload_left).unwrap_or(i64::MAX))
    });
}

fn of(one: &MailboxFigures) -> OfMailbox {
    OfMailbox { mailbox: one.mailbox.address.clone() }
}
