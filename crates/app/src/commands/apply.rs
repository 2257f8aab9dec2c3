//! `postroom apply FILE`: writes the organisation file to the store. A running
//! server notices within a second.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;

use crate::{config::Config, effects, organization};

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
    let store = super::open(&config).await?;
    let how = organization::Options { dry_run: options.dry_run, prune: options.prune };
    match organization::apply(&text, how, &store, &effects::system_clock(), &effects::environment).await {
        Ok(report) => {
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
