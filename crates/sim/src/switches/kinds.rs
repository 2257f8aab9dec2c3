//! What switches take.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A kind of switch, as people read about it.
pub(super) trait Kind {
    /// What it takes, in a few words.
    const TAKES: &'static str;
}

impl Kind for bool {
    const TAKES: &'static str = "true or false";
}

/// How often something strikes: a share of all times, or the k-th times since the switch was set.
/// In JSON a number from 0 to 1, a boolean for the two ends, or `{"at": [3, 7]}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub struct Chance {
    rate: f64,
    at: Vec<u64>,
}

impl Kind for Chance {
    const TAKES: &'static str = "a share from 0 to 1, true or false, or {\"at\": [k, …]} for the k-th times";
}

impl Chance {
    pub(super) const NEVER: Self = Self { rate: 0.0, at: Vec::new() };

    /// Strikes this share of all times, from 0 (never) to 1 (always).
    pub(crate) fn rate_of(rate: f64) -> Self {
        Self { rate, at: Vec::new() }
    }

    pub(crate) fn is_never(&self) -> bool {
        self.rate <= 0.0 && self.at.is_empty()
    }

    /// Whether the `turn`-th time, counted from 1, is struck; `fate` is from 0 up to 1.
    pub(crate) fn strikes(&self, turn: u64, fate: f64) -> bool {
        fate < self.rate || self.at.contains(&turn)
    }

    /// Whether something that has no turns is struck.
    pub(crate) fn strikes_fate(&self, fate: f64) -> bool {
        fate < self.rate
    }
}

impl TryFrom<Value> for Chance {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        let refused = || format!("expected {}", Self::TAKES);
        let rate = match value {
            Value::Bool(all) => f64::from(u8::from(all)),
            Value::Number(number) => number.as_f64().unwrap_or(f64::NAN),
            Value::Object(mut object) if object.len() == 1 => {
                let turns = object.remove("at").ok_or_else(refused)?;
                let at: Vec<u64> = serde_json::from_value(turns).map_err(|_| refused())?;
                let is_counted = !at.is_empty() && !at.contains(&0);
                return if is_counted { Ok(Self { rate: 0.0, at }) } else { Err(refused()) };
            }
            _ => f64::NAN,
        };
        if (0.0..=1.0).contains(&rate) { Ok(Self::rate_of(rate)) } else { Err(refused()) }
    }
}

impl From<Chance> for Value {
    fn from(chance: Chance) -> Self {
        if chance.at.is_empty() { json!(chance.rate) } else { json!({ "at": chance.at }) }
    }
}

/// A time in whole milliseconds, 49 days at most.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Millis(pub(crate) u32);

impl Kind for Millis {
    const TAKES: &'static str = "milliseconds";
}

impl Millis {
    pub(super) const ZERO: Self = Self(0);
    pub(super) const SECOND: Self = Self(1000);

    pub(crate) fn duration(self) -> Duration {
        Duration::from_millis(self.0.into())
    }
}

impl From<Duration> for Millis {
    fn from(duration: Duration) -> Self {
        Self(u32::try_from(duration.as_millis()).unwrap_or(u32::MAX))
    }
}

/// A whole number, 0 to 4,294,967,295.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Count(pub(crate) u32);

impl Kind for Count {
    const TAKES: &'static str = "a whole number";
}

/// What a second subscription with the same resource and change types gets.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum DuplicatePolicy {
    /// 409 with the id of the first.
    #[serde(rename = "409")]
    Refuse,
    /// It is made, and both notify.
    #[serde(rename = "allow")]
    Allow,
}

impl Kind for DuplicatePolicy {
    const TAKES: &'static str = "\"409\" or \"allow\"";
}

/// With which status a lost delta token is answered; documentation says 410, reports also name the others.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub enum ResyncStatus {
    /// 410
    Gone,
    /// 400
    BadRequest,
    /// 404
    NotFound,
}

impl Kind for ResyncStatus {
    const TAKES: &'static str = "410, 400 or 404";
}

impl TryFrom<u16> for ResyncStatus {
    type Error = String;

    fn try_from(status: u16) -> Result<Self, String> {
        match status {
            410 => Ok(Self::Gone),
            400 => Ok(Self::BadRequest),
            404 => Ok(Self::NotFound),
            _ => Err(format!("expected {}", Self::TAKES)),
        }
    }
}

impl From<ResyncStatus> for u16 {
    fn from(status: ResyncStatus) -> Self {
        match status {
            ResyncStatus::Gone => 410,
            ResyncStatus::BadRequest => 400,
            ResyncStatus::NotFound => 404,
        }
    }
}

/// How a refusal says how long to wait: <https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3>.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RetryAfter {
    /// `Retry-After` in seconds.
    Seconds,
    /// `Retry-After` as a date.
    Date,
    /// Not at all.
    Absent,
}

impl Kind for RetryAfter {
    const TAKES: &'static str = "\"seconds\", \"date\" or \"absent\"";
}

/// What the body of an error looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ErrorShape {
    /// With `innerError`.
    Full,
    /// Without it, as Exchange often answers.
    Bare,
    /// Failures of the service itself come as an HTML page, as from a front end.
    Html,
}

impl Kind for ErrorShape {
    const TAKES: &'static str = "\"full\", \"bare\" or \"html\"";
}

/// Statuses of failures, one or more of 500 to 509.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<u16>", into = "Vec<u16>")]
pub struct Statuses(Vec<u16>);

impl Kind for Statuses {
    const TAKES: &'static str = "a list of statuses from 500 to 509";
}

impl Statuses {
    pub(super) fn unavailable() -> Self {
        Self(vec![503])
    }

    pub(super) fn weather() -> Self {
        Self(vec![500, 502, 503, 504])
    }

    /// One of them, by a fate from 0 up to 1.
    pub(crate) fn pick(&self, fate: f64) -> u16 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a small positive number"
        )]
        let at = (fate * self.0.len() as f64) as usize;
        self.0.get(at).or(self.0.last()).copied().unwrap_or(503)
    }
}

impl TryFrom<Vec<u16>> for Statuses {
    type Error = String;

    fn try_from(statuses: Vec<u16>) -> Result<Self, String> {
        let is_fit = !statuses.is_empty() && statuses.iter().all(|status| (500..510).contains(status));
        if is_fit { Ok(Self(statuses)) } else { Err(format!("expected {}", Self::TAKES)) }
    }
}

impl From<Statuses> for Vec<u16> {
    fn from(statuses: Statuses) -> Self {
        statuses.0
    }
}
