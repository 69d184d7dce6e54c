//! The expression tree of a `$filter`, and its evaluation against an item.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::{FieldValue, Queryable};

/// A condition of a `$filter`.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::emulator) enum Filter {
    And(Vec<Self>),
    Or(Vec<Self>),
    Not(Box<Self>),
    Compare(&'static str, Operator, FieldValue<'static>),
    In(&'static str, Vec<FieldValue<'static>>),
    FunctionCall(Function, &'static str, String),
    /// A comparison other than property with literal, such as a condition with `true`.
    CompareOperands(Box<Operand>, Operator, Box<Operand>),
    Bool(bool),
}

/// One side of a comparison.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::emulator) enum Operand {
    Property(&'static str),
    Literal(FieldValue<'static>),
    Condition(Filter),
}

/// A comparison operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::emulator) enum Operator {
    Eq,
    Ne,
    Gt,
    Ge,
    Lt,
    Le,
}

/// A function of a string property and a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::emulator) enum Function {
    StartsWith,
    EndsWith,
    Contains,
}

impl Filter {
    /// Returns whether `item` satisfies the condition.
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
                FieldValue::Text(value) => function.evaluate(&value, text),
                FieldValue::List(items) => items.iter().any(|item| function.evaluate(item, text)),
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

    /// Returns the operator's name in the service's error messages.
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

    /// Returns the operator that gives the same result with the two sides swapped.
    pub fn flipped(self) -> Self {
        match self {
            Self::Eq | Self::Ne => self,
            Self::Gt => Self::Lt,
            Self::Ge => Self::Le,
            Self::Lt => Self::Gt,
            Self::Le => Self::Ge,
        }
    }

    fn evaluate(self, left: &FieldValue<'_>, right: &FieldValue<'_>) -> bool {
        // OData: null equals only null, and every `gt`, `ge`, `lt` or `le` with null is false.
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

    fn evaluate(self, value: &str, text: &str) -> bool {
        match self {
            Self::StartsWith => value.starts_with(text),
            Self::EndsWith => value.ends_with(text),
            Self::Contains => value.contains(text),
        }
    }
}

fn values_equal(left: &FieldValue<'_>, right: &FieldValue<'_>) -> bool {
    match (left, right) {
        (FieldValue::Null, FieldValue::Null) => true,
        // A list equals a string that it contains: `machineTags eq 'red'` finds machines with that
        // tag.
        (FieldValue::List(items), FieldValue::Text(text))
        | (FieldValue::Text(text), FieldValue::List(items)) => {
            items.iter().any(|item| item == text)
        }
        _ => compare_values(left, right) == Some(Ordering::Equal),
    }
}

/// Compares two values of the same type. Values of different types have no order.
pub(super) fn compare_values(a: &FieldValue<'_>, b: &FieldValue<'_>) -> Option<Ordering> {
    match (a, b) {
        (FieldValue::Text(a), FieldValue::Text(b)) => Some(a.cmp(b)),
        (FieldValue::Number(a), FieldValue::Number(b)) => a.partial_cmp(b),
        (FieldValue::Bool(a), FieldValue::Bool(b)) => Some(a.cmp(b)),
        (FieldValue::Time(a), FieldValue::Time(b)) => Some(a.cmp(b)),
        _ => None,
    }
}
