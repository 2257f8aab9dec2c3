//! From the tree to typed records. A part that is wrong is reported and left out,
//! and reading goes on, so that one run tells everything.
//!
//! [`record!`] writes a record once: its fields, how it is read, and (through
//! their doc comments) the JSON Schema that editors show.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::{
    node::{Node, NodeKind},
    problem::{Place, Problems, closest},
};

/// Something that can be read from a part of the file.
pub(super) trait Read: Sized {
    /// Reads it; what is wrong goes to `problems`.
    fn read(node: &Node, problems: &mut Problems) -> Option<Self>;
}

/// A single value, written as one word, number or text.
pub(super) trait Scalar: Sized {
    /// What it is, with an article, for errors.
    const WHAT: &'static str;
    /// Whether it is a number, which stands without quotes.
    const NUMBER: bool = false;

    /// Understands the text, or says what is wrong and what to write.
    fn understand(text: &str) -> Result<Self, String>;
}

/// A single value and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Located<T> {
    pub(super) value: T,
    pub(super) at: Place,
}

impl<T: Scalar> Read for Located<T> {
    fn read(node: &Node, problems: &mut Problems) -> Option<Self> {
        match &node.kind {
            NodeKind::Text { text, quoted: true } if T::NUMBER => {
                problems.add(node.at, format!("{} stands without quotes; write {text}", T::WHAT));
                None
            }
            NodeKind::Text { text, .. } => match T::understand(text) {
                Ok(value) => Some(Self { value, at: node.at }),
                Err(message) => {
                    problems.add(node.at, message);
                    None
                }
            },
            _ => {
                wrong_kind(node, T::WHAT, problems);
                None
            }
        }
    }
}

impl<T: Read> Read for Vec<T> {
    fn read(node: &Node, problems: &mut Problems) -> Option<Self> {
        match &node.kind {
            NodeKind::List(items) => Some(items.iter().filter_map(|item| T::read(item, problems)).collect()),
            _ => {
                wrong_kind(node, "a list like [first, second]", problems);
                None
            }
        }
    }
}

/// A list that can't be empty.
#[derive(Debug, Clone)]
pub(super) struct AtLeastOne<T>(pub(super) Vec<T>);

impl<T: Read> Read for AtLeastOne<T> {
    fn read(node: &Node, problems: &mut Problems) -> Option<Self> {
        if matches!(&node.kind, NodeKind::List(items) if items.is_empty()) {
            problems.add(node.at, "this list is empty; write at least one entry");
            return None;
        }
        Vec::read(node, problems).map(Self)
    }
}

/// A mapping from names to values.
#[derive(Debug, Clone)]
pub(super) struct Named<K, V>(pub(super) Vec<(Located<K>, Located<V>)>);

impl<K: Scalar, V: Scalar> Read for Named<K, V> {
    fn read(node: &Node, problems: &mut Problems) -> Option<Self> {
        let NodeKind::Map(entries) = &node.kind else {
            wrong_kind(node, "a mapping like { name: value }", problems);
            return None;
        };
        let mut pairs = Vec::new();
        for entry in entries {
            let text = NodeKind::Text { text: entry.key.clone(), quoted: false };
            let key = Located::read(&Node { at: entry.at, kind: text }, problems);
            if let (Some(key), Some(value)) = (key, Located::read(&entry.value, problems)) {
                pairs.push((key, value));
            }
        }
        Some(Self(pairs))
    }
}

/// Says that something of another kind is expected. What was reported before is not reported again.
pub(super) fn wrong_kind(node: &Node, expected: &str, problems: &mut Problems) {
    let found = match &node.kind {
        NodeKind::Broken => return,
        NodeKind::Nothing => "nothing",
        NodeKind::Text { .. } => "a text",
        NodeKind::List(_) => "a list",
        NodeKind::Map(_) => "a mapping",
    };
    problems.add(node.at, format!("{found} stands here where {expected} is expected"));
}

/// A record that is being read.
pub(super) struct Fields<'n> {
    what: &'static str,
    node: &'n Node,
}

