//! Parses `$filter`: comparisons, `and`, `or`, `not`, `in`, `any`, `startswith`, `endswith`,
//! `contains` and parentheses, with OData's precedence and types.

use std::borrow::Cow;

use super::filter::{Filter, Function, Operand, Operator};
use super::lexer::{Token, tokenize};
use super::operand::{TypedOperand, compare, incompatible, normalize_literal};
use super::{FieldType, FieldValue, Queryable};

/// The deepest nesting that is accepted.
// The parser recurses, so unlimited nesting would overflow the stack.
const MAX_DEPTH: usize = 60;

struct Parser<'a> {
    tokens: &'a [Token],
    property: fn(&str) -> Option<(&'static str, FieldType)>,
}

impl Filter {
    /// Parses `text`. The error is a message in the service's style.
    pub fn parse<T: Queryable>(text: &str) -> Result<Self, String> {
        let tokens = tokenize(text)?;
        let mut parser = Parser { tokens: &tokens, property: T::filterable };
        let expression = parser.parse_or(0)?;
        if let Some(token) = parser.tokens.first() {
            return Err(format!("Syntax error at {token} in '{text}'."));
        }
        expression.into_condition().map_err(|_| {
            "The $filter expression must evaluate to a single boolean value.".to_owned()
        })
    }
}

