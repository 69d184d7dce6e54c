//! Parses the operands of a `$filter`: literals, properties, functions and lambdas.

use std::borrow::Cow;

use super::filter::{Filter, Operand};
use super::function::Function;
use super::lexer::Token;
use super::operand::TypedOperand;
use super::parser::{Parser, describe_token};
use super::{FieldType, FieldValue};
use crate::emulator::clock::{MAX_SECONDS, Tick, ticks};

/// How a lambda refers to the item of the list that is filtered.
const ITEM: &str = "$it/";

impl Parser<'_> {
    pub fn parse_primary(&mut self, depth: usize) -> Result<TypedOperand, String> {
        let literal = |value, kind| Ok(TypedOperand::from_literal(value, kind));
        match self.next().cloned() {
            Some(Token::Open) => {
                let inner = self.parse_or(depth + 1)?;
                self.expect(&Token::Close)?;
                Ok(inner)
            }
            Some(Token::Text(text)) => literal(FieldValue::Text(Cow::Owned(text)), FieldType::Text),
            Some(Token::Guid(text)) => literal(FieldValue::Text(Cow::Owned(text)), FieldType::Guid),
            Some(Token::Number(number)) => literal(FieldValue::Number(number), FieldType::Number),
            Some(Token::Time(tick)) => literal(FieldValue::Time(tick), FieldType::Time),
            Some(Token::Word(word)) => match self.peek() {
                Some(Token::Open) => self.parse_parentheses(&word, depth),
                Some(Token::Text(_)) if word == "duration" => self.parse_time_span(),
                _ => self.parse_word(&word),
            },
            other => Err(format!(
                "Syntax error: an expression was expected, {} found.",
                describe_token(other.as_ref())
            )),
        }
    }

    /// Parses `null`, a boolean, the variable of a lambda or a property.
    fn parse_word(&mut self, word: &str) -> Result<TypedOperand, String> {
        let (operand, kind) = match word {
            "null" => (Operand::Literal(FieldValue::Null), None),
            "true" => (Operand::Literal(FieldValue::Bool(true)), Some(FieldType::Bool)),
            "false" => (Operand::Literal(FieldValue::Bool(false)), Some(FieldType::Bool)),
            _ => match self.variables.iter().position(|known| known == word) {
                Some(depth) => (Operand::Variable(depth), Some(FieldType::Text)),
                None => {
                    let (name, kind) = self.resolve_path(word)?;
                    (Operand::Property(name), Some(kind))
                }
            },
        };
        Ok(TypedOperand { operand, kind })
    }

    /// Parses a function or a lambda, after its name.
    fn parse_parentheses(&mut self, word: &str, depth: usize) -> Result<TypedOperand, String> {
        if let Some((property, lambda)) = word.rsplit_once('/') {
            return self.parse_lambda(property, lambda, depth);
        }
        if word.eq_ignore_ascii_case("now") {
            self.expect(&Token::Open)?;
            self.expect(&Token::Close)?;
            return Ok(TypedOperand::from_literal(FieldValue::Time(self.now), FieldType::Time));
        }
        let function = Function::from_word(word)
            .ok_or_else(|| format!("An unknown function with name '{word}' was found."))?;
        self.expect(&Token::Open)?;
        let (mut arguments, mut kinds) = (Vec::new(), Vec::new());
        loop {
            let argument = self.parse_or(depth + 1)?;
            arguments.push(argument.operand);
            kinds.push(argument.kind);
            match self.next() {
                Some(Token::Comma) => {}
                Some(Token::Close) => break,
                other => {
                    let found = describe_token(other);
                    return Err(format!("Syntax error: ',' or ')' expected, {found} found."));
                }
            }
        }
        if !function.accepts(&kinds) {
            return Err(no_signature(word, function));
        }
        let kind = function.result();
        if kind == FieldType::Bool {
            return Ok(TypedOperand::from_condition(Filter::FunctionCall(function, arguments)));
        }
        Ok(TypedOperand { operand: Operand::FunctionCall(function, arguments), kind: Some(kind) })
    }

    /// Parses the parentheses of `property/any` or `property/all`: `(x: condition)`.
    fn parse_lambda(
        &mut self,
        property: &str,
        lambda: &str,
        depth: usize,
    ) -> Result<TypedOperand, String> {
        let is_any = lambda.eq_ignore_ascii_case("any");
        if !is_any && !lambda.eq_ignore_ascii_case("all") {
            return Err(format!("An unknown function with name '{lambda}' was found."));
        }
        let (name, kind) = self.resolve_path(property)?;
        if kind != FieldType::List {
            return Err(format!("Any/All may only be used following a collection, not '{name}'."));
        }
        self.expect(&Token::Open)?;
        if is_any && self.peek() == Some(&Token::Close) {
            self.next();
            let not_empty = Filter::Any(name, Box::new(Filter::Bool(true)));
            return Ok(TypedOperand::from_condition(not_empty));
        }
        let variable = self.parse_variable()?;
        self.variables.push(variable);
        let body = self.parse_or(depth + 1)?;
        self.variables.pop();
        self.expect(&Token::Close)?;
        let body = body.into_condition().map_err(|kind| {
            format!("The body of the lambda expression must be 'Edm.Boolean', not '{kind}'.")
        })?;
        let filter = if is_any { Filter::Any } else { Filter::All };
        Ok(TypedOperand::from_condition(filter(name, Box::new(body))))
    }

    /// Parses `x:`.
    fn parse_variable(&mut self) -> Result<String, String> {
        let variable = match self.next().cloned() {
            Some(Token::Word(word)) if !word.contains(['/', '.', '$']) => word,
            other => {
                let found = describe_token(other.as_ref());
                return Err(format!(
                    "Syntax error: the variable of a lambda was expected, {found} found."
                ));
            }
        };
        if self.variables.contains(&variable) {
            return Err(format!("The range variable '{variable}' has already been declared."));
        }
        self.expect(&Token::Colon)?;
        Ok(variable)
    }

    /// Returns the property of a path. Its properties have no properties of their own.
    fn resolve_path(&self, path: &str) -> Result<(&'static str, FieldType), String> {
        let path = path.strip_prefix(ITEM).unwrap_or(path);
        match path.split_once('/') {
            None => self.resolve_property(path),
            Some((first, rest)) => {
                let kind = if self.variables.iter().any(|known| known == first) {
                    FieldType::Text
                } else {
                    self.resolve_property(first)?.1
                };
                let type_name = kind.name();
                Err(format!("Could not find a property named '{rest}' on type '{type_name}'."))
            }
        }
    }

    /// Parses the text of `duration'PT1H'`.
    fn parse_time_span(&mut self) -> Result<TypedOperand, String> {
        let Some(Token::Text(text)) = self.next().cloned() else {
            return Err("Syntax error: a duration was expected.".to_owned());
        };
        let span = time_span(&text)
            .ok_or_else(|| format!("Unrecognized 'duration'{text}'' literal in the filter."))?;
        Ok(TypedOperand::from_literal(FieldValue::TimeSpan(span), FieldType::TimeSpan))
    }
}

