//! Operands of a filter expression with their types, and the comparisons that OData allows.

use std::borrow::Cow;

use super::filter::{Filter, Operand, Operator, Sign, sum};
use super::{FieldType, FieldValue};

/// A part of an expression with its type. `null` has no type.
pub(super) struct TypedOperand {
    pub operand: Operand,
    pub kind: Option<FieldType>,
}

impl TypedOperand {
    pub fn from_literal(literal: FieldValue<'static>, kind: FieldType) -> Self {
        Self { operand: Operand::Literal(literal), kind: Some(kind) }
    }

    pub fn from_condition(filter: Filter) -> Self {
        Self { operand: Operand::Condition(filter), kind: Some(FieldType::Bool) }
    }

    pub fn type_name(&self) -> &'static str {
        self.kind.map_or("<null>", FieldType::name)
    }

    /// Returns the operand as a condition, or the name of its type if it is not boolean.
    pub fn into_condition(self) -> Result<Filter, &'static str> {
        match (self.operand, self.kind) {
            (Operand::Condition(filter), _) => Ok(filter),
            (Operand::Literal(FieldValue::Bool(flag)), _) => Ok(Filter::Bool(flag)),
            (Operand::Property(name), Some(FieldType::Bool)) => {
                Ok(Filter::Compare(name, Operator::Eq, FieldValue::Bool(true)))
            }
            (_, kind) => Err(kind.map_or("<null>", FieldType::name)),
        }
    }
}

/// Builds the comparison of two operands, or the service's error for types that do not fit.
pub(super) fn compare(
    left: TypedOperand,
    operator: Operator,
    right: TypedOperand,
) -> Result<Filter, String> {
    let is_equality = matches!(operator, Operator::Eq | Operator::Ne);
    let comparable = match (left.kind, right.kind) {
        (Some(FieldType::List), other) | (other, Some(FieldType::List)) => {
            is_equality && matches!(other, None | Some(FieldType::Text))
        }
        (Some(a), Some(b)) => a.compares_with(b),
        _ => true,
    };
    if !comparable {
        return Err(incompatible(left.type_name(), right.type_name(), operator.name()));
    }
    Ok(match (left.operand, right.operand) {
        (Operand::Property(name), Operand::Literal(literal)) => Filter::Compare(
            name,
            operator,
            left.kind.map_or(FieldValue::Null, |kind| normalize_literal(literal, kind)),
        ),
        (Operand::Literal(literal), Operand::Property(name)) => Filter::Compare(
            name,
            operator.flipped(),
            right.kind.map_or(FieldValue::Null, |kind| normalize_literal(literal, kind)),
        ),
        (left, right) => Filter::CompareOperands(Box::new(left), operator, Box::new(right)),
    })
}

/// Builds a sum or difference, or the service's error for types that do not fit.
pub(super) fn combine(
    left: TypedOperand,
    sign: Sign,
    right: TypedOperand,
) -> Result<TypedOperand, String> {
    let kind = match (left.kind, sign, right.kind) {
        (Some(FieldType::Number), _, Some(FieldType::Number)) => FieldType::Number,
        (Some(FieldType::Time), _, Some(FieldType::TimeSpan)) => FieldType::Time,
        (Some(FieldType::Time), Sign::Sub, Some(FieldType::Time))
        | (Some(FieldType::TimeSpan), _, Some(FieldType::TimeSpan)) => FieldType::TimeSpan,
        _ => {
            let name = if sign == Sign::Add { "Add" } else { "Subtract" };
            return Err(incompatible(left.type_name(), right.type_name(), name));
        }
    };
    let operand = match (left.operand, right.operand) {
        (Operand::Literal(a), Operand::Literal(b)) => Operand::Literal(sum(&a, sign, &b)),
        (a, b) => Operand::Sum(Box::new(a), sign, Box::new(b)),
    };
    Ok(TypedOperand { operand, kind: Some(kind) })
}

/// Returns a literal in the form that the property's values have: a GUID in lower case.
pub(super) fn normalize_literal(
    literal: FieldValue<'static>,
    kind: FieldType,
) -> FieldValue<'static> {
    match literal {
        FieldValue::Text(text) if kind == FieldType::Key => {
            FieldValue::Text(Cow::Owned(text.to_ascii_lowercase()))
        }
        other => other,
    }
}

/// Returns the error for operands of different types.
pub(super) fn incompatible(left: &str, right: &str, operator: &str) -> String {
    format!(
        "A binary operator with incompatible types was detected. Found operand types '{left}' and \
         '{right}' for operator kind '{operator}'."
    )
}
