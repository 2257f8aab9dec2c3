//! Claims of an access token: what this client declares, and what Graph demands.
//!
//! A client that declares the capability `cp1` gets tokens that Graph can refuse
//! before their end, with a challenge that says what the next one must hold.
//! <https://learn.microsoft.com/en-us/entra/identity-platform/claims-challenge>

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use http::{HeaderMap, header};
use serde_json::{Map, Value, json};

/// Takes base64 with padding and without.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// What Graph demands of the next token.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Challenge(Map<String, Value>);

impl Challenge {
    /// The challenge in the headers of a 401, if there is one that can be understood.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let values = headers.get_all(header::WWW_AUTHENTICATE).iter();
        values.filter_map(|value| value.to_str().ok()).find_map(Self::read)
    }

    fn read(value: &str) -> Option<Self> {
        if parameter(value, "error")? != "insufficient_claims" {
            return None;
        }
        let encoded = parameter(value, "claims")?.replace('-', "+").replace('_', "/");
        let claims: Map<String, Value> = serde_json::from_slice(&LENIENT.decode(encoded).ok()?).ok()?;
        claims.get("access_token").is_none_or(Value::is_object).then_some(Self(claims))
    }
}

/// A quoted parameter of a `WWW-Authenticate` header.
/// <https://www.rfc-editor.org/rfc/rfc9110#section-11.6.1>
fn parameter<'a>(mut rest: &'a str, name: &str) -> Option<&'a str> {
    loop {
        let (before, after) = rest.split_once("=\"")?;
        let (value, next) = after.split_once('"')?;
        let found = before.rsplit([' ', '\t', ',']).next()?;
        if found.eq_ignore_ascii_case(name) {
            return Some(value);
        }
        rest = next;
    }
}

/// The claims to ask for: our capability, and what was demanded.
pub(super) fn wanted(challenge: Option<&Challenge>) -> String {
    let mut claims = challenge.map(|challenge| challenge.0.clone()).unwrap_or_default();
    let access_token = claims.entry("access_token").or_insert_with(|| json!({}));
    if let Some(access_token) = access_token.as_object_mut() {
        access_token.insert("xms_cc".into(), json!({ "values": ["cp1"] }));
    }
    Value::Object(claims).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
    use http::HeaderValue;

    fn header(error: &str, claims: &str) -> HeaderMap {
        let value = format!(
            "Bearer realm=\"\", authorization_uri=\"https://login.example/common/oauth2/authorize\", \
             error=\"{error}\", claims=\"{claims}\""
        );
        HeaderMap::from_iter([(header::WWW_AUTHENTICATE, HeaderValue::from_str(&value).unwrap())])
    }

    #[test]
    fn what_graph_demands_goes_beside_what_we_declare() {
        let demanded = r#"{"access_token":{"nbf":{"essential":true,"value":"1604106651"}},"x":"ÿ?>"}"#;
        for encoded in [STANDARD.encode(demanded), URL_SAFE_NO_PAD.encode(demanded)] {
            let challenge = Challenge::of(&header("insufficient_claims", &encoded));
            assert!(challenge.is_some(), "{encoded}");
            let wanted: Value = serde_json::from_str(&wanted(challenge.as_ref())).unwrap();
            assert_eq!(
                wanted,
                json!({
                    "access_token": {
                        "nbf": { "essential": true, "value": "1604106651" },
                        "xms_cc": { "values": ["cp1"] },
                    },
                    "x": "ÿ?>",
                })
            );
        }
        assert_eq!(wanted(None), r#"{"access_token":{"xms_cc":{"values":["cp1"]}}}"#);
    }

    #[test]
    fn what_is_no_challenge_or_makes_no_sense_demands_nothing() {
        let nonsense =
            ["", "!", "bm90IGpzb24=", &STANDARD.encode("[]"), &STANDARD.encode(r#"{"access_token":1}"#)];
        assert!(
            nonsense.iter().all(|claims| Challenge::of(&header("insufficient_claims", claims)).is_none())
        );
        assert!(Challenge::of(&header("invalid_token", &STANDARD.encode("{}"))).is_none());
        assert!(Challenge::of(&HeaderMap::new()).is_none());
        for odd in ["", "Bearer", "error=\"", "error=\"insufficient_claims\"", "claims=\"e30=\""] {
            assert!(Challenge::read(odd).is_none(), "{odd}");
        }
    }
}
