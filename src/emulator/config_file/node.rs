//! A value of a config file, with its line.

use serde_json::{Map, Value};

/// A value and where it begins: a line number, or 0 if the config is no file.
#[derive(Clone, Debug)]
pub struct Node {
    pub line: usize,
    pub kind: NodeKind,
}

#[derive(Clone, Debug)]
pub enum NodeKind {
    Scalar(Value),
    List(Vec<Node>),
    Map(Vec<Pair>),
}

/// A key, its line, and its value.
#[derive(Clone, Debug)]
pub struct Pair {
    pub key: String,
    pub line: usize,
    pub value: Node,
}

impl Node {
    pub fn scalar(line: usize, value: Value) -> Self {
        Self { line, kind: NodeKind::Scalar(value) }
    }

    /// Returns a value without lines.
    pub fn from_value(value: Value) -> Self {
        let kind = match value {
            Value::Array(items) => {
                NodeKind::List(items.into_iter().map(Self::from_value).collect())
            }
            Value::Object(pairs) => {
                let pair = |(key, value)| Pair { key, line: 0, value: Self::from_value(value) };
                NodeKind::Map(pairs.into_iter().map(pair).collect())
            }
            scalar => NodeKind::Scalar(scalar),
        };
        Self { line: 0, kind }
    }

    pub fn into_value(self) -> Value {
        match self.kind {
            NodeKind::Scalar(value) => value,
            NodeKind::List(items) => items.into_iter().map(Self::into_value).collect(),
            NodeKind::Map(pairs) => Value::Object(Self::map_of(pairs)),
        }
    }

    pub fn map_of(pairs: Vec<Pair>) -> Map<String, Value> {
        pairs.into_iter().map(|pair| (pair.key, pair.value.into_value())).collect()
    }

    /// Returns about how many bytes the value takes.
    pub fn size(&self) -> usize {
        let inner = match &self.kind {
            NodeKind::Scalar(value) => value.as_str().map_or(0, str::len),
            NodeKind::List(items) => items.iter().map(Self::size).sum(),
            NodeKind::Map(pairs) => {
                pairs.iter().map(|pair| pair.key.len() + pair.value.size()).sum()
            }
        };
        inner + size_of::<Self>()
    }
}
