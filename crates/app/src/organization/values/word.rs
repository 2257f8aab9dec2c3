//! Values that are one of a few words.

use std::borrow::Cow;

use postroom_graph::Cloud;
use postroom_model::{
    mailbox::{AfterTaking, Opened},
    organization::{DomainKind, IntegrationKind},
    user::Role,
};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::{
    super::{problem::closest, read::Scalar},
    schema,
};

/// A type that is one of a few words.
pub(in super::super) trait Words: Copy {
    /// What it is, with an article, for errors.
    const WHAT: &'static str;

    /// Every word and what it means.
    fn all() -> Vec<(&'static str, Self)>;
}

/// One of a few words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Word<T>(pub(in super::super) T);

impl<T: Words> Scalar for Word<T> {
    const WHAT: &'static str = T::WHAT;

    fn understand(text: &str) -> Result<Self, String> {
        let all = T::all();
        if let Some((_, value)) = all.iter().find(|(word, _)| *word == text) {
            return Ok(Self(*value));
        }
        let words: Vec<&str> = all.iter().map(|(word, _)| *word).collect();
        let remedy = match closest(text, words.iter().copied()) {
            Some(close) => format!("did you mean \"{close}\"?"),
            None => format!("write {}", words.join(" or ")),
        };
        Err(format!("\"{text}\" is not {}; {remedy}", T::WHAT))
    }
}

impl<T: Words> JsonSchema for Word<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        T::WHAT.into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let words: Vec<&str> = T::all().iter().map(|(word, _)| *word).collect();
        json_schema!({ "type": "string", "enum": words })
    }
}

macro_rules! words {
    ($($type:ty: $what:literal;)*) => {
        $(
            impl Words for $type {
                const WHAT: &'static str = $what;

                fn all() -> Vec<(&'static str, Self)> {
                    Self::ALL.iter().map(|value| (value.as_str(), *value)).collect()
                }
            }
        )*
    };
}

words! {
    DomainKind: "a kind of domain";
    IntegrationKind: "a kind of integration";
    Opened: "what can become of opened mails";
    Role: "a role";
}

/// One of Microsoft's clouds.
pub(in super::super) type CloudWord = Word<Cloud>;

impl Words for Cloud {
    const WHAT: &'static str = "a cloud";

    fn all() -> Vec<(&'static str, Self)> {
        [Self::Global, Self::UsGov, Self::Dod, Self::China].map(|cloud| (cloud.as_str(), cloud)).to_vec()
    }
}

/// What is done to a mail after taking: a word, or a word and a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Afterwards(pub(in super::super) AfterTaking);

impl Scalar for Afterwards {
    const WHAT: &'static str = "what is done after taking";

    fn understand(text: &str) -> Result<Self, String> {
        text.trim()
            .parse()
            .map(Self)
            .map_err(|error: postroom_model::mailbox::UnknownAfterTaking| error.to_string())
    }
}
schema!(Afterwards, { "type": "string", "pattern": "^(mark-read|nothing|category:.+|move:.+)$" });
