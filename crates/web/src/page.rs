//! What every page shows around its content: title, navigation, language, name.

use std::fmt::Display;
use std::sync::Arc;

use axum::response::Html;
use postroom_model::{Timestamp, alerts::Alert, user::Role};
use postroom_store::users::User;

use crate::{
    assets,
    failure::Failure,
    site::Site,
    texts::{Locale, Texts},
    visitor::{Person, Visitor},
    wording,
};

/// The frame of a page. Templates call its methods for texts and addresses.
#[derive(Clone)]
pub(crate) struct Page {
    texts: Texts,
    user: Option<Arc<User>>,
    path: Arc<str>,
    /// What the title says before the product's name; empty for none.
    pub(crate) title: String,
    /// The present moment, for durations.
    pub(crate) now: Timestamp,
    /// Where the page hears of changes, if it does.
    pub(crate) live: Option<String>,
    /// What needs an administrator, if one looks.
    alerts: Vec<Alert>,
}

/// A link of the navigation.
pub(crate) struct Link {
    pub(crate) path: &'static str,
    pub(crate) text: String,
    pub(crate) here: bool,
}

/// Screens in the order of the navigation: address, text, role.
const SCREENS: [(&str, &str, Role); 6] = [
    ("/desk", "nav-desk", Role::Agent),
    ("/queues", "nav-queues", Role::Supervisor),
    ("/mailboxes", "nav-mailboxes", Role::Admin),
    ("/integrations", "nav-integrations", Role::Admin),
    ("/ledger", "nav-ledger", Role::Admin),
    ("/trace", "nav-trace", Role::Admin),
];

impl Page {
    /// A page titled by the text `title` (a key; empty for none).
    pub(crate) fn new(site: &Site, visitor: &Visitor, title: &str) -> Self {
        Self {
            title: if title.is_empty() { String::new() } else { visitor.texts.say(title) },
            texts: visitor.texts.clone(),
            user: visitor.user.clone(),
            path: visitor.path.clone(),
            now: site.engine.clock().now(),
            live: None,
            alerts: match &visitor.user {
                Some(user) if user.roles.contains(&Role::Admin) => site.engine.alerts(),
                _ => Vec::new(),
            },
        }
    }

    /// The page of somebody who is signed in, which hears of changes.
    pub(crate) fn live(site: &Site, person: &Person, title: &str) -> Self {
        Self { live: Some("/live".to_owned()), ..Self::new(site, &person.visitor, title) }
    }

    pub(crate) fn t(&self, key: &str) -> String {
        self.texts.say(key)
    }

    pub(crate) fn with(&self, key: &str, name: &str, value: impl Display) -> String {
        self.texts.with(key, name, value)
    }

    pub(crate) fn count(&self, key: &str, count: impl Display) -> String {
        self.texts.count(key, count)
    }

    /// The text of a word of the model: `{kind}-{word}`.
    pub(crate) fn word(&self, kind: &str, word: impl Display) -> String {
        self.texts.say(&format!("{kind}-{word}"))
    }

    /// What a word of the model means for the reader: `{kind}-{word}-advice`.
    pub(crate) fn advice(&self, kind: &str, word: impl Display) -> String {
        self.texts.say(&format!("{kind}-{word}-advice"))
    }

    /// What needs an administrator, in words; nothing for others.
    pub(crate) fn alerts(&self) -> Vec<String> {
        self.alerts.iter().map(|alert| wording::alert_text(&self.texts, alert)).collect()
    }

    /// What to do about a cause that the doctor found.
    pub(crate) fn remedy(&self, cause: impl Display) -> String {
        self.texts.say(&format!("cause-{cause}-do"))
    }

    /// How many of the doctor's findings are well, not well and untold.
    pub(crate) fn tell_counts(&self, counts: &[usize; 3]) -> String {
        let [yes, no, untold] = counts;
        self.texts.tell("doctor-counts", &[("yes", yes), ("no", no), ("untold", untold)])
    }

    /// How long ago it was.
    pub(crate) fn since(&self, from: &Timestamp) -> String {
        self.texts.since(*from, self.now)
    }

    /// How large something is, in words.
    pub(crate) fn size(&self, bytes: &usize) -> String {
        match *bytes {
            0..1_000 => self.texts.count("size-bytes", bytes),
            1_000..1_000_000 => self.texts.count("size-kilobytes", bytes / 1_000),
            _ => self.texts.count("size-megabytes", bytes / 1_000_000),
        }
    }

    pub(crate) fn asset(&self, name: &str) -> String {
        format!("/assets/{}/{name}", *assets::VERSION)
    }

    pub(crate) fn lang(&self) -> &'static str {
        self.texts.locale().as_str()
    }

    /// The other languages: word and own name.
    pub(crate) fn other_languages(&self) -> Vec<(&'static str, String)> {
        Locale::ALL
            .into_iter()
            .filter(|locale| *locale != self.texts.locale())
            .map(|locale| (locale.as_str(), self.texts.say(&format!("language-{}", locale.as_str()))))
            .collect()
    }

    pub(crate) fn user(&self) -> Option<&User> {
        self.user.as_deref()
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    pub(crate) fn links(&self) -> Vec<Link> {
        let Some(user) = &self.user else { return Vec::new() };
        SCREENS
            .into_iter()
            .filter(|(_, _, role)| user.roles.contains(role))
            .map(|(path, text, _)| Link {
                here: *self.path == *path || self.path.starts_with(&format!("{path}/")),
                text: self.texts.say(text),
                path,
            })
            .collect()
    }
}

/// Renders a page or fragment.
pub(crate) fn render(template: &impl askama::Template) -> Result<Html<String>, Failure> {
    Ok(Html(template.render()?))
}
