//! The organisation file: read, checked as a whole, and written to the store.
//!
//! `apply` and the demo come in here. Keeps the rules that everything that is
//! wrong is told at once with its place, that nothing is written while anything
//! is wrong, and that a secret is never printed.

mod check;
mod convert;
mod document;
mod node;
mod problem;
mod read;
mod report;
mod secrets;
mod values;

use std::future::Future;

use postroom_model::{
    Clock, Timestamp,
    organization::{Organization, Refusal, Uses, list_unnamed, plan},
};
use postroom_store::{
    DbError, Store,
    credentials::{self, CredentialError},
    organization::{self as stored, WriteError},
};

use secrecy::SecretString;

use self::{
    document::Document,
    problem::Problems,
    read::{Read as _, Scalar as _},
    values::SecretReference,
};

pub use self::{
    problem::Problem,
    report::{Report, Tried},
};
pub(crate) use secrets::certificate;

/// The variables of the environment, as a reference to a secret reads them.
pub type Environment<'e> = dyn Fn(&str) -> Option<String> + 'e;

/// How an organisation file is applied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// Only say what would be done.
    pub dry_run: bool,
    /// Also delete what the file does not name.
    pub prune: bool,
}

/// Why an organisation file was not applied. Nothing was changed then.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The file is wrong.
    #[error("the organisation file can't be applied:\n{}", lines(.0))]
    Problems(Vec<Problem>),
    /// Things that should be deleted are in use.
    #[error("nothing was changed, because something to delete is in use:\n{}", lines(.0))]
    InUse(Vec<Refusal>),
    /// A credential of the file has the name of one that a command added.
    #[error(
        "nothing was changed: credential \"{credential}\" of integration \"{integration}\" was added by a command; \
         name the one in the file otherwise, or remove the other with \
         `postroom integration remove-credential {integration} {credential}`"
    )]
    Clash {
        /// The integration's name.
        integration: String,
        /// The credential's name.
        credential: String,
    },
    /// The organisation that is there can't be read.
    #[error(transparent)]
    Read(#[from] CredentialError),
    /// The new organisation can't be written down.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The store failed.
    #[error("the organisation could not be written; apply the file again")]
    Store(#[from] DbError),
}

fn lines<T: ToString>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join("\n")
}

/// Somebody else may change the organisation between reading and writing it: so often is it tried anew.
const ATTEMPTS: u32 = 5;

/// The JSON Schema of the organisation file.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(Document).to_value()
}

/// Reads and checks an organisation file, with the secrets to which it refers.
///
/// # Errors
/// Everything that is wrong, in the order of the file.
pub fn parse(text: &str, environment: &Environment<'_>) -> Result<Organization, Vec<Problem>> {
    let mut problems = Problems::default();
    let Some(root) = node::parse(text, &mut problems) else { return Err(problems.into_sorted()) };
    let Some(document) = Document::read(&root, &mut problems) else { return Err(problems.into_sorted()) };
    check::check(&document, &mut problems);
    let proofs = secrets::find(&document, environment, &mut problems);
    match convert::convert(&document, &proofs) {
        Some(organization) if problems.is_empty() => Ok(organization),
        _ => Err(problems.into_sorted()),
    }
}

/// A name, by the rule of the organisation file.
pub(crate) fn understand_name(text: &str) -> Result<String, String> {
    values::Name::understand(text).map(|name| name.0)
}

/// A day, by the rule of the organisation file.
pub(crate) fn understand_day(text: &str) -> Result<Timestamp, String> {
    values::Day::understand(text).map(|day| day.0)
}

/// Reads the secret in a file.
pub(crate) fn read_secret_file(path: &str) -> Result<SecretString, String> {
    secrets::read(&SecretReference::File(path.to_owned()), &|_| None)
}

/// Reads the secret in a variable of the environment.
pub(crate) fn read_secret_variable(
    name: &str,
    environment: &Environment<'_>,
) -> Result<SecretString, String> {
    secrets::read(&SecretReference::Environment(name.to_owned()), environment)
}

/// Applies an organisation file to the store, in one commit, and tells what was done.
///
/// The file and its secrets are read at once, when this is called; the store
/// when the future is awaited.
///
/// # Errors
/// When the file is wrong, something to delete is in use, or the store fails.
pub fn apply<'a>(
    text: &str,
    how: Options,
    store: &'a Store,
    clock: &'a Clock,
    environment: &Environment<'_>,
) -> impl Future<Output = Result<Report, ApplyError>> + Send + use<'a> {
    let desired = parse(text, environment);
    async move {
        let desired = desired.map_err(ApplyError::Problems)?;
        let mut attempt = 1;
        loop {
            match apply_once(&desired, how, store, clock).await {
                Err(ApplyError::Store(DbError::Lost | DbError::Unique { .. })) if attempt < ATTEMPTS => {
                    attempt += 1
                }
                result => return result,
            }
        }
    }
}

async fn apply_once(
    desired: &Organization,
    how: Options,
    store: &Store,
    clock: &Clock,
) -> Result<Report, ApplyError> {
    let present = stored::find(store).await?;
    let uses = if how.prune {
        let unnamed = list_unnamed(desired, &present.organization);
        stored::list_uses(&store.db, &present, &unnamed).await?
    } else {
        Uses::new()
    };
    let plan = plan(desired, &present.organization, &uses, how.prune);
    if !plan.refused.is_empty() {
        return Err(ApplyError::InUse(plan.refused));
    }
    for (integration, credential) in credentials::list_of_commands(&store.db).await? {
        let mut of_file = desired.integrations.iter().filter(|one| one.name == integration);
        if of_file.any(|one| one.credentials.iter().any(|own| own.name == credential)) {
            return Err(ApplyError::Clash { integration, credential });
        }
    }
    if !how.dry_run {
        store.commit(stored::write(store, &present, &plan, clock.now())?).await?;
    }
    Ok(Report::new(plan, how.dry_run))
}

#[cfg(test)]
mod tests;
