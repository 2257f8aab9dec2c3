//! `postroom doctor`: examines integrations and mailboxes, line by line, and says what is
//! wrong, what it means and what to do.
//!
//! Exit code 0 if nothing is wrong, 1 if something is or the examination was broken off.

use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::bail;
use postroom_engine::doctor::{Known, Options as Examination};
use postroom_model::doctor::{Finding, Verdict, policy_commands, scoping_commands};
use postroom_store::{
    integrations::{self, Integration},
    mailboxes::{self, Mailbox},
};
use postroom_web::wording::Words;

use crate::{config::Config, effects};

/// Prints a line. Whoever closes the pipe does not end the examination, which has something to remove.
macro_rules! say {
    ($($text:tt)*) => {{
        let _closed_pipe = writeln!(io::stdout(), $($text)*);
    }};
}

/// What to examine.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Only this integration.
    #[arg(long)]
    integration: Option<String>,
    /// Only this mailbox; may be given several times.
    #[arg(long)]
    mailbox: Vec<String>,
    /// A mailbox that the application must not reach: it has to be refused. May be given several times.
    #[arg(long, value_name = "ADDRESS")]
    scope_probe: Vec<String>,
    /// Send a mail from each mailbox to itself, see it arrive, and remove it.
    #[arg(long)]
    send_probe: bool,
    /// en or ja; by default the language of the environment, else English.
    #[arg(long)]
    language: Option<String>,
    /// Print one JSON object a line.
    #[arg(long)]
    json: bool,
}

/// Examines and prints each finding as it comes.
///
/// # Errors
/// When the store can't be read, or there is no such integration or mailbox.
pub async fn run(config: Config, options: Options) -> anyhow::Result<ExitCode> {
    let language = options.language.clone().unwrap_or_else(usual_language);
    let Some(words) = Words::find(&language) else {
        bail!("--language {language} is not known; say en or ja");
    };
    let engine = super::open_engine(&config).await?;
    let chosen = match &options.integration {
        Some(name) => vec![engine.find_integration(name).await?],
        None => integrations::list(engine.store()).await?,
    };
    if chosen.is_empty() {
        bail!("there is no integration yet; write one into the organisation file and apply it");
    }
    let mailboxes = mailboxes::list(&engine.store().db).await?;
    for only in &options.mailbox {
        if !mailboxes.iter().any(|mailbox| mailbox.address.eq_ignore_ascii_case(only)) {
            bail!("{only} is not connected; `postroom mailbox list` shows those that are");
        }
    }
    let examination = Examination {
        only: options.mailbox.clone(),
        scope_probe: options.scope_probe.clone(),
        send_probe: options.send_probe,
    };
    let mut is_well = true;
    for integration in &chosen {
        if !options.json {
            say!("{}", integration.name);
        }
        let mut shown = None;
        let known = engine
            .examine(integration, &mailboxes, &examination, &mut |finding| {
                is_well &= finding.verdict != Verdict::No;
                if options.json {
                    print_json(integration, &finding);
                } else {
                    print_text(&words, &mut shown, &finding);
                }
            })
            .await?;
        if !options.json {
            print_scoping(integration, &known, &mailboxes);
        }
    }
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn usual_language() -> String {
    let of_environment = ["LC_ALL", "LC_MESSAGES", "LANG"].into_iter().find_map(effects::environment);
    match of_environment {
        Some(language) if language.starts_with("ja") => "ja".to_owned(),
        _ => "en".to_owned(),
    }
}

fn print_json(integration: &Integration, finding: &Finding) {
    match serde_json::to_value(finding) {
        Ok(mut line) => {
            line["integration"] = integration.name.as_str().into();
            say!("{line}");
        }
        Err(error) => tracing::error!(error = %error, "A finding can't be written as JSON"),
    }
}

fn print_text(words: &Words, shown: &mut Option<String>, finding: &Finding) {
    if finding.mailbox != *shown {
        if let Some(mailbox) = &finding.mailbox {
            say!("  {mailbox}");
        }
        shown.clone_from(&finding.mailbox);
    }
    let told = words.tell(finding);
    let more: Vec<&str> =
        [&finding.about, &finding.detail].into_iter().flatten().map(String::as_str).collect();
    let more = if more.is_empty() { String::new() } else { format!("  ({})", more.join(", ")) };
    say!("    [{}] {}{more}", told.verdict, told.check);
    for (mark, text) in [("", &told.meaning), ("→ ", &told.remedy), ("« ", &finding.answer)] {
        if let Some(text) = text {
            say!("          {mark}{text}");
        }
    }
}

/// How to limit the application to its mailboxes: Exchange takes such commands only from an administrator.
fn print_scoping(integration: &Integration, known: &Known, mailboxes: &[Mailbox]) {
    let Some(object_id) = &known.object_id else { return };
    let own: Vec<String> = mailboxes
        .iter()
        .filter(|mailbox| mailbox.integration == integration.id)
        .map(|mailbox| mailbox.address.clone())
        .collect();
    say!("\n  # To limit the application to exactly these mailboxes, in Exchange Online PowerShell:");
    for line in scoping_commands(&integration.client_id, object_id, &own) {
        say!("  {line}");
    }
    say!(
        "  # Then remove Mail.ReadWrite and Mail.Send under API permissions: what is granted there holds for every\n  \
         # mailbox. Changes act after 30 minutes to 2 hours. No address of this server needs to be added in Azure;\n  \
         # Microsoft only has to reach the public URL.\n  # The older way, while the consent stays as it is:"
    );
    for line in policy_commands(&integration.client_id, &own) {
        say!("  {line}");
    }
}
