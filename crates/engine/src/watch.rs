//! Looks each minute for what an administrator must hear of, tells each thing once, and keeps
//! what stands for the pages.
//!
//! Telling is an effect given from outside (a webhook); the log hears of everything. Rule kept: an alert
//! counts as told only when whoever was told said yes, and is told by one node alone.

use std::sync::{Arc, PoisonError};

use futures_util::future::BoxFuture;
use jiff::SignedDuration;
use postroom_model::{
    Timestamp,
    alerts::{Alert, Facts, MailboxFacts, alerts},
};
use postroom_store::{DbError, Unit, alerts as told};

use crate::Engine;

/// How often it is looked.
const EVERY: SignedDuration = SignedDuration::from_mins(1);

/// What comes and goes is told once: it is over when it did not stand for so long.
const OVER_AFTER: SignedDuration = SignedDuration::from_mins(30);

/// Tells somebody outside of an alert; what went wrong, in words, if it could not be told.
pub type TellAlert = Arc<dyn Fn(Alert) -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// When the certificate of our public address ends, as it stands now.
pub type CertificateEnds = Arc<dyn Fn() -> Option<Timestamp> + Send + Sync>;

impl Engine {
    pub(crate) async fn run_watch(&self) {
        loop {
            if let Err(error) = self.watch_once().await {
                tracing::warn!(error = %error, "What needs an administrator could not be looked for");
            }
            tokio::select! {
                () = self.tasks().stopping().cancelled() => return,
                () = self.sleep_until(self.now() + EVERY) => {}
            }
        }
    }

    /// What needs an administrator, as it was last looked.
    pub fn alerts(&self) -> Vec<Alert> {
        self.0.alerts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn watch_once(&self) -> Result<(), DbError> {
        let figures = self.figures().await?;
        let facts = Facts {
            credentials: figures
                .credentials
                .iter()
                .map(|one| (format!("{} / {}", one.integration, one.credential), one.at))
                .collect(),
            certificate_ends: self.0.parts.certificate_ends.as_ref().and_then(|ends| ends()),
            mailboxes: figures
                .mailboxes
                .into_iter()
                .map(|one| MailboxFacts {
                    address: one.mailbox.address,
                    health: one.mailbox.health,
                    health_at: one.mailbox.health_at,
                    health_detail: one.mailbox.health_detail,
                    activated_at: one.mailbox.activated_at,
                    last_delta_at: one.last_delta_at,
                    subscription_expires_at: one.subscription_expires_at,
                })
                .collect(),
        };
        let standing = alerts(&facts, figures.at);
        self.0.alerts.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&standing);
        let before = told::list_told(&self.store().db).await?;
        let mut unit = Unit::new();
        for alert in &standing {
            match before.get(&alert.key()) {
                None => self.tell_alert(alert).await?,
                Some(_) => unit.push(told::record_standing(&alert.key(), figures.at)),
            }
        }
        for (key, stood_at) in &before {
            let is_over = *stood_at + OVER_AFTER <= figures.at;
            if is_over && !standing.iter().any(|alert| alert.key() == *key) {
                unit.push(told::forget_told(key));
            }
        }
        if !unit.is_empty() {
            self.store().commit(unit).await?;
        }
        Ok(())
    }

    async fn tell_alert(&self, alert: &Alert) -> Result<(), DbError> {
        let key = alert.key();
        let claimed = self.store().commit(Unit::new().with(told::record_told(&key, self.now()))).await;
        match claimed {
            Ok(_) => {}
            // Another node was first.
            Err(DbError::Unique { .. }) => return Ok(()),
            Err(error) => return Err(error),
        }
        // The log names no address: the page and whoever is told do.
        tracing::warn!(alert.kind = %alert.kind, alert.days = alert.days, "An administrator is needed; see the page Mailboxes");
        let Some(tell) = &self.0.parts.tell_alert else { return Ok(()) };
        if let Err(error) = tell(alert.clone()).await {
            tracing::warn!(alert.kind = %alert.kind, error, "The alert could not be told; it is tried again in a minute");
            self.store().commit_guarded(Unit::new().with(told::forget_told(&key))).await?;
        }
        Ok(())
    }
}
