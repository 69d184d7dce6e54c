//! Parses YAML 1.2 into nodes. JSON is YAML.
//!
//! Aliases are copied within a bound, so that a small file cannot become a large one. Tags other
//! than `!!str` are refused, and so are keys that are not text.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, Tag};
use serde_json::Value;

use crate::emulator::config_file::node::{Node, NodeKind, Pair};
use crate::emulator::config_file::scalar::scalar;

/// The most bytes of a file, and of what it means with every alias copied.
pub const MAX_SIZE: usize = 64 << 20;
/// How deep lists and mappings may be in each other.
const MAX_DEPTH: usize = 64;

/// A mistake, and its line.
#[derive(Debug)]
pub struct Mistake {
    pub line: usize,
    pub message: String,
}

type Parsed<T> = Result<T, Mistake>;

/// Parses the one document of a text. `None`: it is empty.
pub fn parse(text: &str) -> Parsed<Option<Node>> {
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| Mistake {
            line: error.marker().line(),
            message: error.info().to_owned(),
        })?;
        builder.take(event, span.start.line())?;
    }
    Ok(builder.done)
}

/// A list or a mapping that has not ended yet.
#[derive(Debug)]
struct Open {
    line: usize,
    anchor: usize,
    kind: NodeKind,
    /// The key whose value comes next, in a mapping.
    key: Option<(String, usize)>,
}

#[derive(Debug, Default)]
struct Builder {
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    size: usize,
    done: Option<Node>,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, line: usize) -> Parsed<()> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                if self.key_comes_next() && anchor == 0 && tag.is_none() {
                    return self.take_key(text.into_owned(), line);
                }
                let value = scalar(&text, style, tag.as_deref())
                    .map_err(|message| Mistake { line, message })?;
                self.take_node(Node::scalar(line, value), anchor)
            }
            Event::Alias(anchor) => {
                let message = "an alias must come after the value that it names";
                let node = self.anchors.get(&anchor).cloned();
                self.take_node(node.ok_or_else(|| mistake(line, message))?, 0)
            }
            Event::SequenceStart(anchor, tag) => {
                self.begin(NodeKind::List(Vec::new()), anchor, tag.as_deref(), line)
            }
            Event::MappingStart(anchor, tag) => {
                self.begin(NodeKind::Map(Vec::new()), anchor, tag.as_deref(), line)
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open { line, anchor, kind, .. }) => {
                    self.take_node(Node { line, kind }, anchor)
                }
                None => Ok(()),
            },
            Event::DocumentStart(_) if self.done.is_some() => {
                Err(mistake(line, "a config is one document: there is a second '---'"))
            }
            Event::DocumentStart(_)
            | Event::DocumentEnd
            | Event::StreamStart
            | Event::StreamEnd
            | Event::Nothing => Ok(()),
        }
    }

    fn begin(
        &mut self,
        kind: NodeKind,
        anchor: usize,
        tag: Option<&Tag>,
        line: usize,
    ) -> Parsed<()> {
        if self.key_comes_next() {
            return Err(mistake(line, "a key must be a text"));
        }
        if let Some(tag) = tag {
            return Err(Mistake { line, message: format!("the tag {tag} is not supported") });
        }
        if self.open.len() >= MAX_DEPTH {
            return Err(mistake(line, "lists and mappings are too deep in each other"));
        }
        self.open.push(Open { line, anchor, kind, key: None });
        Ok(())
    }

    fn key_comes_next(&self) -> bool {
        self.open
            .last()
            .is_some_and(|open| matches!(open.kind, NodeKind::Map(_)) && open.key.is_none())
    }

    fn take_key(&mut self, key: String, line: usize) -> Parsed<()> {
        let Some(Open { kind: NodeKind::Map(pairs), key: next, .. }) = self.open.last_mut() else {
            return Ok(());
        };
        if pairs.iter().any(|pair| pair.key == key) {
            return Err(Mistake { line, message: format!("the key {key:?} is there twice") });
        }
        *next = Some((key, line));
        Ok(())
    }

    /// Puts a complete value where it belongs.
    fn take_node(&mut self, node: Node, anchor: usize) -> Parsed<()> {
        self.size += node.size();
        if anchor > 0 {
            self.size += node.size();
            self.anchors.insert(anchor, node.clone());
        }
        if self.size > MAX_SIZE {
            return Err(mistake(node.line, "the config is too large with every alias copied"));
        }
        if self.key_comes_next() {
            let NodeKind::Scalar(Value::String(key)) = node.kind else {
                return Err(mistake(node.line, "a key must be a text"));
            };
            return self.take_key(key, node.line);
        }
        match self.open.last_mut() {
            None => self.done = Some(node),
            Some(Open { kind: NodeKind::List(items), .. }) => items.push(node),
            Some(Open { kind: NodeKind::Map(pairs), key, .. }) => {
                if let Some((key, line)) = key.take() {
                    pairs.push(Pair { key, line, value: node });
                }
            }
            Some(_) => {}
        }
        Ok(())
    }
}

