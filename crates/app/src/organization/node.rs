//! The organisation file as a tree in which every part knows its place, so that
//! everything that is wrong can be told at once, with line and column.
//!
//! Built from the parser's events and not through serde, which stops at the first
//! error. YAML's anchors and tags are refused: the file has one way to say a thing.

use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, ScanError, Span};

use super::problem::{Place, Problems};

/// A part of the file.
#[derive(Debug, Clone)]
pub(super) struct Node {
    /// Where it begins.
    pub(super) at: Place,
    /// What it is.
    pub(super) kind: NodeKind,
}

/// What a part of the file is.
#[derive(Debug, Clone)]
pub(super) enum NodeKind {
    /// Nothing stands there.
    Nothing,
    /// A text, or a number or date as text.
    Text {
        /// The text, without quotes.
        text: String,
        /// Whether it stood in quotes or in a block.
        quoted: bool,
    },
    /// A list.
    List(Vec<Node>),
    /// A mapping, in its order and without repeated keys.
    Map(Vec<Entry>),
    /// Something that was already reported.
    Broken,
}

/// An entry of a mapping.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// Its key.
    pub(super) key: String,
    /// Where the key stands.
    pub(super) at: Place,
    /// Its value.
    pub(super) value: Node,
}

/// Reads the one document of `text`. After a syntax error nothing more can be read: it is the only problem.
pub(super) fn parse(text: &str, problems: &mut Problems) -> Option<Node> {
    let events = Parser::new_from_str(text).filter(|event| {
        // Comments say nothing to programs.
        !matches!(event, Ok((Event::Comment(..), _)))
    });
    let mut builder = Builder { events, problems };
    match builder.document() {
        Ok(node) => Some(node),
        Err(error) => {
            let marker = error.marker();
            problems.clear();
            problems.add(
                Place { line: marker.line(), column: marker.col() + 1 },
                format!("this is not YAML: {}; correct it and apply again", error.info()),
            );
            None
        }
    }
}

struct Builder<'p, I> {
    events: I,
    problems: &'p mut Problems,
}

impl<'input, I: Iterator<Item = Result<(Event<'input>, Span), ScanError>>> Builder<'_, I> {
    /// The first document. What stands outside of documents carries nothing.
    fn document(&mut self) -> Result<Node, ScanError> {
        let mut root = Node { at: Place { line: 1, column: 1 }, kind: NodeKind::Nothing };
        let mut documents = 0;
        while let Some((event, span)) = self.next()? {
            match event {
                Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
                Event::DocumentStart(..) => documents += 1,
                event if documents == 1 => root = self.node(event, span)?,
                event => {
                    let second = self.node(event, span)?;
                    self.problems
                        .add(second.at, "a second document begins here; keep one, without `---` between");
                }
            }
        }
        Ok(root)
    }

    fn next(&mut self) -> Result<Option<(Event<'input>, Span)>, ScanError> {
        self.events.next().transpose()
    }

    fn node(&mut self, event: Event<'input>, span: Span) -> Result<Node, ScanError> {
        let at = Place { line: span.start.line(), column: span.start.col() + 1 };
        let decorated = event.tag().is_some() || event.anchor_id().is_some();
        let kind = match event {
            Event::Scalar(text, style, ..) => scalar(&text, style),
            Event::SequenceStart(..) => NodeKind::List(self.list()?),
            Event::MappingStart(..) => NodeKind::Map(self.map()?),
            Event::Alias(_) => {
                self.problems.add(at, "aliases (`*name`) are not understood here; write the value out");
                NodeKind::Broken
            }
            _ => NodeKind::Nothing,
        };
        if decorated {
            self.problems
                .add(at, "tags (`!name`) and anchors (`&name`) are not understood here; take it away");
        }
        Ok(Node { at, kind })
    }

    fn list(&mut self) -> Result<Vec<Node>, ScanError> {
        let mut items = Vec::new();
        while let Some((event, span)) = self.next()? {
            if matches!(event, Event::SequenceEnd) {
                break;
            }
            items.push(self.node(event, span)?);
        }
        Ok(items)
    }

    fn map(&mut self) -> Result<Vec<Entry>, ScanError> {
        let mut entries: Vec<Entry> = Vec::new();
        while let Some((event, span)) = self.next()? {
            if matches!(event, Event::MappingEnd) {
                break;
            }
            let key = self.node(event, span)?;
            let Some((event, span)) = self.next()? else { break };
            let value = self.node(event, span)?;
            let NodeKind::Text { text, .. } = key.kind else {
                self.problems.add(key.at, "a key must be a text; write `name: value`");
                continue;
            };
            match entries.iter().find(|entry| entry.key == text) {
                Some(first) => self.problems.add(
                    key.at,
                    format!(
                        "\"{text}\" stands here twice, first at line {}; keep one of them",
                        first.at.line
                    ),
                ),
                None => entries.push(Entry { key: text, at: key.at, value }),
            }
        }
        Ok(entries)
    }
}

fn scalar(text: &str, style: ScalarStyle) -> NodeKind {
    let quoted = style != ScalarStyle::Plain;
    if !quoted && matches!(text, "" | "~" | "null" | "Null" | "NULL") {
        return NodeKind::Nothing;
    }
    NodeKind::Text { text: text.to_owned(), quoted }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        let mut problems = Problems::default();
        parse(text, &mut problems);
        problems.into_sorted().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_part_knows_its_line_and_column() {
        let mut problems = Problems::default();
        let root = parse("# 日本\na:\n  - { 名: x, n: ~ }\n", &mut problems).unwrap();
        let NodeKind::Map(entries) = root.kind else { panic!("a mapping") };
        let NodeKind::List(items) = &entries[0].value.kind else { panic!("a list") };
        let NodeKind::Map(inner) = &items[0].kind else { panic!("a mapping") };
        assert_eq!((items[0].at.line, items[0].at.column), (3, 5));
        assert_eq!((inner[0].value.at.line, inner[0].value.at.column), (3, 10));
        assert!(matches!(inner[1].value.kind, NodeKind::Nothing));
    }

    #[test]
    fn a_syntax_error_is_told_with_its_place() {
        let told = problems("a: 1\nb: [1, 2\nc: 3\n");
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains(": this is not YAML: "), "{told:?}");
    }

    #[test]
    fn what_yaml_has_beyond_texts_lists_and_mappings_is_refused() {
        assert_eq!(
            problems("a: &x 1\nb: *x\nc: !!str 1\n? [1]\n: 2\na: 3\n---\nd: 4\n"),
            [
                "1:7: tags (`!name`) and anchors (`&name`) are not understood here; take it away",
                "2:4: aliases (`*name`) are not understood here; write the value out",
                "3:10: tags (`!name`) and anchors (`&name`) are not understood here; take it away",
                "4:3: a key must be a text; write `name: value`",
                "6:1: \"a\" stands here twice, first at line 1; keep one of them",
                "8:1: a second document begins here; keep one, without `---` between",
            ]
        );
    }
}
