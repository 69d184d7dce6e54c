//! Splits a filter into tokens.

use std::fmt;

use crate::emulator::clock::{Tick, format_time, ticks};
use crate::model::{Timestamp, is_guid};

/// A token of a filter. It displays as it appears in an error message.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Open,
    Close,
    Comma,
    Colon,
    Word(String),
    /// A string literal, without its quotes.
    Text(String),
    /// A GUID that has no quotes.
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
            Self::Colon => f.write_str("':'"),
            Self::Word(text) | Self::Text(text) | Self::Guid(text) => write!(f, "'{text}'"),
            Self::Number(number) => write!(f, "'{number}'"),
            Self::Time(tick) => write!(f, "'{}'", format_time(*tick)),
        }
    }
}

/// Splits `text` into tokens.
pub(super) fn tokenize(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let (token, remaining) = match first {
            '(' => (Token::Open, rest.get(1..)),
            ')' => (Token::Close, rest.get(1..)),
            ',' => (Token::Comma, rest.get(1..)),
            ':' => (Token::Colon, rest.get(1..)),
            '\'' => {
                let (text, length) = lex_quoted(rest)?;
                (Token::Text(text), rest.get(length..))
            }
            _ => {
                // A colon follows the variable of a lambda. Within a time, it belongs to the time.
                let ends = if first.is_ascii_digit() { "(),'" } else { "(),':" };
                let end = rest
                    .find(|c: char| c.is_whitespace() || ends.contains(c))
                    .unwrap_or(rest.len());
                let (word, remaining) = rest.split_at(end);
                (lex_bare_word(word)?, Some(remaining))
            }
        };
        tokens.push(token);
        rest = remaining.unwrap_or("").trim_start();
    }
    Ok(tokens)
}

/// Reads a string literal in single quotes, and returns it with its length in bytes. A doubled
/// quote inside it means one quote.
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

/// Reads a token without quotes: a GUID, a number, a time or a word.
fn lex_bare_word(word: &str) -> Result<Token, String> {
    if is_guid(word) {
        return Ok(Token::Guid(word.to_owned()));
    }
    if let Ok(number) = word.parse::<f64>() {
        return Ok(Token::Number(number));
    }
    if word.starts_with(|c: char| c.is_ascii_digit()) {
        // Microsoft's pages show a date alone too: `2018-08-01Z` (docs/service.md, section 3.3).
        let full_time = if word.contains(['T', 't']) {
            word.to_owned()
        } else {
            format!("{}T00:00:00Z", word.trim_end_matches(['Z', 'z']))
        };
        let time = Timestamp::parse(&full_time)
            .ok_or_else(|| format!("Unrecognized '{word}' literal in the filter."))?;
        return Ok(Token::Time(to_ticks(time)));
    }
    if word.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '.' | '/' | '$')) {
        return Ok(Token::Word(word.to_owned()));
    }
    Err(format!("Syntax error: character '{word}' is not valid in the filter."))
}

fn to_ticks(time: Timestamp) -> Tick {
    // A tick is 100 ns. Through `f64` seconds, the last of the seven digits would be lost and `eq`
    // would never match.
    Tick::try_from(time.datetime().unix_timestamp_nanos() / 100)
        .unwrap_or_else(|_| ticks(time.to_unix()))
}
