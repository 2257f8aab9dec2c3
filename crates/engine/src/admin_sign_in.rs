//! An administrator signs in at Microsoft, to show that the application has the delegated
//! `User.Read` that the original product asks for.
//!
//! Called by the page. Rules kept: no token of a person is kept, only the day on which the permission was
//! seen; what comes back is taken once, soon, and from the session that was sent away.

use aws_lc_rs::{constant_time, digest};
use jiff::SignedDuration;
use postroom_graph::{Code, TokenError};
use postroom_model::{IntegrationId, Timestamp, organization::Kind};
use postroom_store::{Unit, feed::Topic, integrations, settings};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::json;

use crate::{Engine, credentials::ChangeError, in_full};

/// How long a person may take.
const PATIENCE: SignedDuration = SignedDuration::from_mins(10);
/// The permission that is asked for.
const USER_READ: &str = "User.Read";

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignedIn {
    /// The permission is there.
    Granted,
    /// Somebody signed in, and the permission was not among what they got, or Microsoft refused; with its words.
    Refused(String),
    /// Nobody was sent away from here lately with what came back.
    Stale,
}

/// Who was sent away, and what is needed when they come back.
#[derive(Deserialize)]
struct Sent {
    integration: IntegrationId,
    session: String,
    verifier: String,
    at: Timestamp,
}

impl Engine {
    /// Where the person of this session signs in. Nothing if there is no such integration.
    ///
    /// # Errors
    /// When the store fails, or the integration is set so that no client can be made.
    pub async fn begin_sign_in(
        &self,
        id: IntegrationId,
        session: &SecretString,
    ) -> Result<Option<String>, ChangeError> {
        let all = integrations::list(self.store()).await?;
        let Some(integration) = all.into_iter().find(|one| one.id == id) else { return Ok(None) };
        let (state, verifier) = (self.entropy().token(), self.entropy().token());
        let graph = self.trial_client(integration)?;
        let url = graph.sign_in_url(&self.signed_in_url(), &state, &verifier);
        let (session, at) = (mark(session), self.now());
        let sent = json!({ "integration": id, "session": session, "verifier": verifier, "at": at });
        let note = settings::set(&key_of(&state), &sent.to_string());
        self.store().commit(Unit::new().with(note)).await?;
        Ok(Some(url))
    }

    /// Takes what Microsoft sent a person back with: a code, or its words of refusal.
    ///
    /// # Errors
    /// When the store fails, or the integration is set so that no client can be made.
    pub async fn end_sign_in(
        &self,
        state: &str,
        session: &SecretString,
        came: Result<SecretString, String>,
    ) -> Result<SignedIn, ChangeError> {
        let (db, key) = (&self.store().db, key_of(state));
        let Some(text) = settings::find(db, &key).await? else { return Ok(SignedIn::Stale) };
        // Once, whatever comes of it.
        self.store().commit(Unit::new().with(settings::forget(&key))).await?;
        let Ok(sent) = serde_json::from_str::<Sent>(&text) else { return Ok(SignedIn::Stale) };
        let is_same =
            constant_time::verify_slices_are_equal(mark(session).as_bytes(), sent.session.as_bytes());
        if is_same.is_err() || self.now() > sent.at + PATIENCE {
            return Ok(SignedIn::Stale);
        }
        let code = match came {
            Ok(code) => code,
            Err(words) => return Ok(SignedIn::Refused(words)),
        };
        let all = integrations::list(self.store()).await?;
        let Some(integration) = all.into_iter().find(|one| one.id == sent.integration) else {
            return Ok(SignedIn::Stale);
        };
        let (redirect, verifier) = (self.signed_in_url(), SecretString::from(sent.verifier));
        let code = Code { code: &code, redirect: &redirect, verifier: &verifier };
        match self.trial_client(integration)?.redeem(&code).await {
            Ok(facts)
                if facts.scp.as_deref().is_some_and(|scp| scp.split(' ').any(|one| one == USER_READ)) =>
            {
                let now = self.now();
                let mut unit = Unit::new().with(integrations::record_user_read(sent.integration, now));
                unit.changed(now, Topic::Organization, Kind::Integration);
                self.store().commit(unit).await?;
                Ok(SignedIn::Granted)
            }
            Ok(facts) => Ok(SignedIn::Refused(facts.scp.unwrap_or_default())),
            Err(TokenError::Refused { said, .. }) if !said.is_empty() => Ok(SignedIn::Refused(said)),
            Err(error) => Ok(SignedIn::Refused(in_full(&error))),
        }
    }

    /// The address to which Microsoft sends people back: it has to be registered with the application.
    pub fn signed_in_url(&self) -> String {
        format!("{}/integrations/signed-in", self.subscribed_url())
    }
}

fn key_of(state: &str) -> String {
    format!("sign_in.{}", hex(state))
}

fn mark(session: &SecretString) -> String {
    hex(session.expose_secret())
}

/// A hash that tells nothing of what it was made of.
fn hex(text: &str) -> String {
    let hash = digest::digest(&digest::SHA256, text.as_bytes());
    hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
