//! How alerts leave the system: posted as JSON to the address that the operator names, and mailed.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use postroom_engine::watch::{AlertMail, TellAlert};
use postroom_model::EmailAddress;
use postroom_web::wording::Words;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;

use crate::config::Alerts;

/// How long whoever is told may take.
const PATIENCE: Duration = Duration::from_secs(10);

fn words(config: &Alerts) -> anyhow::Result<Words> {
    Words::find(&config.language)
        .with_context(|| format!("[alerts] language \"{}\" is not known; write en or ja", config.language))
}

/// To whom alerts are mailed; nothing if the configuration names nobody.
///
/// # Errors
/// When an address or the language can't be used.
pub fn mail(config: &Alerts) -> anyhow::Result<Option<AlertMail>> {
    let address = |key: &str, text: &str| {
        text.parse::<EmailAddress>().with_context(|| format!("[alerts] {key} can't be used"))
    };
    let Some(to) = &config.mail_to else {
        ensure!(
            config.mail_from.is_none(),
            "[alerts] mail_from is of no use without mail_to; name both or none"
        );
        return Ok(None);
    };
    let words = words(config)?;
    Ok(Some(AlertMail {
        to: address("mail_to", to)?,
        from: config.mail_from.as_deref().map(|from| address("mail_from", from)).transpose()?,
        text: Arc::new(move |alert| words.tell_alert(alert)),
    }))
}

/// Posts alerts to the webhook of the configuration; nothing if it names none.
///
/// # Errors
/// When address or language can't be used.
pub fn webhook(config: &Alerts) -> anyhow::Result<Option<TellAlert>> {
    let words = words(config)?;
    let Some(webhook) = &config.webhook else { return Ok(None) };
    let url: url::Url = webhook.expose_secret().parse().context("[alerts] webhook is not an address")?;
    let client = reqwest::Client::builder().timeout(PATIENCE).build().context("[alerts] can't be posted")?;
    let (url, words) = (SecretString::from(url.as_str()), Arc::new(words));
    Ok(Some(Arc::new(move |alert| {
        let text = words.tell_alert(&alert);
        let body = json!({ "product": "postroom", "text": text, "alert": alert });
        let asked = client.post(url.expose_secret()).json(&body).send();
        Box::pin(async move {
            // The address is a secret, so no error keeps it.
            let answer = asked.await.map_err(|error| error.without_url().to_string())?;
            match answer.status() {
                status if status.is_success() => Ok(()),
                status => Err(format!("the webhook answered {}", status.as_u16())),
            }
        })
    })))
}
