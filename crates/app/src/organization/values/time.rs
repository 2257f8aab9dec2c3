//! Values that are times: how long an agent is alerted, and days.

use std::borrow::Cow;

use jiff::{SignedDuration, civil::Date, tz::TimeZone};
use postroom_model::{Timestamp, mailbox::TakeFrom};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::{super::read::Scalar, schema};

/// How long an agent is alerted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct AlertingTimeout(pub(in super::super) SignedDuration);

impl Scalar for AlertingTimeout {
    const WHAT: &'static str = "a duration";

    fn understand(text: &str) -> Result<Self, String> {
        let duration = duration(text).ok_or_else(|| {
            format!("\"{text}\" is not a duration; write a number and s, m or h, like 60s or 2m")
        })?;
        if !(5..=3600).contains(&duration.as_secs()) {
            return Err(format!("agents can't be alerted for {text}; write a duration from 5s to 1h"));
        }
        Ok(Self(duration))
    }
}
schema!(AlertingTimeout, { "type": "string", "pattern": "^[0-9]+[smh]$" });

fn duration(text: &str) -> Option<SignedDuration> {
    let text = text.trim();
    let unit = text.chars().last()?;
    let number: i64 = text.strip_suffix(unit)?.parse().ok().filter(|number| *number >= 0)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        _ => return None,
    };
    number.checked_mul(seconds).map(SignedDuration::from_secs)
}

/// A day, from its beginning in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Day(pub(in super::super) Timestamp);

impl Scalar for Day {
    const WHAT: &'static str = "a date";

    fn understand(text: &str) -> Result<Self, String> {
        day(text).map(Self).ok_or_else(|| format!("\"{text}\" is not a date; write it like 2027-03-31"))
    }
}
schema!(Day, { "type": "string", "format": "date" });

fn day(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    // Shorter and longer forms would be understood too, each in its own way.
    let date: Date = Some(text).filter(|text| text.len() == 10)?.parse().ok()?;
    date.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

/// From when on mails are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Start(pub(in super::super) TakeFrom);

impl Scalar for Start {
    const WHAT: &'static str = "a start";

    fn understand(text: &str) -> Result<Self, String> {
        if text.trim() == "activation" {
            return Ok(Self(TakeFrom::Activation));
        }
        day(text).map(|at| Self(TakeFrom::Date(at))).ok_or_else(|| {
            format!("\"{text}\" is no start for taking mails; write activation or a date like 2026-01-31")
        })
    }
}
schema!(Start, { "anyOf": [{ "const": "activation" }, { "type": "string", "format": "date" }] });

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_number_and_a_unit_within_bounds() {
        let seconds = |text| AlertingTimeout::understand(text).map(|timeout| timeout.0.as_secs());
        assert_eq!((seconds("60s"), seconds("2m"), seconds("1h")), (Ok(60), Ok(120), Ok(3600)));
        for text in ["60", "s", "-60s", "1.5m", "2 m", "2d", "4s", "2h", "9223372036854775807h", ""] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_day_begins_at_midnight_in_utc() {
        assert_eq!(Day::understand("2027-03-31").unwrap().0.to_string(), "2027-03-31T00:00:00Z");
        for text in ["2027-02-29", "31.03.2027", "2027-3-31", "20270331", "2027-03-31T00:00:00Z", "tomorrow"]
        {
            assert!(Day::understand(text).is_err(), "{text}");
        }
        assert_eq!(Start::understand("activation").unwrap().0, TakeFrom::Activation);
        assert!(Start::understand("now").is_err());
    }
}
