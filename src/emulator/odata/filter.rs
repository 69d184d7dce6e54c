//! What a `$filter` asks, and whether an item fits it.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::{FieldValue, Queryable};

#[derive(Clone, Debug, PartialEq)]
pub(in crate::emulator) enum Filter {
    And(Vec<Self>),
    Or(Vec<Self>),
    Not(Box<Self>),
    Compare(&'static str, Operator, FieldValue<'static>),
    In(&'static str, Vec<FieldValue<'static>>),
    FunctionCall(Function, &'static str, String),
    /// Any other comparison, as of a condition with `true`.
    CompareOperands(Box<Operand>, Operator, Box<Operand>),
    Bool(bool),
}

/// A side of a comparison.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::emulator) enum Operand {
    Property(&'static str),
    Literal(FieldValue<'static>),
    Condition(Filter),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::emulator) enum Operator {
    Eq,
    Ne,
    Gt,
    Ge,
    Lt,
    Le,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::emulator) enum Function {
    StartsWith,
    EndsWith,
    Contains,
}

impl Filter {
    pub fn matches<T: Queryable>(&self, item: &T) -> bool {
        match self {
            Self::And(all) => all.iter().all(|filter| filter.matches(item)),
            Self::Or(any) => any.iter().any(|filter| filter.matches(item)),
            Self::Not(inner) => !inner.matches(item),
            Self::Compare(name, operator, literal) => operator.evaluate(&item.field(name), literal),
            Self::In(name, literals) => {
                let field = item.field(name);
                literals.iter().any(|literal| values_equal(&field, literal))
            }
            Self::FunctionCall(function, name, text) => match item.field(name) {
                FieldValue::Text(own) => function.evaluate(&own, text),
                FieldValue::List(items) => items.iter().any(|own| function.evaluate(own, text)),
                _ => false,
            },
            Self::CompareOperands(left, operator, right) => {
                operator.evaluate(&left.value(item), &right.value(item))
            }
            Self::Bool(flag) => *flag,
        }
    }
}

impl Operand {
    fn value<'a, T: Queryable>(&'a self, item: &'a T) -> Cow<'a, FieldValue<'a>> {
        match self {
            Self::Property(name) => Cow::Owned(item.field(name)),
            Self::Literal(literal) => Cow::Borrowed(literal),
            Self::Condition(filter) => Cow::Owned(FieldValue::Bool(filter.matches(item))),
        }
    }
}

impl Operator {
    pub fn from_word(word: &str) -> Option<Self> {
        Some(match word.to_ascii_lowercase().as_str() {
            "eq" => Self::Eq,
            "ne" => Self::Ne,
            "gt" => Self::Gt,
            "ge" => Self::Ge,
            "lt" => Self::Lt,
            "le" => Self::Le,
            _ => return None,
        })
    }

    /// The name that the service's messages have for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Eq => "Equal",
            Self::Ne => "NotEqual",
            Self::Gt => "GreaterThan",
            Self::Ge => "GreaterThanOrEqual",
            Self::Lt => "LessThan",
            Self::Le => "LessThanOrEqual",
        }
    }

    /// What it is with its sides changed.
    pub fn flipped(self) -> Self {
        match self {
            Self::Eq | Self::Ne => self,
            Self::Gt => Self::Lt,
            Self::Ge => Self::Le,
            Self::Lt => Self::Gt,
            Self::Le => Self::Ge,
        }
    }

    /// Null equals null alone, and is in no order with anything.
    fn evaluate(self, left: &FieldValue<'_>, right: &FieldValue<'_>) -> bool {
        let order = compare_values(left, right);
        match self {
            Self::Eq => values_equal(left, right),
            Self::Ne => !values_equal(left, right),
            Self::Gt => order == Some(Ordering::Greater),
            Self::Ge => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
            Self::Lt => order == Some(Ordering::Less),
            Self::Le => matches!(order, Some(Ordering::Less | Ordering::Equal)),
        }
    }
}

impl Function {
    pub fn from_word(word: &str) -> Option<Self> {
        Some(match word.to_ascii_lowercase().as_str() {
            "startswith" => Self::StartsWith,
            "endswith" => Self::EndsWith,
            "contains" => Self::Contains,
            _ => return None,
        })
    }

    fn evaluate(self, own: &str, text: &str) -> bool {
        match self {
            Self::StartsWith => own.starts_with(text),
            Self::EndsWith => own.ends_with(text),
            Self::Contains => own.contains(text),
        }
    }
}

fn values_equal(left: &FieldValue<'_>, right: &FieldValue<'_>) -> bool {
    match (left, right) {
        (FieldValue::Null, FieldValue::Null) => true,
        (FieldValue::List(items), FieldValue::Text(text))
        | (FieldValue::Text(text), FieldValue::List(items)) => {
            items.iter().any(|item| item == text)
        }
        _ => compare_values(left, right) == Some(Ordering::Equal),
    }
}

pub(super) fn compare_values(a: &FieldValue<'_>, b: &FieldValue<'_>) -> Option<Ordering> {
    match (a, b) {
        (FieldValue::Text(a), FieldValue::Text(b)) => Some(a.cmp(b)),
        (FieldValue::Number(a), FieldValue::Number(b)) => a.partial_cmp(b),
        (FieldValue::Bool(a), FieldValue::Bool(b)) => Some(a.cmp(b)),
        (FieldValue::Time(a), FieldValue::Time(b)) => Some(a.cmp(b)),
        _ => None,
    }
}
