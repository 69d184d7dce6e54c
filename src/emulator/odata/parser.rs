//! `$filter`: eq, ne, gt, ge, lt, le, and, or, not, in, startswith, endswith, contains, parentheses; with OData's
//! precedence (`not` binds closer than a comparison) and its types.

use std::borrow::Cow;

use super::filter::{Filter, Function, Operand, Operator};
use super::lexer::{Token, tokens};
use super::{Field, Fields, Kind};

/// Nesting deeper than this is refused.
const DEEPEST: usize = 60;

/// A part of an expression with its type, which `null` has none of.
struct Typed {
    operand: Operand,
    kind: Option<Kind>,
}

struct Parser<'a> {
    tokens: &'a [Token],
    property: fn(&str) -> Option<(&'static str, Kind)>,
}

impl Filter {
    /// Reads `text`; what is wrong with it is told as the service would tell it.
    pub fn parse<T: Fields>(text: &str) -> Result<Self, String> {
        let tokens = tokens(text)?;
        let mut parser = Parser { tokens: &tokens, property: T::filterable };
        let expression = parser.or(0)?;
        if let Some(token) = parser.tokens.first() {
            return Err(format!("Syntax error at {token} in '{text}'."));
        }
        expression.condition().map_err(|_| "The $filter expression must evaluate to a single boolean value.".to_owned())
    }
}

impl Typed {
    fn of(filter: Filter) -> Self {
        Self { operand: Operand::Condition(filter), kind: Some(Kind::Flag) }
    }

    fn type_name(&self) -> &'static str {
        self.kind.map_or("<null>", Kind::name)
    }

    /// As something that holds or does not; else the name of its type.
    fn condition(self) -> Result<Filter, &'static str> {
        match (self.operand, self.kind) {
            (Operand::Condition(filter), _) => Ok(filter),
            (Operand::Literal(Field::Flag(flag)), _) => Ok(Filter::Flag(flag)),
            (Operand::Property(name), Some(Kind::Flag)) => Ok(Filter::Compare(name, Operator::Eq, Field::Flag(true))),
            (_, kind) => Err(kind.map_or("<null>", Kind::name)),
        }
    }
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

    fn take_operator(&mut self) -> Option<Operator> {
        let Some(Token::Word(word)) = self.tokens.first() else { return None };
        let operator = Operator::of(word)?;
        self.next();
        Some(operator)
    }

    fn expect(&mut self, wanted: &Token) -> Result<(), String> {
        match self.next() {
            Some(token) if token == wanted => Ok(()),
            other => Err(format!("Syntax error: {wanted} expected, {} found.", shown(other))),
        }
    }

    fn or(&mut self, depth: usize) -> Result<Typed, String> {
        self.joined("or", "Or", Filter::Or, |parser| parser.and(depth))
    }

    fn and(&mut self, depth: usize) -> Result<Typed, String> {
        self.joined("and", "And", Filter::And, |parser| parser.comparison(depth))
    }

    /// One part, or several that `word` joins, each of which must be a condition.
    fn joined(
        &mut self,
        word: &str,
        operator: &str,
        many: fn(Vec<Filter>) -> Filter,
        part: impl Fn(&mut Self) -> Result<Typed, String>,
    ) -> Result<Typed, String> {
        let first = part(self)?;
        if !self.take_word(word) {
            return Ok(first);
        }
        let mut parts = vec![first, part(self)?];
        while self.take_word(word) {
            parts.push(part(self)?);
        }
        let conditions = parts
            .into_iter()
            .map(|part| part.condition().map_err(|other| incompatible(Kind::Flag.name(), other, operator)));
        Ok(Typed::of(many(conditions.collect::<Result<_, _>>()?)))
    }

    fn comparison(&mut self, depth: usize) -> Result<Typed, String> {
        let mut left = self.unary(depth)?;
        for nested in depth.. {
            let Some(operator) = self.take_operator() else { break };
            let right = self.unary(nested)?;
            left = Typed::of(compare(left, operator, right)?);
        }
        Ok(left)
    }

    fn unary(&mut self, depth: usize) -> Result<Typed, String> {
        if depth > DEEPEST {
            return Err("The node count limit of the filter has been exceeded.".to_owned());
        }
        if !self.take_word("not") {
            let left = self.primary(depth)?;
            return if self.take_word("in") { self.list_of(left) } else { Ok(left) };
        }
        let inner = self.unary(depth + 1)?.condition().map_err(|kind| {
            format!(
                "A unary operator with an incompatible type was detected. Found operand type '{kind}' for operator kind 'Not'."
            )
        })?;
        Ok(Typed::of(Filter::Not(Box::new(inner))))
    }

    fn primary(&mut self, depth: usize) -> Result<Typed, String> {
        let literal = |field: Field<'static>, kind| Ok(Typed { operand: Operand::Literal(field), kind });
        match self.next().cloned() {
            Some(Token::Open) => {
                let inner = self.or(depth + 1)?;
                self.expect(&Token::Close)?;
                Ok(inner)
            }
            Some(Token::Text(text)) => literal(Field::Text(Cow::Owned(text)), Some(Kind::Text)),
            Some(Token::Guid(text)) => literal(Field::Text(Cow::Owned(text)), Some(Kind::Guid)),
            Some(Token::Number(number)) => literal(Field::Number(number), Some(Kind::Number)),
            Some(Token::Time(tick)) => literal(Field::Time(tick), Some(Kind::Time)),
            Some(Token::Word(word)) if self.tokens.first() == Some(&Token::Open) => self.call(&word),
            Some(Token::Word(word)) => match word.as_str() {
                "null" => literal(Field::Null, None),
                "true" => literal(Field::Flag(true), Some(Kind::Flag)),
                "false" => literal(Field::Flag(false), Some(Kind::Flag)),
                _ => {
                    let (name, kind) = self.property(&word)?;
                    Ok(Typed { operand: Operand::Property(name), kind: Some(kind) })
                }
            },
            other => Err(format!("Syntax error: an expression was expected, {} found.", shown(other.as_ref()))),
        }
    }

    fn call(&mut self, word: &str) -> Result<Typed, String> {
        let function =
            Function::of(word).ok_or_else(|| format!("An unknown function with name '{word}' was found."))?;
        self.expect(&Token::Open)?;
        let own = match self.next().cloned() {
            Some(Token::Word(own)) => self.property(&own)?,
            other => return Err(format!("Syntax error: a property was expected, {} found.", shown(other.as_ref()))),
        };
        self.expect(&Token::Comma)?;
        match (own, self.next()) {
            ((name, Kind::Text | Kind::List | Kind::Key), Some(Token::Text(text))) => {
                let call = Filter::Call(function, name, text.clone());
                self.expect(&Token::Close)?;
                Ok(Typed::of(call))
            }
            _ => Err(format!(
                "No function signature for the function with name '{word}' matches the specified arguments. The function signatures considered are: {word}(Edm.String Nullable=true, Edm.String Nullable=true)."
            )),
        }
    }

    /// The right side of `in`.
    fn list_of(&mut self, left: Typed) -> Result<Typed, String> {
        let (Operand::Property(name), Some(kind)) = (left.operand, left.kind) else {
            return Err("Syntax error: a property was expected before 'in'.".to_owned());
        };
        self.expect(&Token::Open)?;
        let mut literals = Vec::new();
        loop {
            let item = self.primary(DEEPEST)?;
            if !item.kind.is_none_or(|other| kind.compares_with(other)) {
                return Err(incompatible(kind.name(), item.type_name(), "In"));
            }
            let Operand::Literal(literal) = item.operand else {
                return Err("Syntax error: a literal was expected after 'in'.".to_owned());
            };
            literals.push(as_kept(literal, kind));
            match self.next() {
                Some(Token::Comma) => {}
                Some(Token::Close) => return Ok(Typed::of(Filter::In(name, literals))),
                other => return Err(format!("Syntax error: ',' or ')' expected, {} found.", shown(other))),
            }
        }
    }

    fn property(&self, word: &str) -> Result<(&'static str, Kind), String> {
        (self.property)(word).ok_or_else(|| {
            format!("Could not find a property named '{word}' that can be filtered by. A string has quotes.")
        })
    }
}