/// Parses days, hours, minutes and seconds, such as `P1DT12H`.
fn time_span(text: &str) -> Option<Tick> {
    let (sign, rest) = text.strip_prefix('-').map_or((1.0, text), |rest| (-1.0, rest));
    let rest = rest.strip_prefix('P').filter(|rest| !rest.is_empty())?;
    let (days, clock) = match rest.split_once('T') {
        Some((_, "")) => return None,
        Some((days, clock)) => (days, clock),
        None => (rest, ""),
    };
    let total = sum_units(days, &[('D', 86_400.0)])?
        + sum_units(clock, &[('H', 3600.0), ('M', 60.0), ('S', 1.0)])?;
    (total <= MAX_SECONDS).then(|| ticks(sign * total))
}

/// Adds up numbers that each have a unit after them. The units come in the given order.
fn sum_units(mut text: &str, units: &[(char, f64)]) -> Option<f64> {
    let mut total = 0.0;
    for (unit, seconds) in units {
        let Some((number, rest)) = text.split_once(*unit) else { continue };
        let has_digits_only = number.chars().all(|c| c.is_ascii_digit() || c == '.');
        total += number.parse::<f64>().ok().filter(|_| has_digits_only)? * seconds;
        text = rest;
    }
    text.is_empty().then_some(total)
}

/// Returns the service's error for arguments of wrong types.
fn no_signature(word: &str, function: Function) -> String {
    let parameters: Vec<_> =
        function.parameters().iter().map(|kind| format!("{} Nullable=true", kind.name())).collect();
    format!(
        "No function signature for the function with name '{word}' matches the specified \
         arguments. The function signatures considered are: {word}({}).",
        parameters.join(", ")
    )
}
