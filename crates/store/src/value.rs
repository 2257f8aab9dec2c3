//! Values that travel between a statement and either engine, and rows read back.
//!
//! Used by every noun module of this crate. Keeps the rule that one SQL text
//! serves both engines: flags are 0 or 1, times are microseconds since 1970, ids
//! are UUIDs (a 16-byte blob on SQLite, the native type on PostgreSQL).

use std::{error::Error, fmt};

use bytes::BytesMut;
use jiff::Timestamp;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use uuid::Uuid;

use crate::db::DbError;

/// One value of a statement's arguments or of a row.
#[derive(Clone, PartialEq, Eq)]
pub enum Value {
    /// No value.
    Null,
    /// A number, a flag (0 or 1) or a time (microseconds since 1970).
    Int(i64),
    /// A text.
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
    /// An id. SQLite gives it back as [`Value::Blob`].
    Uuid(Uuid),
}

/// Texts and bytes show only their length: they may be addresses, subjects or secrets.
impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => f.write_str("Null"),
            Value::Int(number) => write!(f, "Int({number})"),
            Value::Text(text) => write!(f, "Text({} bytes)", text.len()),
            Value::Blob(bytes) => write!(f, "Blob({} bytes)", bytes.len()),
            Value::Uuid(uuid) => write!(f, "Uuid({uuid})"),
        }
    }
}

/// The arguments of a statement, in the order of its `$1`, `$2`, …
#[macro_export]
macro_rules! args {
    ($($value:expr),* $(,)?) => { vec![$($crate::Value::from($value)),*] };
}

/// One row of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row(Vec<Value>);

impl Row {
    pub(crate) fn new(values: Vec<Value>) -> Self {
        Self(values)
    }

    /// The row's columns, to be read in order.
    pub fn columns(self) -> Columns {
        Columns { values: self.0.into_iter(), index: 0 }
    }
}

/// The columns of a row that are still to be read.
#[derive(Debug)]
pub struct Columns {
    values: std::vec::IntoIter<Value>,
    index: usize,
}

impl Columns {
    /// Reads the next column.
    ///
    /// # Errors
    /// [`DbError::Inconsistent`] if it holds something else, or if there is none left.
    #[expect(
        clippy::should_implement_trait,
        reason = "each column has its own type, so this can be no iterator"
    )]
    pub fn next<T: FromValue>(&mut self) -> Result<T, DbError> {
        self.index += 1;
        let value = self
            .values
            .next()
            .ok_or_else(|| DbError::inconsistent(format!("there is no column {} in the row", self.index)))?;
        T::from_value(value).map_err(|found| {
            DbError::inconsistent(format!("column {} is {found:?}, expected {}", self.index, T::EXPECTED))
        })
    }
}

/// A type that a column can be read as.
pub trait FromValue: Sized {
    /// What is expected, for the error text.
    const EXPECTED: &'static str;

    /// Reads the value.
    ///
    /// # Errors
    /// Gives the value back if it is of another kind or out of range.
    fn from_value(value: Value) -> Result<Self, Value>;
}

impl FromValue for i64 {
    const EXPECTED: &'static str = "a number";

    fn from_value(value: Value) -> Result<Self, Value> {
        match value {
            Value::Int(number) => Ok(number),
            other => Err(other),
        }
    }
}

macro_rules! smaller_numbers {
    ($($number:ty, $expected:literal;)*) => {
        $(
            impl FromValue for $number {
                const EXPECTED: &'static str = $expected;

                fn from_value(value: Value) -> Result<Self, Value> {
                    match value {
                        Value::Int(number) => Self::try_from(number).map_err(|_| value),
                        other => Err(other),
                    }
                }
            }
        )*
    };
}
smaller_numbers! {
    i32, "a number of 32 bits";
    u32, "a number from 0 to 4294967295";
    u64, "a number of at least 0";
}

impl FromValue for bool {
    const EXPECTED: &'static str = "0 or 1";

    fn from_value(value: Value) -> Result<Self, Value> {
        match value {
            Value::Int(0) => Ok(false),
            Value::Int(1) => Ok(true),
            other => Err(other),
        }
    }
}

impl FromValue for String {
    const EXPECTED: &'static str = "a text";

    fn from_value(value: Value) -> Result<Self, Value> {
        match value {
            Value::Text(text) => Ok(text),
            other => Err(other),
        }
    }
}

impl FromValue for Vec<u8> {
    const EXPECTED: &'static str = "bytes";

    fn from_value(value: Value) -> Result<Self, Value> {
        match value {
            Value::Blob(bytes) => Ok(bytes),
            other => Err(other),
        }
    }
}

impl<const N: usize> FromValue for [u8; N] {
    const EXPECTED: &'static str = "bytes of a fixed length";

    fn from_value(value: Value) -> Result<Self, Value> {
        match value {
            Value::Blob(bytes) => Self::try_from(bytes).map_err(Value::Blob),
            other => Err(other),
        }
    }
}

impl FromValue for Uuid {
    const EXPECTED: &'static str = "an id";

    fn from_value(value: Value) -> Result<Self, Value> {
        match value {
            Value::Uuid(uuid) => Ok(uuid),
            Value::Blob(bytes) => Uuid::from_slice(&bytes).map_err(|_| Value::Blob(bytes)),
            other => Err(other),
        }
    }
}

impl FromValue for Timestamp {
    const EXPECTED: &'static str = "a time in microseconds since 1970";

    fn from_value(value: Value) -> Result<Self, Value> {
        match value {
            Value::Int(micros) => Timestamp::from_microsecond(micros).map_err(|_| value),
            other => Err(other),
        }
    }
}

