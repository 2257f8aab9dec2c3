//! `postroom integration list | add-credential | remove-credential`: what the
//! integrations sign in with, changed without a gap.
//!
//! Rule kept: a credential is tried at Microsoft before it is stored, and what
//! Microsoft says is shown.

mod given;

use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::bail;
use jiff::tz::TimeZone;
use postroom_engine::{Engine, credentials::ChangeError, in_full};
use postroom_model::{Timestamp, organization::Credential};
use postroom_store::{
    credentials::{Credential as Stored, Preference},
    integrations::{self, Integration},
};
use serde_json::{Value, json};

use crate::{config::Config, effects};

/// What to do with an integration.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List the integrations and their credentials, the preferred first.
    List {
        /// Ask Microsoft for a token with each of them.
        #[arg(long = "try")]
        is_tried: bool,
        /// Print one JSON object a line.
        #[arg(long)]
        json: bool,
    },
    /// Try a credential and add it; it takes over when those before it fail, expire or are removed.
    AddCredential(Box<Add>),
    /// Remove a credential that was added with `add-credential`; the others go on.
    RemoveCredential(Remove),
}

/// Which credential to add.
#[derive(Debug, clap::Args)]
pub struct Add {
    /// The integration's name.
    integration: String,
    /// The credential's own name, for you.
    #[arg(value_parser = crate::organization::understand_name)]
    name: String,
    #[command(flatten)]
    given: given::Given,
    /// The day from which it is good, like 2027-03-31; a certificate says it itself.
    #[arg(long, value_name = "DAY", value_parser = crate::organization::understand_day)]
    starts: Option<Timestamp>,
    /// The day on which it ends, like 2027-03-31; a certificate says it itself.
    #[arg(long, value_name = "DAY", value_parser = crate::organization::understand_day)]
    expires: Option<Timestamp>,
    /// Use it before all others instead of after them.
    #[arg(long)]
    first: bool,
    /// Add it even if Microsoft gives no token for it now.
    #[arg(long)]
    anyway: bool,
}

/// Which credential to remove.
#[derive(Debug, clap::Args)]
pub struct Remove {
    /// The integration's name.
    integration: String,
    /// The credential's name.
    name: String,
    /// Remove it even if it is the only one, and the integration stops.
    #[arg(long)]
    last: bool,
}

/// Carries out the command on the store; a running server heeds it within a second.
///
/// # Errors
/// When something that is named is not there, Microsoft refuses the credential, or the store can't be
/// used.
pub async fn run(config: Config, command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::List { is_tried, json } => {
            let engine = super::open_engine(&config).await?;
            list(&engine, is_tried, json).await?;
        }
        Command::AddCredential(options) => {
            // Before the store is opened: a wrong file is told even where the store is out of reach.
            let proof = options.given.read().map_err(anyhow::Error::msg)?;
            let credential = postroom_engine::credentials::dated(Credential {
                name: options.name.clone(),
                proof,
                starts_at: options.starts,
                expires_at: options.expires,
            });
            add(&super::open_engine(&config).await?, &options, &credential).await?;
        }
        Command::RemoveCredential(Remove { integration, name, last }) => {
            let engine = super::open_engine(&config).await?;
            let integration = engine.find_integration(&integration).await?;
            engine.remove_credential(&integration, &name, last).await?;
            println!("{}/{name} is removed", integration.name);
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn add(engine: &Engine, options: &Add, credential: &Credential) -> anyhow::Result<()> {
    let integration = engine.find_integration(&options.integration).await?;
    let label = format!("{}/{}", integration.name, credential.name);
    // Before Microsoft is asked, so that a taken name is told as such.
    if integration.credentials.iter().any(|one| one.name == credential.name) {
        let (integration, name) = (integration.name, credential.name.clone());
        return Err(ChangeError::Taken { integration, name }.into());
    }
    match engine.try_credential(&integration, credential).await? {
        Ok(()) => println!("{label}: Microsoft gives a token"),
        Err(error) if options.anyway => println!("{label}: {}", in_full(&error)),
        Err(error) => {
            bail!(
                "{label} was not added: {}; put it right, or add it with --anyway if it is good only later",
                in_full(&error)
            )
        }
    }
    let preference = if options.first { Preference::First } else { Preference::Last };
    engine.add_credential(&integration, credential, preference).await?;
    let place = if options.first { "before" } else { "after" };
    println!("{label} is added; it is used {place} the others{}", days(credential.expires_at));
    Ok(())
}

async fn list(engine: &Engine, is_tried: bool, as_json: bool) -> anyhow::Result<()> {
    for integration in integrations::list(engine.store()).await? {
        if !as_json {
            println!("{}", integration.name);
        }
        for stored in &integration.credentials {
            let tried = if is_tried { Some(try_one(engine, &integration, stored).await?) } else { None };
            if as_json {
                println!("{}", described(&integration, stored, tried.as_ref()));
            } else {
                println!("{}", line(stored, tried.as_ref()));
            }
        }
    }
    Ok(())
}

/// What Microsoft says of a stored credential.
pub(super) async fn try_one(
    engine: &Engine,
    integration: &Integration,
    stored: &Stored,
) -> Result<Result<(), String>, ChangeError> {
    let tried = engine.try_credential(integration, &stored.clone().declared()).await?;
    Ok(tried.map_err(|error| in_full(&error)))
}

fn line(stored: &Stored, tried: Option<&Result<(), String>>) -> String {
    let from = stored.starts_at.map_or_else(String::new, |at| format!(", from {}", at.strftime("%Y-%m-%d")));
    let mut line = format!(
        "  {} ({}, kept by the {}{from}{})",
        stored.name,
        stored.proof.kind.as_str().replace('_', " "),
        stored.origin,
        days(stored.expires_at)
    );
    match tried {
        Some(Ok(())) => line.push_str(": Microsoft gives a token"),
        Some(Err(error)) => {
            let _infallible = write!(line, ": {error}");
        }
        None => {}
    }
    line
}

fn described(integration: &Integration, stored: &Stored, tried: Option<&Result<(), String>>) -> Value {
    let mut value = json!({
        "integration": integration.name,
        "name": stored.name,
        "kind": stored.proof.kind.as_str(),
        "kept_by": stored.origin.as_str(),
        "starts_at": stored.starts_at,
        "expires_at": stored.expires_at,
    });
    if let Some(tried) = tried {
        value["accepted"] = tried.is_ok().into();
        value["refusal"] = tried.as_ref().err().cloned().into();
    }
    value
}

/// When something ends, and in how many days; nothing if that is not known.
fn days(expires_at: Option<Timestamp>) -> String {
    let Some(at) = expires_at else { return String::new() };
    let left = at.duration_since(effects::system_clock().now());
    let day = at.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d").to_string();
    match left.as_hours() / 24 {
        _ if left.is_negative() => format!(", ended on {day}"),
        1 => format!(", until {day}, one day left"),
        left => format!(", until {day}, {left} days left"),
    }
}
