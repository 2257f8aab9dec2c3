//! The single values of the organisation file: what each may be, in one place for
//! reading and for the schema.

mod address;
mod time;
mod word;

use std::borrow::Cow;

use postroom_model::EmailAddress;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::read::Scalar;

pub(super) use address::{GraphUrl, TokenEndpoint};
pub(super) use time::{AlertingTimeout, Day, Start};
pub(super) use word::{Afterwards, CloudWord, Word};

/// Gives a value its schema, written out where it is used.
macro_rules! schema {
    ($name:ty, $($json:tt)+) => {
        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($($json)+)
            }
        }
    };
}
use schema;

/// A name that people read: one line, something in it, at most 100 characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name(pub(super) String);

impl Scalar for Name {
    const WHAT: &'static str = "a name";

    fn understand(text: &str) -> Result<Self, String> {
        let name = text.trim();
        if name.is_empty() {
            return Err("a name can't be empty; write one".to_owned());
        }
        if name.chars().count() > 100 {
            return Err("a name has at most 100 characters; shorten it".to_owned());
        }
        if name.chars().any(char::is_control) {
            return Err("a name is one line without control characters; take them out".to_owned());
        }
        Ok(Self(name.to_owned()))
    }
}
schema!(Name, { "type": "string", "minLength": 1, "maxLength": 100 });

/// An e-mail address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address(pub(super) EmailAddress);

impl Scalar for Address {
    const WHAT: &'static str = "an e-mail address";

    fn understand(text: &str) -> Result<Self, String> {
        let bad = || format!("\"{text}\" is not an e-mail address; write it like name@example.com");
        let address: EmailAddress = text.parse().map_err(|_| bad())?;
        let odd = address.as_str().contains(['<', '>', '"', ',', ';', '(', ')']);
        if odd || DomainName::understand(address.domain()).is_err() { Err(bad()) } else { Ok(Self(address)) }
    }
}
schema!(Address, { "type": "string", "format": "email" });

/// A mail domain in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DomainName(pub(super) String);

impl Scalar for DomainName {
    const WHAT: &'static str = "a domain";

    fn understand(text: &str) -> Result<Self, String> {
        let name = text.trim().to_lowercase();
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        if name.len() <= 253 && name.contains('.') && name.split('.').all(label) {
            Ok(Self(name))
        } else {
            Err(format!("\"{text}\" is not a domain; write it like example.com, other scripts as xn--…"))
        }
    }
}
schema!(DomainName, { "type": "string", "format": "hostname" });

/// A language tag (BCP 47) in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Language(pub(super) String);

impl Scalar for Language {
    const WHAT: &'static str = "a language tag";

    fn understand(text: &str) -> Result<Self, String> {
        let tag = text.trim().to_lowercase();
        let mut parts = tag.split('-');
        let first = parts.next().unwrap_or_default();
        let good = (2..=3).contains(&first.len())
            && first.chars().all(|c| c.is_ascii_alphabetic())
            && parts
                .all(|part| (1..=8).contains(&part.len()) && part.chars().all(|c| c.is_ascii_alphanumeric()));
        if good {
            Ok(Self(tag))
        } else {
            Err(format!("\"{text}\" is not a language tag; write it like en, ja or pt-br"))
        }
    }
}
schema!(Language, { "type": "string", "pattern": "^[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*$" });