impl<T: FromValue> FromValue for Option<T> {
    const EXPECTED: &'static str = T::EXPECTED;

    fn from_value(value: Value) -> Result<Self, Value> {
        match value {
            Value::Null => Ok(None),
            present => T::from_value(present).map(Some),
        }
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Value::Int(number)
    }
}

impl From<i32> for Value {
    fn from(number: i32) -> Self {
        Value::Int(number.into())
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Value::Int(number.into())
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Value::Int(flag.into())
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Text(text.to_owned())
    }
}

impl From<&String> for Value {
    fn from(text: &String) -> Self {
        Value::Text(text.clone())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::Text(text)
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Value::Blob(bytes.to_vec())
    }
}

impl<const N: usize> From<[u8; N]> for Value {
    fn from(bytes: [u8; N]) -> Self {
        Value::Blob(bytes.to_vec())
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Value::Blob(bytes)
    }
}

impl From<Uuid> for Value {
    fn from(uuid: Uuid) -> Self {
        Value::Uuid(uuid)
    }
}

impl From<Timestamp> for Value {
    fn from(time: Timestamp) -> Self {
        Value::Int(time.as_microsecond())
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Value::Null, Into::into)
    }
}

macro_rules! id_values {
    ($($id:ident)*) => {
        $(
            impl From<postroom_model::$id> for Value {
                fn from(id: postroom_model::$id) -> Self {
                    Value::Uuid(id.uuid())
                }
            }

            impl FromValue for postroom_model::$id {
                const EXPECTED: &'static str = Uuid::EXPECTED;

                fn from_value(value: Value) -> Result<Self, Value> {
                    Uuid::from_value(value).map(Self::from_uuid)
                }
            }
        )*
    };
}
postroom_model::each_id!(id_values);

impl rusqlite::ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
        use rusqlite::types::{ToSqlOutput, ValueRef};
        Ok(ToSqlOutput::Borrowed(match self {
            Value::Null => ValueRef::Null,
            Value::Int(number) => ValueRef::Integer(*number),
            Value::Text(text) => ValueRef::Text(text.as_bytes()),
            Value::Blob(bytes) => ValueRef::Blob(bytes),
            Value::Uuid(uuid) => ValueRef::Blob(uuid.as_bytes()),
        }))
    }
}

/// An argument is of another kind than the place where it stands in the statement.
#[derive(Debug, thiserror::Error)]
#[error("{value:?} was given where PostgreSQL expects {expected}")]
struct WrongKind {
    value: Value,
    expected: Type,
}

impl ToSql for Value {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self {
            Value::Null => Ok(IsNull::Yes),
            Value::Int(number) if *ty == Type::INT8 => number.to_sql(ty, out),
            Value::Int(number) if *ty == Type::INT4 => i32::try_from(*number)?.to_sql(ty, out),
            Value::Text(text) if <&str as ToSql>::accepts(ty) => text.to_sql(ty, out),
            Value::Blob(bytes) if *ty == Type::BYTEA => bytes.to_sql(ty, out),
            Value::Uuid(uuid) if *ty == Type::UUID => uuid.to_sql(ty, out),
            _ => Err(WrongKind { value: self.clone(), expected: ty.clone() }.into()),
        }
    }

    fn accepts(_: &Type) -> bool {
        // Decided value by value in `to_sql`, where NULL fits every type.
        true
    }

    to_sql_checked!();
}

#[cfg(test)]
mod tests {
    use postroom_model::MessageId;

    use super::*;

    #[test]
    fn columns_are_read_in_order_and_a_wrong_kind_names_its_place() {
        let row = Row::new(args![7_u32, "text", None::<String>, true]);
        let mut columns = row.columns();
        assert_eq!(columns.next::<u32>().unwrap(), 7);
        assert_eq!(columns.next::<String>().unwrap(), "text");
        assert_eq!(columns.next::<Option<i64>>().unwrap(), None);
        let error = columns.next::<Timestamp>().map(|_| ()).and(columns.next::<i64>().map(|_| ()));
        assert!(error.unwrap_err().to_string().contains("no column 5"));

        let error = Row::new(args!["secret"]).columns().next::<i64>().unwrap_err();
        assert!(error.to_string().contains("column 1 is Text(6 bytes), expected a number"), "{error}");
        let error = Row::new(args![None::<i64>]).columns().next::<i64>().unwrap_err();
        assert!(error.to_string().contains("Null"), "{error}");
    }

    #[test]
    fn what_is_out_of_range_is_refused() {
        assert!(u32::from_value(Value::Int(-1)).is_err());
        assert!(u64::from_value(Value::Int(-1)).is_err());
        assert!(bool::from_value(Value::Int(2)).is_err());
        assert!(Timestamp::from_value(Value::Int(i64::MAX)).is_err());
        assert!(Uuid::from_value(Value::Blob(vec![0; 15])).is_err());
        assert!(<[u8; 4]>::from_value(Value::Blob(vec![0; 5])).is_err());
    }

    #[test]
    fn an_id_is_read_from_either_engines_form() {
        let id = MessageId::from_uuid(Uuid::from_u128(9));
        assert_eq!(MessageId::from_value(Value::from(id)), Ok(id));
        assert_eq!(MessageId::from_value(Value::Blob(id.uuid().as_bytes().to_vec())), Ok(id));
    }

    #[test]
    fn nothing_readable_is_shown_in_debug() {
        let shown = format!("{:?}", args!["who@contoso.example", vec![1_u8, 2, 3]]);
        assert_eq!(shown, "[Text(19 bytes), Blob(3 bytes)]");
    }
}
