//! Every text that a person reads, in English and Japanese, from one catalogue.
//!
//! `locales/{en,ja}.ftl` are embedded; a test proves that both say the same things.
//! A key that is missing shows itself, in the page and in the tests.

use std::fmt::Display;
use std::sync::Arc;

use fluent_bundle::{FluentArgs, FluentResource, FluentValue, concurrent::FluentBundle};
use postroom_model::Timestamp;
use unic_langid::langid;

pub(crate) const ENGLISH: &str = include_str!("../locales/en.ftl");
pub(crate) const JAPANESE: &str = include_str!("../locales/ja.ftl");

/// A language of the screens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Locale {
    /// English.
    En,
    /// Japanese.
    Ja,
}

impl Locale {
    /// All, in the order of the language choice.
    pub(crate) const ALL: [Locale; 2] = [Locale::En, Locale::Ja];

    /// The word for it in HTML, cookies and the store.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Locale::En => "en",
            Locale::Ja => "ja",
        }
    }

    /// The language behind the word.
    pub(crate) fn find(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|locale| locale.as_str().eq_ignore_ascii_case(word))
    }
}

/// The texts of all languages.
pub(crate) struct Catalogue {
    english: Texts,
    japanese: Texts,
}

impl Catalogue {
    pub(crate) fn load() -> Self {
        Self { english: Texts::load(Locale::En, ENGLISH), japanese: Texts::load(Locale::Ja, JAPANESE) }
    }

    pub(crate) fn of(&self, locale: Locale) -> Texts {
        match locale {
            Locale::En => self.english.clone(),
            Locale::Ja => self.japanese.clone(),
        }
    }
}

/// The texts of one language. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Texts {
    locale: Locale,
    bundle: Arc<FluentBundle<FluentResource>>,
}

impl Texts {
    fn load(locale: Locale, source: &str) -> Self {
        let language = match locale {
            Locale::En => langid!("en"),
            Locale::Ja => langid!("ja"),
        };
        let mut bundle = FluentBundle::new_concurrent(vec![language]);
        // The marks that isolate directions would show in attributes and titles.
        bundle.set_use_isolating(false);
        let resource =
            FluentResource::try_new(source.to_owned()).expect("a test reads the embedded catalogue");
        bundle.add_resource(resource).expect("a test proves that no key stands twice");
        Self { locale, bundle: Arc::new(bundle) }
    }

    pub(crate) fn locale(&self) -> Locale {
        self.locale
    }

    /// A text without variables.
    pub(crate) fn say(&self, key: &str) -> String {
        self.format(key, None)
    }

    /// A text with one variable that is itself a text.
    pub(crate) fn with(&self, key: &str, name: &str, value: impl Display) -> String {
        self.tell(key, &[(name, &value)])
    }

    /// A text with the variable `$count`.
    pub(crate) fn count(&self, key: &str, count: impl Display) -> String {
        let mut args = FluentArgs::new();
        let count = count.to_string();
        args.set("count", FluentValue::try_number(&count));
        self.format(key, Some(&args))
    }

    /// A text with several variables.
    pub(crate) fn tell(&self, key: &str, variables: &[(&str, &dyn Display)]) -> String {
        let mut args = FluentArgs::new();
        for (name, value) in variables {
            args.set((*name).to_owned(), FluentValue::String(value.to_string().into()));
        }
        self.format(key, Some(&args))
    }

    /// How long ago something was, in the largest unit that fits; `page.js` keeps it up to date.
    pub(crate) fn since(&self, from: Timestamp, now: Timestamp) -> String {
        let seconds = now.duration_since(from).as_secs().max(0);
        match seconds {
            0..60 => self.count("duration-seconds", seconds),
            60..3600 => self.count("duration-minutes", seconds / 60),
            3600..86_400 => self.count("duration-hours", seconds / 3600),
            _ => self.count("duration-days", seconds / 86_400),
        }
    }

    fn format(&self, key: &str, args: Option<&FluentArgs<'_>>) -> String {
        let Some(pattern) = self.bundle.get_message(key).and_then(|message| message.value()) else {
            tracing::error!(text.key = key, "A text is missing in the catalogue");
            return key.to_owned();
        };
        // A variable that was not given shows its name in braces; the tests look for braces.
        let mut errors = Vec::new();
        self.bundle.format_pattern(pattern, args, &mut errors).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use postroom_model::{
        conversation::ConversationState,
        ledger::{MessageState, Reason, Step},
        mailbox::MailboxHealth,
        outbox::SendState,
        user::RoutingStatus,
    };

    use super::*;

    /// Each key with the variables it uses.
    fn keys(source: &str) -> BTreeMap<String, BTreeSet<String>> {
        let mut keys: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut key = String::new();
        for line in source.lines() {
            if let Some((name, _)) =
                line.split_once(" =").filter(|_| line.starts_with(|c: char| c.is_ascii_lowercase()))
            {
                key = name.to_owned();
                assert!(keys.insert(key.clone(), BTreeSet::new()).is_none(), "{key} stands twice");
            }
            let used = line.split('$').skip(1).map(|rest| {
                rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect::<String>()
            });
            keys.entry(key.clone()).or_default().extend(used);
        }
        keys.remove("");
        keys
    }

    #[test]
    fn both_languages_say_the_same_things() {
        let (english, japanese) = (keys(ENGLISH), keys(JAPANESE));
        assert!(english.len() > 100);
        assert_eq!(english, japanese);
    }

    #[test]
    fn every_word_of_the_model_has_a_text() {
        let english = keys(ENGLISH);
        let words = |kind: &str, words: Vec<&'static str>| {
            for word in words {
                assert!(english.contains_key(&format!("{kind}-{word}")), "{kind}-{word} is missing");
            }
        };
        words("conversation", ConversationState::ALL.iter().map(|word| word.as_str()).collect());
        words("message", MessageState::ALL.iter().map(|word| word.as_str()).collect());
        words("reason", Reason::ALL.iter().map(|word| word.as_str()).collect());
        words("step", Step::ALL.iter().map(|word| word.as_str()).collect());
        words("health", MailboxHealth::ALL.iter().map(|word| word.as_str()).collect());
        words("send", SendState::ALL.iter().map(|word| word.as_str()).collect());
        words("status", RoutingStatus::ALL.iter().map(|word| word.as_str()).collect());
    }

    #[test]
    fn every_text_that_a_template_asks_for_is_there() {
        let english = keys(ENGLISH);
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/templates");
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let template = std::fs::read_to_string(&path).unwrap();
            for call in ["page.t(\"", "page.count(\"", "page.with(\""] {
                for rest in template.split(call).skip(1) {
                    let key = rest.split('"').next().unwrap();
                    assert!(english.contains_key(key), "{}: {key} is missing", path.display());
                }
            }
        }
    }
}
