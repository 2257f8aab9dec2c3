//! E-mail addresses in the one form in which they are compared.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An e-mail address in lower case: one `@`, something on both sides, no spaces
/// and no control characters, at most 320 bytes.
///
/// RFC 5321 leaves the case of the local part to the receiving system; Exchange
/// ignores it, so we compare without it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EmailAddress(String);

/// A text is not an e-mail address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not an e-mail address: write it like name@example.com")]
pub struct BadAddress(pub String);

impl EmailAddress {
    /// The address as text, in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands behind the `@`.
    pub fn domain(&self) -> &str {
        self.0.rsplit_once('@').map_or("", |(_, domain)| domain)
    }
}

impl FromStr for EmailAddress {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        let address = text.trim().to_lowercase();
        let good = address.len() <= 320
            && !address.chars().any(|c| c.is_whitespace() || c.is_control())
            && address.rsplit_once('@').is_some_and(|(local, domain)| {
                !local.is_empty() && !domain.is_empty() && !local.contains('@')
            });
        if good { Ok(Self(address)) } else { Err(BadAddress(text.to_owned())) }
    }
}

impl TryFrom<String> for EmailAddress {
    type Error = BadAddress;

    fn try_from(text: String) -> Result<Self, BadAddress> {
        text.parse()
    }
}

impl From<EmailAddress> for String {
    fn from(address: EmailAddress) -> String {
        address.0
    }
}

impl fmt::Display for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Addresses never reach a log by accident (design invariant 10).
        f.write_str("EmailAddress(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_and_surrounding_space_do_not_matter() {
        let a: EmailAddress = " Support@Contoso.Example ".parse().unwrap();
        assert_eq!(a.as_str(), "support@contoso.example");
        assert_eq!(a.domain(), "contoso.example");
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "@", "a@", "@b", "a b@c", "a@b@c", "a@b\nc"] {
            assert!(text.parse::<EmailAddress>().is_err(), "{text:?}");
        }
    }
}
