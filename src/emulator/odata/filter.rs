//! What a `$filter` asks, and whether an item fits it.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::{Field, Fields};

#[derive(Clone, Debug, PartialEq)]
pub(in crate::emulator) enum Filter {
    And(Vec<Self>),
    Or(Vec<Self>),
    Not(Box<Self>),
    Compare(&'static str, Operator, Field<'static>),
    In(&'static str, Vec<Field<'static>>),
    Call(Function, &'static str, String),
    /// Any other comparison, as of a condition with `true`.
    Pair(Box<Operand>, Operator, Box<Operand>),
    Flag(bool),
}

/// A side of a comparison.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::emulator) enum Operand {
    Property(&'static str),
    Literal(Field<'static>),
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
    pub fn matches<T: Fields>(&self, item: &T) -> bool {
        match self {
            Self::And(all) => all.iter().all(|filter| filter.matches(item)),
            Self::Or(any) => any.iter().any(|filter| filter.matches(item)),
            Self::Not(inner) => !inner.matches(item),
            Self::Compare(name, operator, literal) => operator.holds(&item.field(name), literal),
            Self::In(name, literals) => {
                let field = item.field(name);
                literals.iter().any(|literal| equal(&field, literal))
            }
            Self::Call(function, name, text) => match item.field(name) {
                Field::Text(own) => function.holds(&own, text),
                Field::List(items) => items.iter().any(|own| function.holds(own, text)),
                _ => false,
            },
            Self::Pair(left, operator, right) => operator.holds(&left.value(item), &right.value(item)),
            Self::Flag(flag) => *flag,
        }
    }
}

impl Operand {
    fn value<'a, T: Fields>(&'a self, item: &'a T) -> Cow<'a, Field<'a>> {
        match self {
            Self::Property(name) => Cow::Owned(item.field(name)),
            Self::Literal(literal) => Cow::Borrowed(literal),
            Self::Condition(filter) => Cow::Owned(Field::Flag(filter.matches(item))),
        }
    }
}

impl Operator {
    pub fn of(word: &str) -> Option<Self> {
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
    fn holds(self, left: &Field<'_>, right: &Field<'_>) -> bool {
        let order = order(left, right);
        match self {
            Self::Eq => equal(left, right),
            Self::Ne => !equal(left, right),
            Self::Gt => order == Some(Ordering::Greater),
            Self::Ge => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
            Self::Lt => order == Some(Ordering::Less),
            Self::Le => matches!(order, Some(Ordering::Less | Ordering::Equal)),
        }
    }
}

impl Function {
    pub fn of(word: &str) -> Option<Self> {
        Some(match word.to_ascii_lowercase().as_str() {
            "startswith" => Self::StartsWith,
            "endswith" => Self::EndsWith,
            "contains" => Self::Contains,
            _ => return None,
        })
    }

    fn holds(self, own: &str, text: &str) -> bool {
        match self {
            Self::StartsWith => own.starts_with(text),
            Self::EndsWith => own.ends_with(text),
            Self::Contains => own.contains(text),
        }
    }
}

fn equal(left: &Field<'_>, right: &Field<'_>) -> bool {
    match (left, right) {
        (Field::Null, Field::Null) => true,
        (Field::List(items), Field::Text(text)) | (Field::Text(text), Field::List(items)) => {
            items.iter().any(|item| item == text)
        }
        _ => order(left, right) == Some(Ordering::Equal),
    }
}

pub(super) fn order(a: &Field<'_>, b: &Field<'_>) -> Option<Ordering> {
    match (a, b) {
        (Field::Text(a), Field::Text(b)) => Some(a.cmp(b)),
        (Field::Number(a), Field::Number(b)) => a.partial_cmp(b),
        (Field::Flag(a), Field::Flag(b)) => Some(a.cmp(b)),
        (Field::Time(a), Field::Time(b)) => Some(a.cmp(b)),
        _ => None,
    }
}
