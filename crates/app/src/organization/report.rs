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
}

impl Report {
    pub(super) fn new(plan: Plan, dry_run: bool) -> Self {
        Self { dry_run, steps: plan.steps, unchanged: plan.unchanged, not_in_file: plan.unnamed }
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
        if self.dry_run {
            writeln!(f, "dry run: nothing was written")?;
        }
        Ok(())
    }
}