impl<'n> Fields<'n> {
    /// Takes a mapping apart; fields that are not among `known` are reported.
    pub(super) fn of(
        node: &'n Node,
        what: &'static str,
        known: &[&'static str],
        problems: &mut Problems,
    ) -> Option<Self> {
        let entries = match &node.kind {
            NodeKind::Map(entries) => entries.as_slice(),
            NodeKind::Nothing => &[],
            _ => {
                wrong_kind(
                    node,
                    &format!("{what} like {{ {}: … }}", known.first().unwrap_or(&"name")),
                    problems,
                );
                return None;
            }
        };
        for entry in entries.iter().filter(|entry| !known.contains(&entry.key.as_str())) {
            let remedy = match closest(&entry.key, known.iter().copied()) {
                Some(close) => format!("did you mean \"{close}\"?"),
                None => format!("it has: {}", known.join(", ")),
            };
            problems.add(entry.at, format!("{what} has no field \"{}\"; {remedy}", entry.key));
        }
        Some(Self { what, node })
    }

    fn find(&self, name: &str) -> Option<&'n Node> {
        let NodeKind::Map(entries) = &self.node.kind else { return None };
        let entry = entries.iter().find(|entry| entry.key == name)?;
        if matches!(entry.value.kind, NodeKind::Nothing) { None } else { Some(&entry.value) }
    }

    /// Reads a field that must be there.
    pub(super) fn required<T: Read>(&self, name: &str, problems: &mut Problems) -> Option<T> {
        let Some(node) = self.find(name) else {
            problems.add(self.node.at, format!("{} needs the field \"{name}\"; add it", self.what));
            return None;
        };
        T::read(node, problems)
    }

    /// Reports it if not exactly one of the fields is there.
    pub(super) fn check_one_of(&self, names: &[&'static str], problems: &mut Problems) {
        let list = |names: &[&str]| names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>();
        let present: Vec<&str> = names.iter().copied().filter(|name| self.find(name).is_some()).collect();
        let message = match present.len() {
            0 => format!("{} needs one of the fields {}; add it", self.what, list(names).join(", ")),
            1 => return,
            _ => format!("{} has {}; keep one of them", self.what, list(&present).join(" and ")),
        };
        problems.add(self.node.at, message);
    }

    /// Reads a field that may be absent.
    pub(super) fn optional<T: Read>(&self, name: &str, problems: &mut Problems) -> Option<T> {
        T::read(self.find(name)?, problems)
    }
}

/// Declares a record: what it is called in errors, its required and its optional
/// fields, and those of which there must be exactly one. Every field is absent where it was absent or wrong; the wrong ones were reported.
macro_rules! record {
    (
        $(#[$meta:meta])*
        $name:ident, $what:literal:
        required { $($(#[$required_meta:meta])* $required:ident: $required_type:ty,)* }
        optional { $($(#[$optional_meta:meta])* $optional:ident: $optional_type:ty,)* }
        $(one_of { $($(#[$one_meta:meta])* $one:ident: $one_type:ty,)* })?
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, schemars::JsonSchema)]
        #[schemars(deny_unknown_fields)]
        pub(super) struct $name {
            $($(#[$required_meta])* #[schemars(required)] pub(super) $required: Option<$required_type>,)*
            $($(#[$optional_meta])* pub(super) $optional: Option<$optional_type>,)*
            $($($(#[$one_meta])* pub(super) $one: Option<$one_type>,)*)?
        }

        impl $crate::organization::read::Read for $name {
            fn read(
                node: &$crate::organization::node::Node,
                problems: &mut $crate::organization::problem::Problems,
            ) -> Option<Self> {
                let known = [$(stringify!($required),)* $($(stringify!($one),)*)? $(stringify!($optional),)*];
                let fields = $crate::organization::read::Fields::of(node, $what, &known, problems)?;
                $(fields.check_one_of(&[$(stringify!($one),)*], problems);)?
                Some(Self {
                    $($required: fields.required(stringify!($required), problems),)*
                    $($optional: fields.optional(stringify!($optional), problems),)*
                    $($($one: fields.optional(stringify!($one), problems),)*)?
                })
            }
        }
    };
}
pub(super) use record;

impl<T: JsonSchema> JsonSchema for Located<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

impl<T: JsonSchema> JsonSchema for AtLeastOne<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("AtLeastOne_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({ "type": "array", "minItems": 1, "items": generator.subschema_for::<T>() })
    }
}

impl<K: JsonSchema, V: JsonSchema> JsonSchema for Named<K, V> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("{}_of_{}", V::schema_name(), K::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({
            "type": "object",
            "propertyNames": K::json_schema(generator),
            "additionalProperties": V::json_schema(generator),
        })
    }
}
