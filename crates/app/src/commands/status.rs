//! `postroom status`: how every mailbox, subscription and credential stands, in a few lines.

use std::process::ExitCode;

use jiff::{SignedDuration, tz::TimeZone};
use postroom_engine::figures::{Figures, MailboxFigures};
use postroom_model::{Timestamp, mailbox::MailboxHealth};
use serde_json::{Value, json};

use crate::config::Config;

/// How to show it.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Prints how everything stands; exit code 1 if a mailbox is failing or a credential has ended.
///
/// # Errors
/// When the store can't be read.
pub async fn run(config: Config, options: Options) -> anyhow::Result<ExitCode> {
    let figures = super::open_engine(&config).await?.figures().await?;
    if options.json {
        println!("{}", as_json(&figures));
    } else {
        print_text(&figures);
    }
    let is_failing = figures.mailboxes.iter().any(|one| one.mailbox.health == MailboxHealth::Failing);
    let has_ended = figures.credentials.iter().any(|credential| credential.at <= figures.at);
    Ok(if is_failing || has_ended { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn as_json(figures: &Figures) -> Value {
    let mailboxes = figures.mailboxes.iter().map(|one| {
        json!({
            "address": one.mailbox.address,
            "health": one.mailbox.health.as_str(),
            "health_detail": one.mailbox.health_detail,
            "health_since": one.mailbox.health_at,
            "last_notification_at": one.last_notification_at,
            "last_delta_at": one.last_delta_at,
            "last_mail_at": one.last_mail_at,
            "subscription_expires_at": one.subscription_expires_at,
            "open_jobs": one.open_jobs,
            "mails_24h": one.mails,
            "found_only_by_delta_24h": one.unannounced,
        })
    });
    let credentials = figures.credentials.iter().map(|credential| {
        json!({
            "integration": credential.integration,
            "credential": credential.credential,
            "expires_at": credential.at,
            "days_left": days_left(credential.at, figures.at),
        })
    });
    let states = figures.states.iter().map(|count| (count.state.as_str().to_owned(), count.count.into()));
    json!({
        "at": figures.at,
        "mailboxes": mailboxes.collect::<Vec<_>>(),
        "credentials": credentials.collect::<Vec<_>>(),
        "messages": states.collect::<serde_json::Map<String, Value>>(),
    })
}

fn days_left(end: Timestamp, now: Timestamp) -> i64 {
    end.duration_since(now).as_hours().div_euclid(24)
}

fn print_text(figures: &Figures) {
    let now = figures.at;
    for one in &figures.mailboxes {
        print_mailbox(one, now);
    }
    for credential in &figures.credentials {
        let days = days_left(credential.at, now);
        let day = credential.at.to_zoned(TimeZone::UTC).date();
        let left = if days < 0 { "has ended".to_owned() } else { format!("{days} days left") };
        println!("credential {} of {}: ends {day}, {left}", credential.credential, credential.integration);
    }
    let states: Vec<String> =
        figures.states.iter().map(|count| format!("{} {}", count.count, count.state)).collect();
    println!("messages: {}", if states.is_empty() { "none yet".to_owned() } else { states.join(", ") });
}

fn print_mailbox(one: &MailboxFigures, now: Timestamp) {
    let detail = one.mailbox.health_detail.as_deref().map_or_else(String::new, |text| format!("  ({text})"));
    println!("{}  {}{detail}", one.mailbox.address, one.mailbox.health);
    println!(
        "    announced {}, looked {}, last mail {}; {} open; subscription until {}",
        ago(one.last_notification_at, now),
        ago(one.last_delta_at, now),
        ago(one.last_mail_at, now),
        one.open_jobs,
        one.subscription_expires_at.map_or_else(|| "none".to_owned(), |at| at.to_string()),
    );
    if one.unannounced > 0 {
        println!("    {} of {} mails of the last 24 hours were never announced", one.unannounced, one.mails);
    }
}

fn ago(at: Option<Timestamp>, now: Timestamp) -> String {
    let Some(at) = at else { return "never".to_owned() };
    let seconds = now.duration_since(at).max(SignedDuration::ZERO).as_secs();
    match seconds {
        0..120 => format!("{seconds} s ago"),
        120..7200 => format!("{} min ago", seconds / 60),
        7200..172_800 => format!("{} h ago", seconds / 3600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}
