//! `postroom trace ID`: the whole story of a message or conversation.

use std::process::ExitCode;

use postroom_engine::explain::Story;
use postroom_model::acd::WhyWaiting;
use serde_json::json;

use crate::config::Config;

/// What to tell.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// A Message-ID, or the id of a message or conversation.
    id: String,
    /// Print `[{at, step, reason, data}]`.
    #[arg(long)]
    json: bool,
}

/// Prints the story.
///
/// # Errors
/// When the store can't be read.
pub async fn run(config: Config, options: Options) -> anyhow::Result<ExitCode> {
    let engine = super::open_engine(&config).await?;
    let Some(story) = engine.explain(&options.id).await? else {
        eprintln!("postroom: no message or conversation is known by \"{}\"", options.id);
        return Ok(ExitCode::FAILURE);
    };
    if options.json {
        print_json(&story)?
    } else {
        print_text(&story)
    }
    Ok(ExitCode::SUCCESS)
}

fn print_json(story: &Story) -> anyhow::Result<()> {
    let mut entries: Vec<serde_json::Value> =
        story.entries.iter().map(serde_json::to_value).collect::<Result<_, _>>()?;
    if let Some(waiting) = &story.waiting {
        // The present is no step of the past: it stands last, without a time.
        entries.push(json!({ "at": null, "step": "waiting", "reason": why(waiting), "data": waiting }));
    }
    println!("{}", serde_json::to_string_pretty(&entries)?);
    Ok(())
}

fn print_text(story: &Story) {
    for message in &story.messages {
        println!("message {}  {} ({})", message.id, message.state, message.reason);
    }
    if let Some(conversation) = &story.conversation {
        println!("conversation {}  {}", conversation.id, conversation.state);
    }
    for entry in &story.entries {
        let data = match entry.data.as_object() {
            Some(data) if data.is_empty() => String::new(),
            _ => entry.data.to_string(),
        };
        println!(
            "{:<28} {:<15} {:<24} {data}",
            entry.at.to_string(),
            entry.step.as_str(),
            entry.reason.as_str()
        );
    }
    if let Some(waiting) = &story.waiting {
        let skill = story.missing_skill.as_deref().unwrap_or_default();
        println!("It waits: {}", sentence(waiting, skill));
    }
}

fn why(waiting: &WhyWaiting) -> String {
    serde_json::to_value(waiting)
        .ok()
        .and_then(|value| value["why"].as_str().map(str::to_owned))
        .unwrap_or_default()
}

fn sentence(waiting: &WhyWaiting, skill: &str) -> String {
    match waiting {
        WhyWaiting::QueueHasNoMembers => "its queue has no members".into(),
        WhyWaiting::NobodyOnQueue => "nobody is on queue".into(),
        WhyWaiting::NobodyWithSkill { .. } => format!("nobody on queue has the skill \"{skill}\""),
        WhyWaiting::NobodyWithLanguage { language } => format!("nobody on queue speaks \"{language}\""),
        WhyWaiting::NobodyWithAll => "nobody on queue has everything it asks for".into(),
        WhyWaiting::AllAtCapacity => "all who could take it have as many as they may".into(),
        WhyWaiting::NextInLine => "it is offered next".into(),
    }
}
