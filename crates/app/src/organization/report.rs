//! What applying an organisation file did, for people and for programs.

use std::fmt;

use postroom_model::organization::{Named, Plan, Step};
use serde::Serialize;

/// What was done, or would be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether nothing was written because only the plan was asked for.
    pub dry_run: bool,
    /// What was done, in order.
    pub steps: Vec<Step>,
    /// How many things stayed as they are.
    pub unchanged: usize,
    /// Things that stayed although the file does not name them.
    pub not_in_file: Vec<Named>,
    /// What Microsoft said of the credentials of what was created or changed; empty if it was not asked.
    pub tried: Vec<Tried>,
}

/// What Microsoft said of a credential.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tried {
    /// The integration's name.
    pub integration: String,
    /// The credential's name.
    pub credential: String,
    /// Why it gave no token; none if it gave one.
    pub refusal: Option<String>,
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = self.refusal.as_deref().unwrap_or("Microsoft gives a token");
        write!(f, "try credential \"{}\" of integration \"{}\": {said}", self.credential, self.integration)
    }
}

impl Report {
    pub(super) fn new(plan: Plan, dry_run: bool) -> Self {
        Self {
            dry_run,
            steps: plan.steps,
            unchanged: plan.unchanged,
            not_in_file: plan.unnamed,
            tried: Vec::new(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            writeln!(f, "{step}")?;
        }
        for thing in &self.not_in_file {
            writeln!(f, "keep {thing} (not in the file; --prune deletes it)")?;
        }
        writeln!(f, "unchanged: {}", self.unchanged)?;
        for tried in &self.tried {
            writeln!(f, "{tried}")?;
        }
        if self.dry_run {
            writeln!(f, "dry run: nothing was written")?;
        }
        Ok(())
    }
}
