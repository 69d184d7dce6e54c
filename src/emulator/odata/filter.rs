//! The expression tree of a `$filter`, and its evaluation against an item.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::function::Function;
use super::{FieldValue, Queryable};

/// A condition of a `$filter`.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::emulator) enum Filter {
    And(Vec<Self>),
    Or(Vec<Self>),
    Not(Box<Self>),
    Compare(&'static str, Operator, FieldValue<'static>),
    In(&'static str, Vec<FieldValue<'static>>),
    /// A function that returns a boolean.
    FunctionCall(Function, Vec<Operand>),
    /// A comparison other than property with literal, such as a condition with `true`.
    CompareOperands(Box<Operand>, Operator, Box<Operand>),
    InOperand(Box<Operand>, Vec<FieldValue<'static>>),
    /// Whether any item of a list satisfies a condition, which may name the item.
    Any(&'static str, Box<Self>),
    All(&'static str, Box<Self>),
    Bool(bool),
}

/// One side of a comparison, or an argument of a function.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::emulator) enum Operand {
    Property(&'static str),
    /// The item that the lambda at this depth names. The outermost lambda has depth 0.
    Variable(usize),
    Literal(FieldValue<'static>),
    Condition(Filter),
    FunctionCall(Function, Vec<Self>),
    /// A sum or difference of numbers, times and time spans.
    Sum(Box<Self>, Sign, Box<Self>),
}

/// Whether the right side is added or subtracted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::emulator) enum Sign {
    Add,
    Sub,
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

impl Filter {
    /// Returns whether `item` satisfies the condition.
    pub fn matches<T: Queryable>(&self, item: &T) -> bool {
        self.holds(item, &[])
    }

    /// Returns whether `item` satisfies the condition within lambdas that name `variables`.
    fn holds<T: Queryable>(&self, item: &T, variables: &[&str]) -> bool {
        match self {
            Self::And(all) => all.iter().all(|filter| filter.holds(item, variables)),
            Self::Or(any) => any.iter().any(|filter| filter.holds(item, variables)),
            Self::Not(inner) => !inner.holds(item, variables),
            Self::Compare(name, operator, literal) => operator.evaluate(&item.field(name), literal),
            Self::In(name, literals) => {
                let field = item.field(name);
                literals.iter().any(|literal| values_equal(&field, literal))
            }
            Self::FunctionCall(function, arguments) => {
                call(*function, arguments, item, variables) == FieldValue::Bool(true)
            }
            Self::CompareOperands(left, operator, right) => {
                operator.evaluate(&left.value(item, variables), &right.value(item, variables))
            }
            Self::InOperand(operand, literals) => {
                let value = operand.value(item, variables);
                literals.iter().any(|literal| values_equal(&value, literal))
            }
            Self::Any(name, body) => {
                list_of(item, name).iter().any(|it| body.holds_for(item, variables, it))
            }
            Self::All(name, body) => {
                list_of(item, name).iter().all(|it| body.holds_for(item, variables, it))
            }
            Self::Bool(flag) => *flag,
        }
    }

    /// Returns whether the condition of a lambda holds for one item of its list.
    fn holds_for<T: Queryable>(&self, item: &T, variables: &[&str], variable: &str) -> bool {
        let mut inner = variables.to_vec();
        inner.push(variable);
        self.holds(item, &inner)
    }
}

impl Operand {
    fn value<'a, T: Queryable>(
        &'a self,
        item: &'a T,
        variables: &[&'a str],
    ) -> Cow<'a, FieldValue<'a>> {
        match self {
            Self::Property(name) => Cow::Owned(item.field(name)),
            Self::Variable(depth) => {
                let text = variables.get(*depth).copied();
                Cow::Owned(text.map_or(FieldValue::Null, |it| FieldValue::Text(Cow::Borrowed(it))))
            }
            Self::Literal(literal) => Cow::Borrowed(literal),
            Self::Condition(filter) => Cow::Owned(FieldValue::Bool(filter.holds(item, variables))),
            Self::FunctionCall(function, arguments) => {
                Cow::Owned(call(*function, arguments, item, variables))
            }
            Self::Sum(left, sign, right) => {
                Cow::Owned(sum(&left.value(item, variables), *sign, &right.value(item, variables)))
            }
        }
    }
}

fn call<T: Queryable>(
    function: Function,
    arguments: &[Operand],
    item: &T,
    variables: &[&str],
) -> FieldValue<'static> {
    let values: Vec<_> = arguments.iter().map(|it| it.value(item, variables)).collect();
    function.evaluate(&values)
}

fn list_of<T: Queryable>(item: &T, name: &'static str) -> Vec<String> {
    match item.field(name) {
        FieldValue::List(items) => items,
        _ => Vec::new(),
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

/// Returns a sum or difference. With null, it is null.
pub(super) fn sum(
    left: &FieldValue<'_>,
    sign: Sign,
    right: &FieldValue<'_>,
) -> FieldValue<'static> {
    let ticks = |a: i64, b: i64| match sign {
        Sign::Add => a.saturating_add(b),
        Sign::Sub => a.saturating_sub(b),
    };
    match (left, right) {
        (FieldValue::Number(a), FieldValue::Number(b)) => FieldValue::Number(match sign {
            Sign::Add => a + b,
            Sign::Sub => a - b,
        }),
        (FieldValue::Time(a), FieldValue::TimeSpan(b)) => FieldValue::Time(ticks(*a, *b)),
        (FieldValue::Time(a), FieldValue::Time(b))
        | (FieldValue::TimeSpan(a), FieldValue::TimeSpan(b)) => FieldValue::TimeSpan(ticks(*a, *b)),
        _ => FieldValue::Null,
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
        (FieldValue::Time(a), FieldValue::Time(b))
        | (FieldValue::TimeSpan(a), FieldValue::TimeSpan(b)) => Some(a.cmp(b)),
        _ => None,
    }
}