impl Parser<'_> {
    fn next(&mut self) -> Option<&Token> {
        let (first, rest) = self.tokens.split_first()?;
        self.tokens = rest;
        Some(first)
    }

    /// Consumes and returns the next token if it is a word.
    fn next_if_word(&mut self) -> Option<Token> {
        let word = self.tokens.first().filter(|token| matches!(token, Token::Word(_))).cloned();
        if word.is_some() {
            self.next();
        }
        word
    }

    /// Consumes the next token if it is the keyword `expected`.
    fn take_word(&mut self, expected: &str) -> bool {
        let found = matches!(
            self.tokens.first(),
            Some(Token::Word(word)) if word.eq_ignore_ascii_case(expected)
        );
        if found {
            self.next();
        }
        found
    }

    /// Consumes the next token if it is a comparison operator.
    fn take_operator(&mut self) -> Option<Operator> {
        let Some(Token::Word(word)) = self.tokens.first() else { return None };
        let operator = Operator::from_word(word)?;
        self.next();
        Some(operator)
    }

    fn expect(&mut self, expected: &Token) -> Result<(), String> {
        match self.next() {
            Some(token) if token == expected => Ok(()),
            other => {
                Err(format!("Syntax error: {expected} expected, {} found.", describe_token(other)))
            }
        }
    }

    fn parse_or(&mut self, depth: usize) -> Result<TypedOperand, String> {
        self.parse_joined("or", "Or", Filter::Or, |parser| parser.parse_and(depth))
    }

    fn parse_and(&mut self, depth: usize) -> Result<TypedOperand, String> {
        self.parse_joined("and", "And", Filter::And, |parser| parser.parse_comparison(depth))
    }

    /// Parses one part, or several conditions joined by `word`.
    fn parse_joined(
        &mut self,
        word: &str,
        operator: &str,
        combine: fn(Vec<Filter>) -> Filter,
        parse_part: impl Fn(&mut Self) -> Result<TypedOperand, String>,
    ) -> Result<TypedOperand, String> {
        let first = parse_part(self)?;
        if !self.take_word(word) {
            return Ok(first);
        }
        let mut parts = vec![first, parse_part(self)?];
        while self.take_word(word) {
            parts.push(parse_part(self)?);
        }
        let conditions = parts.into_iter().map(|part| {
            part.into_condition()
                .map_err(|other| incompatible(FieldType::Bool.name(), other, operator))
        });
        Ok(TypedOperand::from_condition(combine(conditions.collect::<Result<_, _>>()?)))
    }

    fn parse_comparison(&mut self, depth: usize) -> Result<TypedOperand, String> {
        let mut left = self.parse_unary(depth)?;
        // A chain `a eq b eq c` nests the left side once more with each operator, so it counts as
        // depth.
        for nested in depth.. {
            let Some(operator) = self.take_operator() else { break };
            let right = self.parse_unary(nested)?;
            left = TypedOperand::from_condition(compare(left, operator, right)?);
        }
        Ok(left)
    }

    fn parse_unary(&mut self, depth: usize) -> Result<TypedOperand, String> {
        if depth > MAX_DEPTH {
            return Err("The node count limit of the filter has been exceeded.".to_owned());
        }
        if !self.take_word("not") {
            let left = self.parse_primary(depth)?;
            return if self.take_word("in") { self.parse_in_list(left) } else { Ok(left) };
        }
        // In OData `not` binds more tightly than a comparison, so it takes the next operand alone.
        let inner = self.parse_unary(depth + 1)?.into_condition().map_err(|kind| {
            format!(
                "A unary operator with an incompatible type was detected. Found operand type \
                 '{kind}' for operator kind 'Not'."
            )
        })?;
        Ok(TypedOperand::from_condition(Filter::Not(Box::new(inner))))
    }

    fn parse_primary(&mut self, depth: usize) -> Result<TypedOperand, String> {
        let literal = |field: FieldValue<'static>, kind| {
            Ok(TypedOperand { operand: Operand::Literal(field), kind })
        };
        match self.next().cloned() {
            Some(Token::Open) => {
                let inner = self.parse_or(depth + 1)?;
                self.expect(&Token::Close)?;
                Ok(inner)
            }
            Some(Token::Text(text)) => {
                literal(FieldValue::Text(Cow::Owned(text)), Some(FieldType::Text))
            }
            Some(Token::Guid(text)) => {
                literal(FieldValue::Text(Cow::Owned(text)), Some(FieldType::Guid))
            }
            Some(Token::Number(number)) => {
                literal(FieldValue::Number(number), Some(FieldType::Number))
            }
            Some(Token::Time(tick)) => literal(FieldValue::Time(tick), Some(FieldType::Time)),
            Some(Token::Word(word)) if self.tokens.first() == Some(&Token::Open) => {
                match any_property(&word) {
                    Some(property) => self.parse_any(property),
                    None => self.parse_call(&word),
                }
            }
            Some(Token::Word(word)) => match word.as_str() {
                "null" => literal(FieldValue::Null, None),
                "true" => literal(FieldValue::Bool(true), Some(FieldType::Bool)),
                "false" => literal(FieldValue::Bool(false), Some(FieldType::Bool)),
                _ => {
                    let (name, kind) = self.resolve_property(&word)?;
                    Ok(TypedOperand { operand: Operand::Property(name), kind: Some(kind) })
                }
            },
            other => Err(format!(
                "Syntax error: an expression was expected, {} found.",
                describe_token(other.as_ref())
            )),
        }
    }

    /// Parses the parentheses of a function: a property and a string.
    fn parse_call(&mut self, word: &str) -> Result<TypedOperand, String> {
        let function = Function::from_word(word)
            .ok_or_else(|| format!("An unknown function with name '{word}' was found."))?;
        self.expect(&Token::Open)?;
        let property = match self.next().cloned() {
            Some(Token::Word(name)) => self.resolve_property(&name)?,
            other => {
                return Err(format!(
                    "Syntax error: a property was expected, {} found.",
                    describe_token(other.as_ref())
                ));
            }
        };
        self.expect(&Token::Comma)?;
        match (property, self.next()) {
            (
                (name, FieldType::Text | FieldType::List | FieldType::Key),
                Some(Token::Text(text)),
            ) => {
                let call = Filter::FunctionCall(function, name, text.clone());
                self.expect(&Token::Close)?;
                Ok(TypedOperand::from_condition(call))
            }
            _ => Err(format!(
                "No function signature for the function with name '{word}' matches the specified \
                 arguments. The function signatures considered are: {word}(Edm.String \
                 Nullable=true, Edm.String Nullable=true)."
            )),
        }
    }

    /// Parses the parentheses of `property/any`: a variable that equals a text.
    fn parse_any(&mut self, property: &str) -> Result<TypedOperand, String> {
        let (name, kind) = self.resolve_property(property)?;
        if kind != FieldType::List {
            return Err(format!("Any/All may only be used following a collection, not '{name}'."));
        }
        self.expect(&Token::Open)?;
        // The variable, a colon and the variable again, with blanks or without.
        let mut words = String::new();
        while let Some(Token::Word(word)) = self.next_if_word() {
            if word.eq_ignore_ascii_case("eq") {
                return self.parse_any_value(name, &words);
            }
            words += &word;
        }
        Err("Syntax error: 'eq' expected in the lambda expression.".to_owned())
    }

    fn parse_any_value(&mut self, name: &'static str, words: &str) -> Result<TypedOperand, String> {
        let is_variable = words
            .split_once(':')
            .is_some_and(|(declared, used)| !declared.is_empty() && declared == used);
        if !is_variable {
            return Err(format!("Could not find a property named '{words}'."));
        }
        let Some(Token::Text(text)) = self.next().cloned() else {
            return Err("Syntax error: a string was expected in the lambda expression.".to_owned());
        };
        self.expect(&Token::Close)?;
        // A list equals a text that it contains.
        let condition = Filter::Compare(name, Operator::Eq, FieldValue::Text(text.into()));
        Ok(TypedOperand::from_condition(condition))
    }

    /// Parses the list after `in`.
    fn parse_in_list(&mut self, left: TypedOperand) -> Result<TypedOperand, String> {
        let (Operand::Property(name), Some(kind)) = (left.operand, left.kind) else {
            return Err("Syntax error: a property was expected before 'in'.".to_owned());
        };
        self.expect(&Token::Open)?;
        let mut literals = Vec::new();
        loop {
            let item = self.parse_primary(MAX_DEPTH)?;
            if !item.kind.is_none_or(|other| kind.compares_with(other)) {
                return Err(incompatible(kind.name(), item.type_name(), "In"));
            }
            let Operand::Literal(literal) = item.operand else {
                return Err("Syntax error: a literal was expected after 'in'.".to_owned());
            };
            literals.push(normalize_literal(literal, kind));
            match self.next() {
                Some(Token::Comma) => {}
                Some(Token::Close) => {
                    return Ok(TypedOperand::from_condition(Filter::In(name, literals)));
                }
                other => {
                    return Err(format!(
                        "Syntax error: ',' or ')' expected, {} found.",
                        describe_token(other)
                    ));
                }
            }
        }
    }

    fn resolve_property(&self, word: &str) -> Result<(&'static str, FieldType), String> {
        (self.property)(word).ok_or_else(|| {
            format!(
                "Could not find a property named '{word}' that $filter supports. Put a string in \
                 single quotes."
            )
        })
    }
}

/// Returns the property of `property/any`.
fn any_property(word: &str) -> Option<&str> {
    let (property, function) = word.rsplit_once('/')?;
    function.eq_ignore_ascii_case("any").then_some(property)
}

fn describe_token(token: Option<&Token>) -> String {
    token.map_or_else(|| "the end".to_owned(), ToString::to_string)
}
