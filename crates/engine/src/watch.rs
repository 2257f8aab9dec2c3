//! Looks each minute for what an administrator must hear of, tells each thing once, and keeps
//! what stands for the pages.
//!
//! Telling is an effect given from outside (a webhook) or a mail from one of the mailboxes; the log hears of
//! everything. Rule kept: an alert
//! counts as told only when whoever was told said yes, and is told by one node alone.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};

use futures_util::future::BoxFuture;
use jiff::SignedDuration;
use postroom_graph::{DraftContent, GraphErrorKind, Marker, Recipient};
use postroom_mail::text_to_html;
use postroom_model::{
    EmailAddress, Timestamp,
    alerts::{Alert, Facts, MailboxFacts, alerts},
    mailbox::MailboxHealth,
};
use postroom_store::{
    DbError, Unit, alerts as told,
    jobs::Lane,
    leases,
    mailboxes::{self, Mailbox},
};

use crate::{Engine, in_full};

/// How often it is looked.
const EVERY: SignedDuration = SignedDuration::from_mins(1);

/// What comes and goes is told once: it is over when it did not stand for so long.
const OVER_AFTER: SignedDuration = SignedDuration::from_mins(30);

/// Tells somebody outside of an alert; what went wrong, in words, if it could not be told.
pub type TellAlert = Arc<dyn Fn(Alert) -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// To whom alerts are mailed, through one of the connected mailboxes.
#[derive(Clone)]
pub struct AlertMail {
    /// To whom; no connected mailbox.
    pub to: EmailAddress,
    /// From which mailbox; from any that works if none is named.
    pub from: Option<EmailAddress>,
    /// An alert in words.
    pub text: Arc<dyn Fn(&Alert) -> String + Send + Sync>,
}

/// How somebody hears of an alert; each way has its own memory of what was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// By the log, and by whoever is told from there.
    Log,
    /// By mail.
    Mail,
}

impl Way {
    fn key(self, alert: &Alert) -> String {
        match self {
            Self::Log => alert.key(),
            Self::Mail => format!("mail/{}", alert.key()),
        }
    }
}

/// So much of an alert stands in the subject of its mail.
const SUBJECT_CHARS: usize = 120;

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
        let mut keys = BTreeSet::new();
        for alert in &standing {
            for way in self.ways() {
                let key = way.key(alert);
                match before.get(&key) {
                    None => self.tell_alert(alert, way).await?,
                    Some(_) => unit.push(told::record_standing(&key, figures.at)),
                }
                keys.insert(key);
            }
        }
        for (key, stood_at) in &before {
            if *stood_at + OVER_AFTER <= figures.at && !keys.contains(key) {
                unit.push(told::forget_told(key));
            }
        }
        if !unit.is_empty() {
            self.store().commit(unit).await?;
        }
        Ok(())
    }

    fn ways(&self) -> impl Iterator<Item = Way> + use<> {
        [Way::Log].into_iter().chain(self.0.parts.alert_mail.as_ref().map(|_| Way::Mail))
    }

    async fn tell_alert(&self, alert: &Alert, way: Way) -> Result<(), DbError> {
        let sender = match way {
            Way::Log => None,
            // Another node may have a mailbox from which it can be sent.
            Way::Mail => match self.find_sender(alert).await? {
                Some(sender) => Some(sender),
                None => return Ok(()),
            },
        };
        let key = way.key(alert);
        let claimed = self.store().commit(Unit::new().with(told::record_told(&key, self.now()))).await;
        match claimed {
            Ok(_) => {}
            // Another node was first.
            Err(DbError::Unique { .. }) => return Ok(()),
            Err(error) => return Err(error),
        }
        let told = match sender {
            Some(sender) => self.mail_alert(alert, &sender).await,
            None => self.log_alert(alert).await,
        };
        if let Err(error) = told {
            tracing::warn!(alert.kind = %alert.kind, error, "The alert could not be told; it is tried again in a minute");
            self.store().commit_guarded(Unit::new().with(told::forget_told(&key))).await?;
        }
        Ok(())
    }

    async fn log_alert(&self, alert: &Alert) -> Result<(), String> {
        // The log names no address: the page and whoever is told do.
        tracing::warn!(alert.kind = %alert.kind, alert.days = alert.days, "An administrator is needed; see the page Mailboxes");
        match &self.0.parts.tell_alert {
            Some(tell) => tell(alert.clone()).await,
            None => Ok(()),
        }
    }

    /// A mailbox of this node's that works, and not the one concerned if there is another.
    async fn find_sender(&self, alert: &Alert) -> Result<Option<Mailbox>, DbError> {
        let Some(mail) = &self.0.parts.alert_mail else { return Ok(None) };
        let db = &self.store().db;
        let all = mailboxes::list(db).await?;
        if all.iter().any(|mailbox| mailbox.address == mail.to.as_str()) {
            tracing::error!(
                "[alerts] mail_to is a connected mailbox, whose mail becomes conversations; name another address"
            );
            return Ok(None);
        }
        let held = leases::list_of(db, self.node(), self.now()).await?;
        let may_send = |mailbox: &&Mailbox| {
            mailbox.paused_at.is_none()
                && matches!(mailbox.health, MailboxHealth::Healthy | MailboxHealth::Polling)
                && held.contains(&Lane::Mailbox(mailbox.id).to_string())
                && mail.from.as_ref().is_none_or(|from| mailbox.address == from.as_str())
        };
        let concerned = all.iter().find(|mailbox| mailbox.address == alert.about).map(|one| one.integration);
        let best = all.iter().filter(may_send).min_by_key(|mailbox| Some(mailbox.integration) == concerned);
        Ok(best.cloned())
    }

    async fn mail_alert(&self, alert: &Alert, sender: &Mailbox) -> Result<(), String> {
        let Some(mail) = &self.0.parts.alert_mail else { return Ok(()) };
        let text = (mail.text)(alert);
        let lane = self.mailbox(sender).await.map_err(|error| in_full(&error))?;
        let content = DraftContent {
            subject: format!("Postroom: {}", text.chars().take(SUBJECT_CHARS).collect::<String>()),
            html: text_to_html(&text),
            from: None,
            to: vec![Recipient { name: None, address: mail.to.to_string() }],
            cc: Vec::new(),
        };
        let marker = Marker::new(self.entropy().token());
        let made = lane.create_draft(&content, &marker).await.map_err(|error| in_full(&error))?;
        match lane.send_draft(&made.id).await {
            Ok(()) => Ok(()),
            // It may have left: once is enough.
            Err(error) if error.kind() == GraphErrorKind::Unknown => Ok(()),
            Err(error) => {
                let _left_in_drafts = lane.delete(&made.id).await;
                Err(in_full(&error))
            }
        }
    }
}
