//! `postroom apply FILE`: writes the organisation file to the store, and tries the
//! credentials that are new in it. A running server notices within a second.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;

use postroom_engine::Engine;
use postroom_model::{
    credential::CredentialOrigin,
    organization::{Action, Kind},
};

use crate::{
    config::Config,
    effects,
    organization::{self, Report, Tried},
};

/// What to apply and how.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// The organisation file.
    #[arg(required_unless_present = "schema")]
    file: Option<PathBuf>,
    /// Print what would be done, and do nothing.
    #[arg(long)]
    dry_run: bool,
    /// Also delete what the file does not name.
    #[arg(long)]
    prune: bool,
    /// Print the JSON Schema of the organisation file.
    #[arg(long)]
    schema: bool,
    /// Do not ask Microsoft for a token with the credentials of what was created or changed.
    #[arg(long)]
    no_try: bool,
    /// Print the plan as JSON.
    #[arg(long)]
    json: bool,
}

/// Applies the file.
///
/// # Errors
/// When the file or the store can't be read.
pub async fn run(config: Config, options: Options) -> anyhow::Result<ExitCode> {
    if options.schema {
        println!("{}", serde_json::to_string_pretty(&organization::schema())?);
        return Ok(ExitCode::SUCCESS);
    }
    let file = options.file.context("name the organisation file")?;
    let text = std::fs::read_to_string(&file).with_context(|| format!("{} can't be read", file.display()))?;
    let engine = super::open_engine(&config).await?;
    let how = organization::Options { dry_run: options.dry_run, prune: options.prune };
    match organization::apply(&text, how, engine.store(), &effects::system_clock(), &effects::environment)
        .await
    {
        Ok(mut report) => {
            if !options.dry_run && !options.no_try {
                report.tried = try_credentials(&engine, &report).await?;
            }
            if options.json {
                println!("{}", serde_json::to_string_pretty(&report)?);
            } else {
                print!("{report}");
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(organization::ApplyError::Problems(problems)) => {
            for problem in &problems {
                eprintln!("{}:{problem}", file.display());
            }
            eprintln!("postroom: nothing was changed: {} problem(s) in {}", problems.len(), file.display());
            Ok(ExitCode::FAILURE)
        }
        Err(organization::ApplyError::InUse(refused)) => {
            for refusal in &refused {
                eprintln!("postroom: {refusal}");
            }
            eprintln!("postroom: nothing was changed: {} object(s) are in use", refused.len());
            Ok(ExitCode::FAILURE)
        }
        Err(error) => Err(error.into()),
    }
}

/// Asks Microsoft for a token with each credential that the file keeps, of the integrations that were
/// created or changed.
async fn try_credentials(engine: &Engine, report: &Report) -> anyhow::Result<Vec<Tried>> {
    let mut tried = Vec::new();
    for step in &report.steps {
        if step.thing.kind != Kind::Integration || step.action == Action::Delete {
            continue;
        }
        let integration = engine.find_integration(&step.thing.name).await?;
        for stored in integration.credentials.iter().filter(|one| one.origin == CredentialOrigin::File) {
            let refusal = super::integration::try_one(engine, &integration, stored).await?.err();
            tried.push(Tried {
                integration: integration.name.clone(),
                credential: stored.name.clone(),
                refusal,
            });
        }
    }
    Ok(tried)
}
