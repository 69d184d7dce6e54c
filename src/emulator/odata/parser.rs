//! Parses the operators of a `$filter`, with OData's precedence and types: `or`, `and`,
//! comparisons, `add`, `sub`, `not` and `in`.

use super::filter::{Filter, Operand, Operator, Sign};
use super::lexer::{Token, tokenize};
use super::operand::{TypedOperand, combine, compare, incompatible, normalize_literal};
use super::{FieldType, Queryable};
use crate::emulator::clock::Tick;

/// The deepest nesting that is accepted.
// The parser recurses, so unlimited nesting would overflow the stack.
pub(super) const MAX_DEPTH: usize = 60;

pub(super) struct Parser<'a> {
    tokens: &'a [Token],
    property: fn(&str) -> Option<(&'static str, FieldType)>,
    /// The value of `now()`.
    pub now: Tick,
    /// The names of the items of the lambdas around the present token, outermost first.
    pub variables: Vec<String>,
}

impl Filter {
    /// Parses `text`. The error is a message in the service's style.
    pub fn parse<T: Queryable>(text: &str, now: Tick) -> Result<Self, String> {
        let tokens = tokenize(text)?;
        let variables = Vec::new();
        let mut parser = Parser { tokens: &tokens, property: T::filterable, now, variables };
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
    pub fn next(&mut self) -> Option<&Token> {
        let (first, rest) = self.tokens.split_first()?;
        self.tokens = rest;
        Some(first)
    }

    /// Returns the next token without consuming it.
    pub fn peek(&self) -> Option<&Token> {
        self.tokens.first()
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

    pub fn expect(&mut self, expected: &Token) -> Result<(), String> {
        match self.next() {
            Some(token) if token == expected => Ok(()),
            other => {
                Err(format!("Syntax error: {expected} expected, {} found.", describe_token(other)))
            }
        }
    }

    pub fn parse_or(&mut self, depth: usize) -> Result<TypedOperand, String> {
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
        let mut left = self.parse_sum(depth)?;
        // A chain `a eq b eq c` nests the left side once more with each operator, so it counts as
        // depth.
        for nested in depth.. {
            let Some(operator) = self.take_operator() else { break };
            let right = self.parse_sum(nested)?;
            left = TypedOperand::from_condition(compare(left, operator, right)?);
        }
        Ok(left)
    }

    fn parse_sum(&mut self, depth: usize) -> Result<TypedOperand, String> {
        let mut left = self.parse_unary(depth)?;
        for nested in depth.. {
            let sign = if self.take_word("add") {
                Sign::Add
            } else if self.take_word("sub") {
                Sign::Sub
            } else {
                break;
            };
            left = combine(left, sign, self.parse_unary(nested)?)?;
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

    /// Parses the list after `in`.
    fn parse_in_list(&mut self, left: TypedOperand) -> Result<TypedOperand, String> {
        let (operand, Some(kind)) = (left.operand, left.kind) else {
            return Err("Syntax error: a property was expected before 'in'.".to_owned());
        };
        if matches!(operand, Operand::Literal(_)) {
            return Err("Syntax error: a property was expected before 'in'.".to_owned());
        }
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
                Some(Token::Close) => break,
                other => {
                    return Err(format!(
                        "Syntax error: ',' or ')' expected, {} found.",
                        describe_token(other)
                    ));
                }
            }
        }
        Ok(TypedOperand::from_condition(match operand {
            Operand::Property(name) => Filter::In(name, literals),
            other => Filter::InOperand(Box::new(other), literals),
        }))
    }

    pub fn resolve_property(&self, word: &str) -> Result<(&'static str, FieldType), String> {
        (self.property)(word).ok_or_else(|| {
            format!(
                "Could not find a property named '{word}' that $filter supports. Put a string in \
                 single quotes."
            )
        })
    }
}

pub(super) fn describe_token(token: Option<&Token>) -> String {
    token.map_or_else(|| "the end".to_owned(), ToString::to_string)
}