/// Values that are a whole number within bounds.
macro_rules! numbers {
    ($($(#[$meta:meta])* $name:ident($type:ty): $what:literal, $least:literal to $most:literal;)*) => {
        $(
            $(#[$meta])*
            #[derive(Debug, Clone, Copy, PartialEq, Eq)]
            pub(super) struct $name(pub(super) $type);

            impl Scalar for $name {
                const WHAT: &'static str = $what;
                const NUMBER: bool = true;

                fn understand(text: &str) -> Result<Self, String> {
                    match text.trim().parse::<$type>() {
                        Ok(number) if ($least..=$most).contains(&number) => Ok(Self(number)),
                        _ => Err(format!(
                            "{text} is not {}; write a whole number from {} to {}",
                            $what, $least, $most
                        )),
                    }
                }
            }
            schema!($name, { "type": "integer", "minimum": $least, "maximum": $most });
        )*
    };
}

numbers! {
    /// How good somebody is at something.
    Proficiency(u8): "a proficiency", 0 to 5;
    /// How many conversations at once.
    Capacity(u32): "a capacity", 1 to 25;
    /// Requests to a mailbox at one time.
    Concurrency(u32): "a number of requests at one time", 1 to 16;
    /// Requests to a mailbox in ten minutes.
    Requests(u32): "a number of requests", 100 to 1_000_000;
    /// Mebibytes sent to Microsoft in five minutes.
    UploadMib(u32): "a number of mebibytes", 1 to 10_000;
    /// What is served first.
    Priority(i32): "a priority", -1000 to 1000;
}

/// The id of an application in Microsoft Entra.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ClientId(pub(super) String);

impl Scalar for ClientId {
    const WHAT: &'static str = "a client id";

    fn understand(text: &str) -> Result<Self, String> {
        uuid::Uuid::try_parse(text.trim()).map(|id| Self(id.to_string())).map_err(|_| {
            format!("\"{text}\" is not a client id; copy the application (client) id, a GUID, from Microsoft Entra")
        })
    }
}
schema!(ClientId, { "type": "string", "format": "uuid" });

/// Where a secret is kept: `file:` and a path, or `env:` and a variable.
#[derive(Clone)]
pub(super) enum SecretReference {
    /// In a file.
    File(String),
    /// In a variable of the environment.
    Environment(String),
}

impl std::fmt::Debug for SecretReference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretReference(…)")
    }
}

impl Scalar for SecretReference {
    const WHAT: &'static str = "a reference to a secret";

    fn understand(text: &str) -> Result<Self, String> {
        // The text itself is never repeated: it may be the secret.
        match text.trim().split_once(':') {
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(path.to_owned())),
            Some(("env", name)) if is_variable(name) => Ok(Self::Environment(name.to_owned())),
            _ => Err("a secret never stands in this file; write where it is, as file:/run/secrets/name or \
                      env:NAME, and renew it if this was one"
                .to_owned()),
        }
    }
}
fn is_variable(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

schema!(SecretReference, { "type": "string", "pattern": "^(file:.+|env:[A-Za-z0-9_]+)$" });

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_domains_and_languages_are_kept_in_lower_case() {
        assert_eq!(
            Address::understand("Support@Contoso.Example").unwrap().0.as_str(),
            "support@contoso.example"
        );
        assert_eq!(DomainName::understand("Contoso.Example").unwrap().0, "contoso.example");
        assert_eq!(Language::understand("pt-BR").unwrap().0, "pt-br");
        assert_eq!(Language::understand("no").unwrap().0, "no");
    }

    #[test]
    fn what_is_no_such_value_is_refused() {
        for text in [
            "anna",
            "Anna <anna@contoso.example>",
            "anna@contoso",
            "a@-b.example",
            "a@b..example",
            "a,b@c.example",
        ] {
            assert!(Address::understand(text).is_err(), "{text}");
        }
        for text in ["", "e", "english", "en_US", "12"] {
            assert!(Language::understand(text).is_err(), "{text}");
        }
        assert!(Proficiency::understand("6").is_err() && Proficiency::understand("-1").is_err());
        assert!(Capacity::understand("0").is_err() && Capacity::understand("2.5").is_err());
        assert!(ClientId::understand("postroom").is_err());
        assert!(Name::understand(" ").is_err() && Name::understand("a\nb").is_err());
    }

    #[test]
    fn a_secret_is_refused_without_being_repeated() {
        for text in ["hunter2~hunter2", "file:", "env:", "env:hunter2~", "vault:hunter2"] {
            let error = SecretReference::understand(text).unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