fn compare(left: Typed, operator: Operator, right: Typed) -> Result<Filter, String> {
    let equality = matches!(operator, Operator::Eq | Operator::Ne);
    let fits = match (left.kind, right.kind) {
        (Some(Kind::List), other) | (other, Some(Kind::List)) => equality && matches!(other, None | Some(Kind::Text)),
        (Some(a), Some(b)) => a.compares_with(b),
        _ => true,
    };
    if !fits {
        return Err(incompatible(left.type_name(), right.type_name(), operator.name()));
    }
    Ok(match (left.operand, right.operand) {
        (Operand::Property(name), Operand::Literal(literal)) => {
            Filter::Compare(name, operator, left.kind.map_or(Field::Null, |kind| as_kept(literal, kind)))
        }
        (Operand::Literal(literal), Operand::Property(name)) => {
            Filter::Compare(name, operator.flipped(), right.kind.map_or(Field::Null, |kind| as_kept(literal, kind)))
        }
        (left, right) => Filter::Pair(Box::new(left), operator, Box::new(right)),
    })
}

/// A literal in the form in which a property of that type is kept: GUIDs in small letters.
fn as_kept(literal: Field<'static>, kind: Kind) -> Field<'static> {
    match literal {
        Field::Text(text) if kind == Kind::Key => Field::Text(Cow::Owned(text.to_ascii_lowercase())),
        other => other,
    }
}

fn incompatible(left: &str, right: &str, operator: &str) -> String {
    format!(
        "A binary operator with incompatible types was detected. Found operand types '{left}' and '{right}' for operator kind '{operator}'."
    )
}

fn shown(token: Option<&Token>) -> String {
    token.map_or_else(|| "the end".to_owned(), ToString::to_string)
}
