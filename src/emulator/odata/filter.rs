//! `$filter`: eq, ne, gt, ge, lt, le, and, or, not, in, startswith, endswith, contains, parentheses.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::lexer::{Token, tokens};
use super::{Field, Fields};

/// Nesting deeper than this is refused.
const DEEPEST: usize = 60;

#[derive(Clone, Debug, PartialEq)]
pub(in crate::emulator) enum Filter {
    And(Vec<Self>),
    Or(Vec<Self>),
    Not(Box<Self>),
    Compare(&'static str, Operator, Field<'static>),
    In(&'static str, Vec<Field<'static>>),
    Call(Function, &'static str, String),
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
    /// Reads `text`; what is wrong with it is told as the service would tell it.
    pub fn parse<T: Fields>(text: &str) -> Result<Self, String> {
        let tokens = tokens(text)?;
        let mut parser = Parser { tokens: &tokens, property: T::filterable };
        let filter = parser.or(0)?;
        match parser.tokens.first() {
            None => Ok(filter),
            Some(token) => Err(format!("Syntax error at {token:?} in '{text}'.")),
        }
    }

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
        }
    }
}

impl Operator {
    fn of(word: &str) -> Option<Self> {
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

    /// Unlike kinds are unequal and in no order.
    fn holds(self, field: &Field<'_>, literal: &Field<'_>) -> bool {
        let order = order(field, literal);
        match self {
            Self::Eq => equal(field, literal),
            Self::Ne => !equal(field, literal),
            Self::Gt => order == Some(Ordering::Greater),
            Self::Ge => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
            Self::Lt => order == Some(Ordering::Less),
            Self::Le => matches!(order, Some(Ordering::Less | Ordering::Equal)),
        }
    }
}

impl Function {
    fn of(word: &str) -> Option<Self> {
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

fn equal(field: &Field<'_>, literal: &Field<'_>) -> bool {
    match (field, literal) {
        (Field::List(items), Field::Text(text)) => items.iter().any(|item| item == text),
        _ => order(field, literal) == Some(Ordering::Equal),
    }
}

pub(super) fn order(a: &Field<'_>, b: &Field<'_>) -> Option<Ordering> {
    match (a, b) {
        (Field::Null, Field::Null) => Some(Ordering::Equal),
        (Field::Text(a), Field::Text(b)) => Some(a.cmp(b)),
        (Field::Number(a), Field::Number(b)) => a.partial_cmp(b),
        (Field::Flag(a), Field::Flag(b)) => Some(a.cmp(b)),
        (Field::Time(a), Field::Time(b)) => Some(a.cmp(b)),
        _ => None,
    }
}

struct Parser<'a> {
    tokens: &'a [Token],
    property: fn(&str) -> Option<&'static str>,
}

impl Parser<'_> {
    fn next(&mut self) -> Option<&Token> {
        let (first, rest) = self.tokens.split_first()?;
        self.tokens = rest;
        Some(first)
    }

    fn take_word(&mut self, wanted: &str) -> bool {
        let found = matches!(self.tokens.first(), Some(Token::Word(word)) if word.eq_ignore_ascii_case(wanted));
        if found {
            self.next();
        }
        found
    }

    fn expect(&mut self, wanted: &Token) -> Result<(), String> {
        match self.next() {
            Some(token) if token == wanted => Ok(()),
            other => Err(format!("Syntax error: {wanted:?} expected, {other:?} found.")),
        }
    }

    fn or(&mut self, depth: usize) -> Result<Filter, String> {
        let first = self.and(depth)?;
        let mut any = vec![first];
        while self.take_word("or") {
            any.push(self.and(depth)?);
        }
        Ok(one_or(any, Filter::Or))
    }

    fn and(&mut self, depth: usize) -> Result<Filter, String> {
        let first = self.not(depth)?;
        let mut all = vec![first];
        while self.take_word("and") {
            all.push(self.not(depth)?);
        }
        Ok(one_or(all, Filter::And))
    }

    fn not(&mut self, depth: usize) -> Result<Filter, String> {
        if depth > DEEPEST {
            return Err("The node count limit of the filter has been exceeded.".to_owned());
        }
        if self.take_word("not") {
            return Ok(Filter::Not(Box::new(self.not(depth + 1)?)));
        }
        if self.tokens.first() == Some(&Token::Open) {
            self.next();
            let inner = self.or(depth + 1)?;
            self.expect(&Token::Close)?;
            return Ok(inner);
        }
        self.term()
    }

    fn term(&mut self) -> Result<Filter, String> {
        let Some(Token::Word(word)) = self.next().cloned() else {
            return Err("Syntax error: a property was expected.".to_owned());
        };
        if self.tokens.first() == Some(&Token::Open) {
            let function =
                Function::of(&word).ok_or_else(|| format!("An unknown function with name '{word}' was found."))?;
            return self.call(function);
        }
        let name = self.property(&word)?;
        let Some(Token::Word(operator)) = self.next().cloned() else {
            return Err(format!("Syntax error: an operator was expected after '{word}'."));
        };
        if operator.eq_ignore_ascii_case("in") {
            return Ok(Filter::In(name, self.list()?));
        }
        let operator =
            Operator::of(&operator).ok_or_else(|| format!("Syntax error: '{operator}' is not an operator."))?;
        Ok(Filter::Compare(name, operator, self.literal()?))
    }

    fn call(&mut self, function: Function) -> Result<Filter, String> {
        self.expect(&Token::Open)?;
        let Some(Token::Word(word)) = self.next().cloned() else {
            return Err("Syntax error: a property was expected.".to_owned());
        };
        let name = self.property(&word)?;
        self.expect(&Token::Comma)?;
        let Field::Text(text) = self.literal()? else {
            return Err("Syntax error: a string was expected.".to_owned());
        };
        self.expect(&Token::Close)?;
        Ok(Filter::Call(function, name, text.into_owned()))
    }

    fn list(&mut self) -> Result<Vec<Field<'static>>, String> {
        self.expect(&Token::Open)?;
        let mut literals = vec![self.literal()?];
        loop {
            match self.next() {
                Some(Token::Comma) => literals.push(self.literal()?),
                Some(Token::Close) => return Ok(literals),
                other => return Err(format!("Syntax error: ',' or ')' expected, {other:?} found.")),
            }
        }
    }

    fn literal(&mut self) -> Result<Field<'static>, String> {
        match self.next() {
            Some(Token::Text(text)) => Ok(Field::Text(Cow::Owned(text.clone()))),
            Some(Token::Number(number)) => Ok(Field::Number(*number)),
            Some(Token::Time(tick)) => Ok(Field::Time(*tick)),
            Some(Token::Word(word)) => match word.as_str() {
                "null" => Ok(Field::Null),
                "true" => Ok(Field::Flag(true)),
                "false" => Ok(Field::Flag(false)),
                _ => Err(format!("Could not find a property named '{word}'. A string literal has quotes.")),
            },
            other => Err(format!("Syntax error: a literal was expected, {other:?} found.")),
        }
    }

    fn property(&self, word: &str) -> Result<&'static str, String> {
        (self.property)(word)
            .ok_or_else(|| format!("Could not find a property named '{word}' that can be filtered by."))
    }
}

fn one_or(mut filters: Vec<Filter>, many: fn(Vec<Filter>) -> Filter) -> Filter {
    match filters.pop() {
        Some(only) if filters.is_empty() => only,
        Some(last) => {
            filters.push(last);
            many(filters)
        }
        None => many(filters),
    }
}