fn mistake(line: usize, message: &str) -> Mistake {
    Mistake { line, message: message.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn value(text: &str) -> Value {
        parse(text).unwrap().unwrap().into_value()
    }

    fn refused(text: &str) -> (usize, String) {
        let mistake = parse(text).unwrap_err();
        (mistake.line, mistake.message)
    }

    #[test]
    fn scalars_of_the_core_schema() {
        for (text, expected) in [
            ("a: ", json!(null)),
            ("a: ~", json!(null)),
            ("a: yes", json!("yes")),
            ("a: off", json!("off")),
            ("a: True", json!(true)),
            ("a: \"true\"", json!("true")),
            ("a: 'x'", json!("x")),
            ("a: 10", json!(10)),
            ("a: -3", json!(-3)),
            ("a: 010", json!(10)),
            ("a: 0x1F", json!(31)),
            ("a: 0o17", json!(15)),
            ("a: 0x", json!("0x")),
            ("a: 18446744073709551615", json!(u64::MAX)),
            ("a: 1.5", json!(1.5)),
            ("a: .5", json!(0.5)),
            ("a: 1e3", json!(1000.0)),
            ("a: 10.0.19045", json!("10.0.19045")),
            ("a: 2026-03-10", json!("2026-03-10")),
            ("a: e5", json!("e5")),
            ("a: inf", json!("inf")),
            ("a: !!str 5", json!("5")),
            ("a: |\n  x\n  y\n", json!("x\ny\n")),
            ("a: C:\\Temp\\x", json!("C:\\Temp\\x")),
        ] {
            assert_eq!(value(text)["a"], expected, "{text}");
        }
    }

    #[test]
    fn mistakes_have_lines() {
        for (text, line, message) in [
            ("a: 1\nb: 2\na: 3", 3, "the key \"a\" is there twice"),
            ("a: 1\n---\nb: 2", 2, "a config is one document"),
            ("a:\n  - !point x", 2, "the tag !point is not supported"),
            ("a: !!binary x", 1, "is not supported"),
            ("a:\n  ? [1]\n  : 2", 2, "a key must be a text"),
            ("a: .nan", 1, "is no number"),
            ("a: 1e999", 1, "too large"),
            ("a: \"\\T\"", 1, ""),
            ("a: *b", 1, ""),
            ("a: [1", 1, ""),
        ] {
            let (at, told) = refused(text);
            assert!(told.contains(message), "{text}: {told}");
            assert!(at >= line, "{text}: line {at}");
        }
        let deep = "[".repeat(100);
        assert!(refused(&deep).1.contains("deep"));
    }

    #[test]
    fn aliases_are_copied_within_a_bound() {
        assert_eq!(value("a: &x [1, 2]\nb: *x")["b"], json!([1, 2]));
        assert_eq!(value("a: &x name\n*x : 3"), json!({"a": "name", "name": 3}));
        let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let items = vec![format!("*a{}", level - 1); 10].join(", ");
            laughs += &format!("a{level}: &a{level} [{items}]\n");
        }
        assert!(refused(&laughs).1.contains("too large"));
    }

    #[test]
    fn an_empty_document() {
        assert!(parse("").unwrap().is_none());
        assert!(parse("# nothing\n").unwrap().is_none());
    }
}
