//! A filter's text in tokens.

use std::fmt;

use crate::emulator::clock::{Tick, format_time, ticks};
use crate::model::{Timestamp, is_guid};

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Open,
    Close,
    Comma,
    Word(String),
    Text(String),
    /// Without quotes.
    Guid(String),
    Number(f64),
    Time(Tick),
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open => f.write_str("'('"),
            Self::Close => f.write_str("')'"),
            Self::Comma => f.write_str("','"),
            Self::Word(text) | Self::Text(text) | Self::Guid(text) => write!(f, "'{text}'"),
            Self::Number(number) => write!(f, "'{number}'"),
            Self::Time(tick) => write!(f, "'{}'", format_time(*tick)),
        }
    }
}

pub(super) fn tokenize(text: &str) -> Result<Vec<Token>, String> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let (token, left) = match first {
            '(' => (Token::Open, rest.get(1..)),
            ')' => (Token::Close, rest.get(1..)),
            ',' => (Token::Comma, rest.get(1..)),
            '\'' => {
                let (text, used) = lex_quoted(rest)?;
                (Token::Text(text), rest.get(used..))
            }
            _ => {
                let end = rest
                    .find(|c: char| c.is_whitespace() || "(),'".contains(c))
                    .unwrap_or(rest.len());
                let (word, left) = rest.split_at(end);
                (lex_bare_word(word)?, Some(left))
            }
        };
        found.push(token);
        rest = left.unwrap_or("").trim_start();
    }
    Ok(found)
}

/// A literal in single quotes, a doubled one being itself; with the bytes it took.
fn lex_quoted(text: &str) -> Result<(String, usize), String> {
    let mut literal = String::new();
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if c != '\'' {
            literal.push(c);
        } else if chars.peek().is_some_and(|(_, next)| *next == '\'') {
            literal.push('\'');
            chars.next();
        } else {
            return Ok((literal, at + 1));
        }
    }
    Err(format!("There is an unterminated string literal at position {} in '{text}'.", text.len()))
}

/// A GUID, a number, a time or a word. A time may be a date alone, with or without its Z.
fn lex_bare_word(word: &str) -> Result<Token, String> {
    if is_guid(word) {
        return Ok(Token::Guid(word.to_owned()));
    }
    if let Ok(number) = word.parse::<f64>() {
        return Ok(Token::Number(number));
    }
    if word.starts_with(|c: char| c.is_ascii_digit()) {
        let whole = if word.contains(['T', 't']) {
            word.to_owned()
        } else {
            format!("{}T00:00:00Z", word.trim_end_matches(['Z', 'z']))
        };
        let time = Timestamp::parse(&whole)
            .ok_or_else(|| format!("Unrecognized '{word}' literal in the filter."))?;
        return Ok(Token::Time(ticks_of(time)));
    }
    if word.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '.' | '/' | ':')) {
        return Ok(Token::Word(word.to_owned()));
    }
    Err(format!("Syntax error: character '{word}' is not valid in the filter."))
}

fn ticks_of(time: Timestamp) -> Tick {
    Tick::try_from(time.datetime().unix_timestamp_nanos() / 100)
        .unwrap_or_else(|_| ticks(time.to_unix()))
}
