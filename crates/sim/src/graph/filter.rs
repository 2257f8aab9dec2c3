//! The `$filter` language: comparisons, `and`/`or`/`not`, `contains`,
//! `startswith`, `endswith` and `any`, evaluated over the JSON of a resource.
//!
//! A small recursive-descent parser of the part of OData 4.01 (URL conventions,
//! <https://docs.oasis-open.org/odata/odata/v4.01/>) that mail clients use.
//! Whatever text comes in, it answers; nesting is bounded.

use std::cmp::Ordering;

use jiff::Timestamp;
use serde_json::Value;
use thiserror::Error;

/// Deepest nesting of parentheses, `not` and `any`.
const DEPTH: usize = 40;

#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum FilterError {
    #[error("Invalid filter clause: {what} expected at position {at}.")]
    Syntax { what: &'static str, at: usize },
    #[error("Invalid filter clause: the expression is nested too deeply.")]
    TooDeep,
    #[error("Could not find a property named '{0}' on type 'microsoft.graph.message'.")]
    UnknownProperty(String),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Filter {
    And(Box<Filter>, Box<Filter>),
    Or(Box<Filter>, Box<Filter>),
    Not(Box<Filter>),
    Compare(Path, Relation, Literal),
    Text(TextTest, Path, String),
    /// Some member of a collection passes; the variable names the member.
    Any(Path, String, Box<Filter>),
}

/// Property names from outside to inside.
pub(crate) type Path = Vec<String>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Relation {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TextTest {
    Contains,
    StartsWith,
    EndsWith,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Literal {
    Null,
    Bool(bool),
    Number(f64),
    Time(Timestamp),
    Text(String),
}

impl Filter {
    /// Reads a filter whose outermost properties all pass `is_known`.
    pub(crate) fn parse(text: &str, is_known: impl Fn(&str) -> bool) -> Result<Self, FilterError> {
        let mut parser = Parser { tokens: tokens(text)?, at: 0, end: text.len() };
        let filter = parser.either(0)?;
        if parser.at < parser.tokens.len() {
            return Err(parser.expected("the end"));
        }
        match filter.roots(&[]).into_iter().find(|root| !is_known(root)) {
            Some(unknown) => Err(FilterError::UnknownProperty(unknown.to_owned())),
            None => Ok(filter),
        }
    }

    /// Whether a resource passes; `property` gives the value of its properties.
    pub(crate) fn accepts(&self, property: &dyn Fn(&str) -> Option<Value>) -> bool {
        match self {
            Self::And(left, right) => left.accepts(property) && right.accepts(property),
            Self::Or(left, right) => left.accepts(property) || right.accepts(property),
            Self::Not(inner) => !inner.accepts(property),
            Self::Compare(path, relation, literal) => relation.holds(&walk(path, property), literal),
            Self::Text(test, path, part) => {
                let value = walk(path, property);
                value.as_str().is_some_and(|text| test.holds(&text.to_lowercase(), &part.to_lowercase()))
            }
            Self::Any(path, variable, inner) => walk(path, property).as_array().is_some_and(|members| {
                members.iter().any(|member| {
                    inner
                        .accepts(&|name| if name == variable { Some(member.clone()) } else { property(name) })
                })
            }),
        }
    }

    /// The outermost properties in the order they are first named.
    pub(crate) fn properties(&self) -> Vec<&str> {
        let mut properties: Vec<&str> = Vec::new();
        for root in self.roots(&[]) {
            if !properties.iter().any(|known| known.eq_ignore_ascii_case(root)) {
                properties.push(root);
            }
        }
        properties
    }

    /// Puts other texts in the place of those that a property is compared with.
    pub(crate) fn replace_texts(&mut self, name: &str, other: &dyn Fn(&str) -> Option<String>) {
        match self {
            Self::And(left, right) | Self::Or(left, right) => {
                left.replace_texts(name, other);
                right.replace_texts(name, other);
            }
            Self::Not(inner) | Self::Any(_, _, inner) => inner.replace_texts(name, other),
            Self::Compare(path, _, Literal::Text(text))
                if path.len() == 1 && path[0].eq_ignore_ascii_case(name) =>
            {
                if let Some(other) = other(text) {
                    *text = other;
                }
            }
            Self::Compare(..) | Self::Text(..) => {}
        }
    }

    /// Whether the filter is a plain lower bound of one time: `name ge …` or `name gt …`.
    pub(crate) fn is_lower_bound(&self, name: &str) -> bool {
        matches!(
            self,
            Self::Compare(path, Relation::GreaterOrEqual | Relation::Greater, Literal::Time(_))
                if path.len() == 1 && path[0].eq_ignore_ascii_case(name)
        )
    }

    fn roots<'a>(&'a self, variables: &[&'a str]) -> Vec<&'a str> {
        let root = |path: &'a Path| path.first().map(String::as_str).filter(|name| !variables.contains(name));
        match self {
            Self::And(left, right) | Self::Or(left, right) => {
                [left.roots(variables), right.roots(variables)].concat()
            }
            Self::Not(inner) => inner.roots(variables),
            Self::Compare(path, ..) | Self::Text(_, path, _) => root(path).into_iter().collect(),
            Self::Any(path, variable, inner) => {
                let inside = [variables, &[variable.as_str()]].concat();
                root(path).into_iter().chain(inner.roots(&inside)).collect()
            }
        }
    }
}

/// Text as comparisons see it: in lower case, and the names of MAPI properties with their
/// numbers in one form, as `LONG 0x0E08` and `Long 0xe08` are the same property.
pub(crate) fn folded(text: &str) -> String {
    let text = text.to_lowercase();
    match text.split_once(" 0x") {
        Some((kind, number)) => format!("{kind} 0x{}", number.trim_start_matches('0')),
        None => text,
    }
}

/// The value at a path of names.
pub(crate) fn walk(path: &[String], property: &dyn Fn(&str) -> Option<Value>) -> Value {
    let Some((root, inner)) = path.split_first() else { return Value::Null };
    let mut value = property(root).unwrap_or_default();
    for name in inner {
        value = value.get_mut(name).map(Value::take).unwrap_or_default();
    }
    value
}

impl Relation {
    fn holds(self, value: &Value, literal: &Literal) -> bool {
        let order = match (value, literal) {
            (Value::Null, Literal::Null) => Some(Ordering::Equal),
            (Value::Bool(value), Literal::Bool(literal)) => Some(value.cmp(literal)),
            (Value::Number(value), Literal::Number(literal)) => {
                value.as_f64().and_then(|value| value.partial_cmp(literal))
            }
            (Value::String(value), Literal::Time(literal)) => {
                value.parse::<Timestamp>().ok().map(|value| value.cmp(literal))
            }
            (Value::String(value), Literal::Text(literal)) => Some(folded(value).cmp(&folded(literal))),
            _ => None,
        };
        match (self, order) {
            (Self::NotEqual, order) => order != Some(Ordering::Equal),
            (_, None) => false,
            (Self::Equal, Some(order)) => order.is_eq(),
            (Self::Less, Some(order)) => order.is_lt(),
            (Self::LessOrEqual, Some(order)) => order.is_le(),
            (Self::Greater, Some(order)) => order.is_gt(),
            (Self::GreaterOrEqual, Some(order)) => order.is_ge(),
        }
    }

    fn find(word: &str) -> Option<Self> {
        Some(match word {
            "eq" => Self::Equal,
            "ne" => Self::NotEqual,
            "lt" => Self::Less,
            "le" => Self::LessOrEqual,
            "gt" => Self::Greater,
            "ge" => Self::GreaterOrEqual,
            _ => return None,
        })
    }
}

impl TextTest {
    fn holds(self, text: &str, part: &str) -> bool {
        match self {
            Self::Contains => text.contains(part),
            Self::StartsWith => text.starts_with(part),
            Self::EndsWith => text.ends_with(part),
        }
    }

    fn find(word: &str) -> Option<Self> {
        Some(match word {
            "contains" => Self::Contains,
            "startswith" => Self::StartsWith,
            "endswith" => Self::EndsWith,
            _ => return None,
        })
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    /// A name, keyword, number or time.
    Word(String),
    Text(String),
    Sign(char),
}

fn tokens(text: &str) -> Result<Vec<(usize, Token)>, FilterError> {
    let mut tokens = Vec::new();
    let mut letters = text.char_indices().peekable();
    while let Some((at, letter)) = letters.next() {
        let token = match letter {
            letter if letter.is_whitespace() => continue,
            '(' | ')' | '/' | ',' | ':' => Token::Sign(letter),
            '\'' => {
                let mut quoted = String::new();
                loop {
                    match letters.next() {
                        Some((_, '\'')) if letters.next_if(|(_, next)| *next == '\'').is_some() => {
                            quoted.push('\'');
                        }
                        Some((_, '\'')) => break,
                        Some((_, letter)) => quoted.push(letter),
                        None => return Err(FilterError::Syntax { what: "a closing quote", at: text.len() }),
                    }
                }
                Token::Text(quoted)
            }
            letter if letter.is_ascii_alphanumeric() || matches!(letter, '_' | '@' | '-') => {
                let is_name = !(letter.is_ascii_digit() || letter == '-');
                let mut word = String::from(letter);
                while let Some((_, next)) = letters.next_if(|(_, next)| {
                    next.is_ascii_alphanumeric()
                        || matches!(next, '_' | '.' | '@')
                        || (!is_name && matches!(next, ':' | '+' | '-'))
                }) {
                    word.push(next);
                }
                Token::Word(word)
            }
            _ => return Err(FilterError::Syntax { what: "a name, value or sign", at }),
        };
        tokens.push((at, token));
    }
    Ok(tokens)
}

struct Parser {
    tokens: Vec<(usize, Token)>,
    at: usize,
    end: usize,
}

impl Parser {
    fn either(&mut self, depth: usize) -> Result<Filter, FilterError> {
        let mut left = self.both(depth)?;
        while self.take_word("or") {
            left = Filter::Or(Box::new(left), Box::new(self.both(depth)?));
        }
        Ok(left)
    }

    fn both(&mut self, depth: usize) -> Result<Filter, FilterError> {
        let mut left = self.single(depth)?;
        while self.take_word("and") {
            left = Filter::And(Box::new(left), Box::new(self.single(depth)?));
        }
        Ok(left)
    }

    fn single(&mut self, depth: usize) -> Result<Filter, FilterError> {
        if depth == DEPTH {
            return Err(FilterError::TooDeep);
        }
        if self.take_sign('(') {
            let inner = self.either(depth + 1)?;
            self.sign(')', "a closing parenthesis")?;
            return Ok(inner);
        }
        if self.take_word("not") {
            return Ok(Filter::Not(Box::new(self.single(depth + 1)?)));
        }
        let first = self.word("a property")?;
        if let Some(test) = TextTest::find(&first.to_ascii_lowercase())
            && self.take_sign('(')
        {
            let root = self.word("a property")?;
            let path = self.path(root)?;
            self.sign(',', "a comma")?;
            let Some(Token::Text(part)) = self.next() else { return Err(self.expected("a quoted text")) };
            self.sign(')', "a closing parenthesis")?;
            return Ok(Filter::Text(test, path, part));
        }
        let mut path = self.path(first)?;
        if path.last().is_some_and(|name| name.eq_ignore_ascii_case("any")) && self.take_sign('(') {
            path.pop();
            let variable = self.word("a variable")?;
            self.sign(':', "a colon")?;
            let inner = self.either(depth + 1)?;
            self.sign(')', "a closing parenthesis")?;
            return Ok(Filter::Any(path, variable, Box::new(inner)));
        }
        let relation = self.word("a comparison")?;
        let relation = Relation::find(&relation.to_ascii_lowercase())
            .ok_or_else(|| self.expected("a comparison such as 'eq' before"))?;
        Ok(Filter::Compare(path, relation, self.literal()?))
    }

    fn path(&mut self, root: String) -> Result<Path, FilterError> {
        let mut path = vec![root];
        while self.take_sign('/') {
            path.push(self.word("a property")?);
        }
        Ok(path)
    }

    fn literal(&mut self) -> Result<Literal, FilterError> {
        let word = match self.next() {
            Some(Token::Text(text)) => return Ok(Literal::Text(text)),
            Some(Token::Word(word)) => word,
            _ => return Err(self.expected("a value")),
        };
        match word.as_str() {
            "null" => return Ok(Literal::Null),
            "true" => return Ok(Literal::Bool(true)),
            "false" => return Ok(Literal::Bool(false)),
            _ => {}
        }
        if let Ok(time) = word.parse() {
            return Ok(Literal::Time(time));
        }
        // A date alone means its midnight in UTC.
        if let Ok(midnight) = format!("{word}T00:00:00Z").parse() {
            return Ok(Literal::Time(midnight));
        }
        word.parse().map(Literal::Number).map_err(|_| self.expected("a value before"))
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).map(|(_, token)| token.clone());
        self.at += 1;
        token
    }

    fn word(&mut self, what: &'static str) -> Result<String, FilterError> {
        match self.tokens.get(self.at) {
            Some((_, Token::Word(word))) => {
                self.at += 1;
                Ok(word.clone())
            }
            _ => Err(self.expected(what)),
        }
    }

    fn sign(&mut self, sign: char, what: &'static str) -> Result<(), FilterError> {
        if self.take_sign(sign) { Ok(()) } else { Err(self.expected(what)) }
    }

    fn take_sign(&mut self, sign: char) -> bool {
        self.take(|token| *token == Token::Sign(sign))
    }

    fn take_word(&mut self, word: &str) -> bool {
        self.take(|token| matches!(token, Token::Word(found) if found.eq_ignore_ascii_case(word)))
    }

    fn take(&mut self, wanted: impl Fn(&Token) -> bool) -> bool {
        let found = self.tokens.get(self.at).is_some_and(|(_, token)| wanted(token));
        self.at += usize::from(found);
        found
    }

    fn expected(&self, what: &'static str) -> FilterError {
        let at = self.tokens.get(self.at).map_or(self.end, |(at, _)| *at);
        FilterError::Syntax { what, at }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const KNOWN: [&str; 6] = [
        "receivedDateTime",
        "isRead",
        "internetMessageId",
        "from",
        "categories",
        "singleValueExtendedProperties",
    ];

    fn parse(text: &str) -> Result<Filter, FilterError> {
        Filter::parse(text, |name| KNOWN.contains(&name))
    }

    fn accepts(text: &str) -> bool {
        let mail = json!({
            "receivedDateTime": "2026-03-01T10:00:00Z",
            "isRead": false,
            "internetMessageId": "<it's@x>",
            "from": {"emailAddress": {"address": "Anna@Customer.example"}},
            "categories": ["blue", "red"],
            "singleValueExtendedProperties": [
                {"id": "String {g} Name Other", "value": "m1"}, {"id": "String {g} Name Marker", "value": "m2"}
            ],
        });
        parse(text).unwrap().accepts(&|name| mail.get(name).cloned())
    }

    #[test]
    fn the_filters_that_mail_clients_write() {
        assert!(accepts("receivedDateTime ge 2026-03-01T10:00:00Z and receivedDateTime lt 2026-03-02"));
        assert!(!accepts("receivedDateTime gt 2026-03-01T11:00:00+01:00"));
        assert!(accepts("isRead eq false and internetMessageId eq '<it''s@x>'"));
        assert!(accepts("from/emailAddress/address eq 'anna@customer.example'"));
        assert!(accepts("not (isRead eq true) and (isRead eq true or categories/any(c:c eq 'red'))"));
        assert!(accepts("startswith(from/emailAddress/address, 'anna')"));
    }

    #[test]
    fn both_conditions_of_any_hold_for_the_same_member() {
        let any = |id: &str, value: &str| {
            accepts(&format!(
                "singleValueExtendedProperties/Any(ep: ep/id eq 'String {{g}} Name {id}' and ep/value eq '{value}')"
            ))
        };
        assert!(any("marker", "m2"));
        assert!(!any("Marker", "m1"));
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert_eq!(parse("nope eq 1"), Err(FilterError::UnknownProperty("nope".into())));
        for text in [
            "",
            "isRead",
            "isRead eq",
            "isRead is true",
            "(isRead eq true",
            "isRead eq 'x",
            "isRead eq true)",
        ] {
            assert!(matches!(parse(text), Err(FilterError::Syntax { .. })), "{text}");
        }
        assert_eq!(parse(&"(".repeat(10_000)), Err(FilterError::TooDeep));
        assert_eq!(parse(&"not ".repeat(10_000)), Err(FilterError::TooDeep));
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in any::<String>()) {
            let _answer = parse(&text);
        }

        #[test]
        fn any_likely_text_is_answered(
            words in proptest::collection::vec(
                prop_oneof![
                    Just("isRead"), Just("eq"), Just("and"), Just("not"), Just("("), Just(")"), Just("true"),
                    Just("'a'"), Just("categories/any(c:"), Just("c"), Just("/"), Just("2026-01-01"), Just("-1e9"),
                ],
                0..30,
            )
        ) {
            if let Ok(filter) = parse(&words.join(" ")) {
                filter.accepts(&|_| Some(json!(["a", true, null])));
            }
        }
    }
}
